"""Disks of guests that stay, or were started with `--keep`: list and forget them."""

from innkeeper import images
from innkeeper.images import KeptGuest, Store
from innkeeper.services import lifecycle
from innkeeper.vm.detached.registry import registry


def listed() -> list[KeptGuest]:
    return images.kept_guests(Store())


def names() -> list[str]:
    return Store().guests()


def remove(name: str) -> KeptGuest:
    """What was removed. One that stays goes with its disk.

    Raises:
        InvalidInput, AlreadyRunning: when there is no such guest, or it runs.
        HostFailure: when it cannot be deleted.
    """
    if name not in registry().names():
        return images.remove_guest(Store(), name)
    found = next(guest for guest in listed() if guest.name == name)
    lifecycle.remove(name)
    return found
