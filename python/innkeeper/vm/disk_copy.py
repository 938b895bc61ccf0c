"""Copies of what guests have written to their disks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from innkeeper.machine.spec import DiskFormat, DiskSpec, Overlay
from innkeeper.vm import sparse
from innkeeper.vm.checkpoint import Ranges, but, pack
from innkeeper.vm.detached import savings

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
_QCOW2: Final = b"QFI\xfb"


def is_kept_nowhere(disk: DiskSpec) -> bool:
    """Whether what the guest writes there is lost when it ends, and so cannot be copied."""
    return not disk.gone and disk.overlay is Overlay.TEMPORARY and not disk.read_only


def file_of(disk: DiskSpec, own: Path) -> Path:
    """The file to which a guest writes what it writes to this disk."""
    return own / (disk.path if disk.overlay_path is None else disk.overlay_path)


def is_plain(disk: DiskSpec) -> bool:
    """Whether that file is the disk's bytes and nothing else, whatever the guest wrote there."""
    return disk.format is DiskFormat.RAW and disk.overlay_path is None


def copy(
    number: int,
    disk: DiskSpec,
    own: Path,
    create: Callable[[str], int],
    opened: int | None = None,
    same: Ranges = (),
) -> str | None:
    """Copies the file to which a guest writes what it writes to this disk, to one that `create`
    makes; its name. Names of files are relative to `own`; or it is `opened`. None where there is no
    such file yet. Of the bytes `same` anything may be in the copy: beside it is a file that says
    which they are.

    Raises:
        OSError.
    """
    path = file_of(disk, own)
    try:
        source = os.open(path, _FLAGS) if opened is None else os.dup(opened)
    except FileNotFoundError:
        if disk.overlay_path is not None:
            return None
        raise
    try:
        kind = "qcow2" if not is_plain(disk) and os.pread(source, 4, 0) == _QCOW2 else "raw"
        name = savings.top(number, kind)
        target = create(name)
        try:
            size = os.fstat(source).st_size
            sparse.copy(source, target, but(same, 0, size) if same else None)
        finally:
            os.close(target)
        if same:
            with os.fdopen(create(savings.same(number)), "wb") as told:
                told.write(pack(same))
    finally:
        os.close(source)
    return name
