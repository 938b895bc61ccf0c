"""Disk images while no guest has them, as the core works on them."""

from innkeeper._core import (
    DiskInfo,
    DiskReport,
    DiskSnapshot,
    OpenDisk,
    disk_check,
    disk_checkpoint,
    disk_convert,
    disk_create,
    disk_files,
    disk_info,
    disk_resize,
    disk_serve,
    disk_snapshot,
    disk_snapshots,
    nbd_connect,
    open_disk,
)
from innkeeper.machine.spec import MachineSpec, Overlay

__all__ = [
    "DiskInfo",
    "DiskReport",
    "DiskSnapshot",
    "OpenDisk",
    "connected",
    "disk_check",
    "disk_checkpoint",
    "disk_convert",
    "disk_create",
    "disk_files",
    "disk_info",
    "disk_resize",
    "disk_serve",
    "disk_snapshot",
    "disk_snapshots",
    "open_disk",
]


def connected(spec: MachineSpec) -> tuple[tuple[str, OpenDisk], ...]:
    """Those of a machine's disks that NBD servers have, for its wiring: inside of the jail nobody
    can be connected to.

    Raises:
        InvalidInput: when there is no such server or export, or it can only be read.
    """
    wanted = {
        disk.nbd: disk.read_only or disk.overlay is not Overlay.NONE
        for disk in spec.disks
        if disk.nbd is not None and not disk.gone
    }
    return tuple((uri, nbd_connect(uri, read_only)) for uri, read_only in wanted.items())
