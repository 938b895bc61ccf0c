"""Guests that were started with `--keep`: list and forget them."""

from innkeeper import images
from innkeeper.images import KeptGuest, Store


def listed() -> list[KeptGuest]:
    return images.kept_guests(Store())


def names() -> list[str]:
    return Store().guests()


def remove(name: str) -> KeptGuest:
    return images.remove_guest(Store(), name)
