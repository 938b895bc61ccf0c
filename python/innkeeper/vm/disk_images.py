"""Disk images while no guest has them, as the core works on them."""

from innkeeper._core import (
    DiskInfo,
    DiskReport,
    DiskSnapshot,
    disk_check,
    disk_convert,
    disk_create,
    disk_info,
    disk_resize,
    disk_snapshot,
    disk_snapshots,
)

__all__ = [
    "DiskInfo",
    "DiskReport",
    "DiskSnapshot",
    "disk_check",
    "disk_convert",
    "disk_create",
    "disk_info",
    "disk_resize",
    "disk_snapshot",
    "disk_snapshots",
]
