"""Images: list, build, remove, look into."""

from dataclasses import dataclass

from innkeeper import images
from innkeeper.images import Image, Report, Store
from innkeeper.images.warm import WarmStarts


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """An image and the kept guests that go on from it.

    One without a `name` is there for them alone: a newer build has its name, or it was removed.
    """

    name: str | None
    image: Image
    guests: tuple[str, ...]


def listed() -> list[ListedImage]:
    store = Store()
    named = [_listed(store, image.name, image) for image in store.images()]
    return named + [_listed(store, None, image) for image in store.held_images()]


def names() -> list[str]:
    """Images that are there, and those that could be built."""
    return sorted({*Store().names(), *images.RECIPES})


def build(name: str, report: Report) -> ListedImage:
    """Builds `name` anew, even when there is one."""
    store = Store()
    return _listed(store, name, images.build(store, name, report))


def import_(reference: str, name: str | None, report: Report) -> ListedImage:
    """Makes an image of a container's anew, also where there is one.

    Raises:
        InvalidInput, ImageBuildFailed, HostFailure: as `images.imported`.
    """
    store = Store()
    made = images.imported(store, reference, report, name, anew=True)
    return _listed(store, made.name, made)


def find(name: str) -> ListedImage:
    store = Store()
    return _listed(store, name, store.find(name))


def remove(name: str) -> ListedImage:
    """What was removed; its files stay for as long as `guests` do."""
    removed = find(name)
    Store().remove(name)
    WarmStarts(Store()).sweep()
    return removed


def _listed(store: Store, name: str | None, image: Image) -> ListedImage:
    bases = {guest: store.base(guest) for guest in store.guests()}
    guests = [guest for guest, base in bases.items() if base and base.directory == image.directory]
    return ListedImage(name=name, image=image, guests=tuple(guests))
