"""Floppy disks of 1.44 MB to boot from, as mtools and SYSLINUX' own installer write them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.boot import packages

_SIZE: Final = 1440 << 10
_MODULES: Final = "usr/lib/syslinux/modules/bios"


def fat12(path: Path, files: Mapping[str, bytes]) -> Path:
    """An empty one with these files in its root directory."""
    path.write_bytes(bytes(_SIZE))
    _run("mformat", "-i", path, "-f", "1440", "::")
    for name, content in files.items():
        _run("mcopy", "-i", path, "-", f"::{name}", stdin=content)
    return path


def syslinux(
    path: Path, configuration: str, *modules: str, files: Mapping[str, bytes] | None = None
) -> Path:
    """One that boots SYSLINUX with this configuration and these modules, which need to be named
    with those that they need themselves.
    """
    content = {"syslinux.cfg": configuration.encode(), **(files or {})}
    for module in modules:
        found = packages.file("syslinux-common", f"{_MODULES}/{module}.c32")
        content[f"{module}.c32"] = found.read_bytes()
    fat12(path, content)
    _run(packages.file("syslinux", "usr/bin/syslinux"), "--install", path)
    return path


def memdisk() -> bytes:
    """SYSLINUX' kernel that has a disk in memory, by the BIOS."""
    return packages.file("syslinux-common", "usr/lib/syslinux/memdisk").read_bytes()


def _run(*words: str | Path, stdin: bytes = b"") -> None:
    # The disk that is written to has the geometry that mformat gave it.
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    subprocess.run(words, input=stdin, check=True, capture_output=True, env=environment)
