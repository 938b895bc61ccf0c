"""Packages without the tools of any distribution: .deb and .tar.gz, the same bytes each time.

Spec: deb(5), deb-control(5); ar(5).
"""

import gzip
import io
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import PurePosixPath
from typing import Final

from innkeeper.guest.package.contents import NAME, File

ARCHITECTURE: Final = "amd64"

# What is done where systemd runs: not in a chroot that an image is made in.
_AFTER: Final = f"""#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    udevadm control --reload
    udevadm trigger --action=add --subsystem-match=virtio-ports
    if [ -e /dev/virtio-ports/innkeeper.agent ]; then
        systemctl start --no-block {NAME}.service
    fi
fi
"""
_BEFORE: Final = f"""#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop --no-block {NAME}.service || true
fi
"""


def deb(contents: Mapping[str, File]) -> bytes:
    """A package for Debian and those that descend from it."""
    size = sum(len(file.content) for file in contents.values())
    control = {
        "control": File(_control(size).encode()),
        "postinst": File(_AFTER.encode(), 0o755),
        "prerm": File(_BEFORE.encode(), 0o755),
    }
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar_gz(control),
        "data.tar.gz": tar_gz(contents),
    }
    return b"!<arch>\n" + b"".join(_member(*each) for each in members.items())


def tar_gz(contents: Mapping[str, File]) -> bytes:
    """To be unpacked in the root."""
    told = io.BytesIO()
    with tarfile.open(fileobj=told, mode="w", format=tarfile.GNU_FORMAT) as tar:
        made: set[str] = set()
        for path, file in contents.items():
            for parent in reversed(PurePosixPath(path).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    tar.addfile(_info(f"{parent}/", 0o755, tarfile.DIRTYPE))
            info = _info(path, file.mode, tarfile.REGTYPE)
            info.size = len(file.content)
            tar.addfile(info, io.BytesIO(file.content))
    return gzip.compress(told.getvalue(), mtime=0)


def version() -> str:
    return metadata.version("innkeeper")


def _info(path: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{path}")
    info.type, info.mode = kind, mode
    info.uname = info.gname = "root"
    return info


def _control(size: int) -> str:
    return f"""Package: {NAME}
Version: {version()}
Architecture: {ARCHITECTURE}
Maintainer: The Innkeeper project <innkeeper@localhost>
Installed-Size: {-(-size // 1024)}
Section: admin
Priority: optional
Description: Innkeeper's agent for guests
 Runs commands, copies files, freezes file systems and sets the clock of a
 guest for the host that it runs on. It does nothing on any other machine.
"""


def _member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return header.encode() + content + b"\n" * (len(content) % 2)
