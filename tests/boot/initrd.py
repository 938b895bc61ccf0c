"""An initrd whose process 1 is a script of busybox's shell."""

from collections.abc import Mapping
from pathlib import Path

from tests.boot import packages

from innkeeper.images import cpio, kernel

_HEAD = """#!/bin/busybox sh
busybox mkdir -p /proc
busybox mount -t proc proc /proc
"""
# For a script that has `modules` beside it.
LOAD = """\
for module in $(busybox cat /order); do busybox insmod /modules/$module; done
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


def modules(
    package: str, among: str, *wanted: str, architecture: str = "amd64"
) -> dict[str, bytes]:
    """Files with the modules of a kernel package that match `wanted`, and what LOAD goes by.

    Those that they need are looked for `among` others. Patterns are below lib/modules/RELEASE.
    """
    # Newer releases have /lib in /usr.
    files = packages.files(package, f"*lib/modules/*/{among}", architecture)
    found = next(path for path in files.rglob("lib/modules/*") if path.is_dir())
    paths = (path for pattern in wanted for path in sorted(found.glob(pattern)))
    names = [path.name.partition(".")[0] for path in paths]
    order = kernel.module_order(found, names)
    content = {f"modules/{path.name}": kernel.read_module(path) for path in order}
    return {**content, "order": "\n".join(path.name for path in order).encode()}
