"""Machines that begin as another was when it had booted, for whoever attends to them, and what such
a one is recorded to (innkeeper.vm.record).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from innkeeper.machine.spec import MachineSpec
from innkeeper.vm.saved import Beginning

TAKEN: Final = b"t"
DONE: Final = b"d"
# Seconds until TAKEN comes: of a guest with much to do, on a host with little to give.
TO_STAND: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a machine begins as; `layers` lie over its root disk's image, the lowest first."""

    beginning: Beginning
    layers: tuple[Path, ...]

    def applied(self, spec: MachineSpec) -> MachineSpec:
        root, *others = spec.disks
        return replace(spec, disks=(replace(root, layers=self.layers), *others))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFiles:
    """Descriptors of what a record is written to, and of who hears how far it is: TAKEN when the
    guest goes on, DONE when all is written, and nothing more when it could not be made.
    """

    told: int
    state: int
    pages: int
    index: int
    disk: int
    code: int

    @classmethod
    def of(cls, fds: Sequence[int]) -> Self:
        """From what `all` says."""
        told, state, pages, index, disk, code = fds
        return cls(told=told, state=state, pages=pages, index=index, disk=disk, code=code)

    def all(self) -> list[int]:
        return [self.told, self.state, self.pages, self.index, self.disk, self.code]


def core() -> Path:
    """The file with the machine's code, which goes on with nothing that another began."""
    found = find_spec("innkeeper._core")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)
