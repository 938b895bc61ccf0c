"""A guest on its way to another host: the core's two ends of it."""

from dataclasses import dataclass

from innkeeper._core import Incoming, Migration, processor

__all__ = ["Incoming", "Migration", "MigrationOptions", "processor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOptions:
    """`copied` are the numbers of the disks whose content goes along. The guest may stand still for
    `pause` seconds while the rest of its memory is sent; where it `slows`, one that writes faster
    than it can be sent is slowed down.
    """

    copied: tuple[int, ...] = ()
    pause: float = 0.1
    slows: bool = True
    compress: bool = True
