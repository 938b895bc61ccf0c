"""Disk images as one asks for them, and as they are there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.machine.spec import DiskFormat

DEFAULT_CLUSTER: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image that is to be made: raw or qcow2.

    `size` is in bytes; without it, the image is as large as its `backing` file, which is named as
    it is written here: relative to the image's directory, or absolute. `cluster_size`, in bytes,
    is a qcow2's; with `lazy_refcounts`, its counts are written when it is closed.
    """

    format: DiskFormat = DiskFormat.QCOW2
    size: int | None = None
    cluster_size: int = DEFAULT_CLUSTER
    lazy_refcounts: bool = False
    backing: Path | None = None
    backing_format: DiskFormat = DiskFormat.PROBE
    preallocate: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingImage:
    """An image that is there, or the URI of an NBD server's export.

    With `trust_backing` it may name any file as its backing file. As a guest sees it, it lies under
    `layers`, the lowest first, and an `overlay`, which is made if it is missing.
    """

    path: Path | str
    format: DiskFormat = DiskFormat.PROBE
    trust_backing: bool = False
    overlay: Path | None = None
    layers: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A disk that others have by NBD: on a Unix `socket`, or else on a port of TCP.

    Port 0 is one that is free. With `once`, it ends when its last client has gone.
    """

    image: ExistingImage
    read_only: bool = False
    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 10809
    once: bool = False
