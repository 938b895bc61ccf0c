"""Images: list, build, remove, look into."""

from innkeeper import images
from innkeeper.images import Image, Report, Store


def listed() -> list[Image]:
    return Store().images()


def names() -> list[str]:
    """Images that are there, and those that could be built."""
    return sorted({*Store().names(), *images.RECIPES})


def build(name: str, report: Report) -> Image:
    """Builds `name` anew, even when there is one."""
    return images.build(Store(), name, report)


def ensure(name: str, report: Report) -> Image:
    return images.ensure(Store(), name, report)


def find(name: str) -> Image:
    return Store().find(name)


def remove(name: str) -> None:
    Store().remove(name)
