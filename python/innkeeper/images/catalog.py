"""The images that can be built here, by name."""

from collections.abc import Callable
from typing import Final

from innkeeper.errors import ImageNotFound
from innkeeper.images import debian
from innkeeper.images.containers.reference import is_reference, parse_reference
from innkeeper.images.store import Image, Store, check_name

RECIPES: Final[dict[str, Callable[[Store, debian.Report], Image]]] = {debian.NAME: debian.build}


def build(store: Store, name: str, report: debian.Report) -> Image:
    """Builds `name` anew.

    Raises:
        InvalidInput: when no image can have that name.
        ImageNotFound: when there is no recipe of that name.
        ImageBuildFailed: when a step fails.
    """
    check_name(name)
    recipe = RECIPES.get(name)
    if recipe is None:
        known = ", ".join(sorted(RECIPES))
        raise ImageNotFound(
            f"there is no image {name!r}, and no recipe to build it; known: {known}"
        )
    return recipe(store, report)


def ensure(store: Store, name: str, report: debian.Report) -> Image:
    """The image `name`, built first when it is not in the store; or, where `name` is a reference
    to a container's image, what that becomes here.

    Raises:
        InvalidInput: when the container's image is damaged.
        As `build`.
    """
    if is_reference(name):
        return imported(store, name, report)
    try:
        return store.find(name)
    except ImageNotFound:
        return build(store, name, report)


def imported(
    store: Store, text: str, report: debian.Report, name: str | None = None, *, anew: bool = False
) -> Image:
    """The container's image that `text` refers to, as one of ours; see `containers.building`."""
    # What unpacks layers is loaded by who has some.
    from innkeeper.images.containers import building

    reference = parse_reference(text)
    if name is not None:
        check_name(name)
    if debian.NAME not in store.names():
        # Before its kernel is built for nothing.
        building.check(store, reference)
    return building.build(
        store, reference, ensure(store, debian.NAME, report), report, name, anew=anew
    )
