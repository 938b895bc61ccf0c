"""An initrd whose process 1 is a script of busybox's shell."""

from collections.abc import Mapping
from pathlib import Path

from tests.boot import packages

from innkeeper.images import cpio

_HEAD = """#!/bin/busybox sh
busybox mkdir -p /proc
busybox mount -t proc proc /proc
"""


def busybox(
    path: Path,
    script: str,
    *,
    architecture: str = "amd64",
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes it to `path`: `script` runs with /proc mounted, and beside it are `files`."""
    program = packages.file("busybox-static", "bin/busybox", architecture).read_bytes()
    content = {"bin/busybox": program, "init": (_HEAD + script).encode(), **(files or {})}
    path.write_bytes(cpio.archive(content))
    return path
