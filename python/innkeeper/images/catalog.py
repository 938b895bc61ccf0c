"""The images that can be built here, by name."""

from collections.abc import Callable
from typing import Final

from innkeeper.errors import ImageNotFound
from innkeeper.images import debian
from innkeeper.images.store import Image, Store

RECIPES: Final[dict[str, Callable[[Store, debian.Report], Image]]] = {debian.NAME: debian.build}


def build(store: Store, name: str, report: debian.Report) -> Image:
    """Builds `name` anew.

    Raises:
        ImageNotFound: when there is no recipe of that name.
        ImageBuildFailed: when a step fails.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        known = ", ".join(sorted(RECIPES))
        raise ImageNotFound(
            f"there is no image {name!r}, and no recipe to build it; known: {known}"
        )
    return recipe(store, report)


def ensure(store: Store, name: str, report: debian.Report) -> Image:
    """The image `name`, built first when it is not in the store."""
    try:
        return store.find(name)
    except ImageNotFound:
        return build(store, name, report)
