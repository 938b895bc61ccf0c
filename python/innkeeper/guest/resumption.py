"""What a guest begins as instead of at power-on, found in its directory: see
innkeeper.vm.detached.savings. It is used once: the disks go on from there.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.guest import awakening
from innkeeper.guest.errands import Identity
from innkeeper.guest.hub import AgentHub, Listening
from innkeeper.guest.recorder import VERSION, Layers
from innkeeper.guest.resident import ConsoleShell, ResidentCommand
from innkeeper.vm import inside, kept_code
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.saved import Beginning, LayerFiles

_LONGEST_STATE: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """`about` is what the guest's process knew when it was saved, and what is new since."""

    beginning: Beginning
    layers: Layers
    about: Mapping[str, object]

    def number(self, key: str) -> int | None:
        value = self.about.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def awaken(
        self,
        hub: AgentHub,
        command: ResidentCommand | None,
        shell: ConsoleShell | None,
        done: awakening.Done,
    ) -> None:
        """Once the machine runs: its agent hears who it is now, and what ran for the guest itself
        runs on.

        Raises:
            HostFailure: when it can be nobody of that name.
        """
        keep: dict[int, Listening] = {}
        for key, owner in (("command", command), ("shell", shell)):
            if owner is not None and (number := self.number(key)) is not None:
                keep[number] = owner.rejoin(number)
        awakening.awaken(hub, done, identity=self._identity(), keep=keep)

    def _identity(self) -> Identity | None:
        match self.about.get("identity"):
            case {"hostname": str(hostname), "cards": list(cards)}:
                pairs = [(bytes.fromhex(old), bytes.fromhex(new)) for old, new in cards]
                return Identity.fresh(hostname, cards=pairs)
        return None


def take(home: Home) -> Resumption | None:
    """What there is to begin as; None where there is nothing. Nobody finds it again.

    Raises:
        HostFailure: when it cannot be used.
    """
    try:
        directory = inside.open_directory(home.directory, files.SAVED)
    except FileNotFoundError:
        return None
    try:
        if savings.STATE not in os.listdir(directory):
            return None
        found = _open(directory)
        os.unlink(savings.STATE, dir_fd=directory)
    except (OSError, ValueError) as error:
        raise HostFailure(f"cannot use what the guest was saved as: {error}") from error
    finally:
        os.close(directory)
    return found


def _open(directory: int) -> Resumption:
    """
    Raises:
        OSError, ValueError.
    """
    about = json.loads(inside.read(directory, savings.ABOUT, _LONGEST_STATE))
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise ValueError("it is of another version of Innkeeper")
    state = inside.read(directory, savings.STATE, _LONGEST_STATE)
    layers = Layers(str(about.get("name", "")))
    for layer in range(savings.depth(os.listdir(directory))):
        pages = inside.open_file(directory, savings.pages(layer))
        index = inside.open_file(directory, savings.index(layer))
        layers.files.append(LayerFiles(pages=pages, index=index))
    code = kept_code.opened(directory)
    beginning = Beginning(state=state, layers=tuple(layers.files), code=code)
    return Resumption(beginning=beginning, layers=layers, about=about)
