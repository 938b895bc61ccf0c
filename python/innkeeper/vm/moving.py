"""A guest on its way to another host: the core's two ends of it."""

from dataclasses import dataclass

from innkeeper._core import Incoming, LateMemory, Migration, post_copy_missing, processor

__all__ = [
    "Incoming",
    "LateMemory",
    "Migration",
    "MigrationOptions",
    "post_copy_missing",
    "processor",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOptions:
    """`copied` are the numbers of the disks whose content goes along. The guest may stand still for
    `pause` seconds while the rest of its memory is sent; where it `slows`, one that writes faster
    than it can be sent is slowed down; with `post_copy` it begins there before all has come.
    """

    copied: tuple[int, ...] = ()
    pause: float = 0.1
    slows: bool = True
    post_copy: bool = False
    compress: bool = True
