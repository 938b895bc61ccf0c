"""What the host's kernel has merged of equal pages (KSM).

Spec: Linux Documentation/admin-guide/mm/ksm.rst; proc_pid_ksm_merging_pages in proc(5).
"""

import contextlib
import os
from dataclasses import dataclass
from typing import Final

_SETTINGS: Final = "/sys/kernel/mm/ksm"
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """`on` when the kernel looks for equal pages now. `saved` bytes are had in common, of `shared`
    that there is one of each.
    """

    on: bool
    shared: int
    saved: int


def look() -> Merging | None:
    """None where the kernel cannot merge memory."""
    try:
        run, shared, sharing = (_number(name) for name in ("run", "pages_shared", "pages_sharing"))
    except (OSError, ValueError):
        return None
    return Merging(on=run == 1, shared=shared * _PAGE, saved=sharing * _PAGE)


def of_process(pid: int) -> int | None:
    """Bytes of a process that were merged; None where that is not told."""
    with (
        contextlib.suppress(OSError, ValueError),
        open(f"/proc/{pid}/ksm_merging_pages") as file,  # noqa: PTH123 - pathlib is not loaded here
    ):
        return int(file.read()) * _PAGE
    return None


def _number(name: str) -> int:
    with open(f"{_SETTINGS}/{name}") as file:  # noqa: PTH123 - pathlib is not loaded here
        return int(file.read())
