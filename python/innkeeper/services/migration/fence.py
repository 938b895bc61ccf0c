"""Why a guest is not started here: it may run on another host.

    GUEST/moved.json    where it went, written before the other host is told to go on with it

The file is there from the moment in which two could run, to the one in which it is known who does;
and for good where the guest has moved.
"""

from dataclasses import dataclass, replace
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home

_VERSION: Final = 1


class GuestMoved(InnkeeperError):
    """The guest runs on another host, or may."""

    code = "guest_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """`host` as it was called, `fingerprint` its certificate's; `migration` is what the move is
    called there. `settled`: it is known to run there.
    """

    migration: str
    host: str
    fingerprint: str = ""
    settled: bool = False


def put(home: Home, fence: Fence) -> None:
    """
    Raises:
        HostFailure: when it cannot be made lasting.
    """
    try:
        document = {"version": _VERSION, **stored.encode(fence)}
        home.write(files.MOVED, document, lasting=True)
    except OSError as error:
        raise HostFailure(f"cannot write to {home.path}: {error.strerror}") from error


def find(home: Home) -> Fence | None:
    """
    Raises:
        HostFailure: when there is one that says nothing.
    """
    try:
        document = home.read(files.MOVED)
        if document is None:
            return None
        document.pop("version", None)
        return stored.decode(Fence, document)
    except stored.Unreadable as error:
        raise HostFailure(f"{home.path}/{files.MOVED} is damaged: {error}") from error


def settled(fence: Fence) -> Fence:
    """It is known that the guest runs there."""
    return replace(fence, settled=True)


def remove(home: Home) -> None:
    home.remove(files.MOVED)


def check(home: Home) -> None:
    """
    Raises:
        GuestMoved: when the guest must not be started here.
    """
    fence = find(home)
    if fence is None:
        return
    name = home.name
    if fence.settled:
        raise GuestMoved(
            f"the guest {name!r} was moved to {fence.host}; inn rm {name} removes what is left of "
            f"it here, inn migrate {name} --here takes it back as it was when it left"
        )
    raise GuestMoved(
        f"it is not known whether the guest {name!r} runs on {fence.host}, to which it was being "
        f"moved: inn migrate {name} --status asks; inn migrate {name} --here, only if it does not "
        "run there, lets it go on here"
    )
