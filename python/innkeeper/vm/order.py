"""What a detached guest's next run is made of: written by who starts it, read by its process."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure
from innkeeper.machine.shares import Shares
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.surroundings import Surroundings

VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`image` guests have an agent, which runs `command`; the guest ends with it. `restart` is the
    supervisor's. Without `jail`, the process keeps all rights that it has. `here` is where modules
    of Python devices are looked for. `id` is a UUID.
    """

    id: str
    spec: MachineSpec
    restart: str
    image: bool
    command: tuple[str, ...] = ()
    jail: bool = True
    shares: Shares = field(default=Shares())
    here: Path | None = None
    surroundings: Surroundings = field(default=Surroundings())

    def write(self, home: Home) -> None:
        """
        Raises:
            HostFailure: when it cannot be written.
        """
        try:
            home.write(files.ORDER, {"version": VERSION, **stored.encode(self)})
        except OSError as error:
            raise HostFailure(f"cannot write to {home.path}: {error.strerror}") from error


def read(home: Home) -> Order:
    """
    Raises:
        HostFailure: when there is none that this version understands.
    """
    document = home.read(files.ORDER)
    if document is None or document.pop("version", None) != VERSION:
        raise HostFailure(f"{home.path}/{files.ORDER} is damaged or of another version")
    try:
        return stored.decode(Order, document)
    except stored.Unreadable as error:
        raise HostFailure(f"{home.path}/{files.ORDER} is damaged: {error}") from error
