"""What the core finds out about this host."""

from innkeeper import _core
from innkeeper._core import EngineReport


def engines() -> list[EngineReport]:
    """Measures every engine; `auto` takes the one that is `chosen`."""
    return _core.engines()
