"""This user's guests that stay. Loads next to nothing, since tab completion comes this way."""

import os

from innkeeper.vm.detached.registry import Registry


def registry() -> Registry:
    return Registry(os.path.join(home(), "guests"))  # noqa: PTH118 - pathlib is not loaded here


def home() -> str:
    """As `innkeeper.images.store.home`, which is a test's to hold."""
    if chosen := os.environ.get("INNKEEPER_HOME"):
        return os.path.abspath(chosen)  # noqa: PTH100 - as above
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return os.path.join(os.path.abspath(data), "innkeeper")  # noqa: PTH100, PTH118 - as above
