"""Which devices a kernel of one's own finds beside those that every machine has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from innkeeper._core import KERNEL_PROBE_LENGTH, is_multiboot

# Multiboot kernels are mostly test programs and small systems, which end themselves through the
# first; Linux, which is never booted so, has no use for either.
OF_MULTIBOOT: Final = ("isa-debug-exit", "pc-testdev")
NONE: Final = "none"


def devices(kernel: Path, asked_for: Sequence[str]) -> tuple[str, ...]:
    """Those that were asked for, or what suits the kernel where nobody asked.

    `none` stands for no device, so that these can be left out. A kernel that cannot be read has
    none: whoever makes the machine says what is wrong with it.
    """
    if asked_for:
        return tuple(name for name in dict.fromkeys(asked_for) if name != NONE)
    return OF_MULTIBOOT if is_multiboot(_head(kernel)) else ()


def _head(kernel: Path) -> bytes:
    try:
        # A FIFO would be waited for.
        if not kernel.is_file():
            return b""
        with kernel.open("rb") as file:
            return file.read(KERNEL_PROBE_LENGTH)
    except OSError:
        return b""
