"""A saved machine, as the core takes it: state as bytes, memory as descriptors of files."""

from dataclasses import dataclass

from innkeeper._core import LateMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFiles:
    """Descriptors: pages of memory at their places, and the index of which these are. The core
    duplicates them; closing stays the caller's.
    """

    pages: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a machine begins as. `layers` are its memory, the lowest first. One that has `moved` is
    that machine itself, rather than a copy of it. `late` is what of its memory comes when it runs.
    `code` is a descriptor of what its engine made of the guest's code, as `Control.save` wrote it.
    """

    state: bytes
    layers: tuple[LayerFiles, ...]
    moved: bool = False
    late: LateMemory | None = None
    code: int | None = None
