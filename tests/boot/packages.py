"""Kernels and programs to test with, out of Debian's packages, kept in build/guests.

They come through the host's own apt with private lists, those of other architectures too: the
host's dpkg is not changed. What was fetched once stays until `make clean`.
"""

import contextlib
import fnmatch
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt

KEPT = Path(__file__).parents[2] / "build" / "guests"


def file(package: str, pattern: str, architecture: str = "amd64") -> Path:
    """The first file of `package` whose path matches `pattern`.

    A metapackage, as those that name the newest kernel, stands for what it depends on.
    """
    kept = KEPT / architecture / package / pattern.rpartition("/")[2].replace("*", "newest")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            found = Path(scratch) / "found"
            found.write_bytes(_fetch(package, pattern, architecture, Path(scratch)))
            found.rename(kept)
    return kept


def _fetch(package: str, pattern: str, architecture: str, scratch: Path) -> bytes:
    apt = Apt(scratch / "apt", architecture)
    # One index that a mirror lacks need not be the one with this package.
    with contextlib.suppress(ImageBuildFailed):
        apt.update()
    content = _member(apt.download(package, scratch), pattern)
    if content is None:
        content = _member(apt.download(apt.dependency(package), scratch), pattern)
    assert content is not None, f"no {pattern} in {package}"
    return content


def _member(deb: Path, pattern: str) -> bytes | None:
    unpack = ["dpkg-deb", "--fsys-tarfile", os.fspath(deb)]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile() and fnmatch.fnmatch(member.name, f"./{pattern}"):
                content = archive.extractfile(member)
                assert content is not None
                return content.read()
    return None
