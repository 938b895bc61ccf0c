"""Kernels and programs to test with, out of Debian's packages, kept in build/guests.

They come through the host's own apt with private lists, those of other architectures too: the
host's dpkg is not changed. What was fetched once stays until `make clean`. A package of another of
Debian's releases than the host's is named as apt has it, with the release behind a slash.
"""

import contextlib
import fnmatch
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt

KEPT = Path(__file__).parents[2] / "build" / "guests"


def file(package: str, pattern: str, architecture: str = "amd64") -> Path:
    """The file of `package` whose path matches `pattern`."""
    return next(path for path in files(package, pattern, architecture).rglob("*") if path.is_file())


def files(package: str, pattern: str, architecture: str = "amd64") -> Path:
    """A directory with all files of `package` whose paths match `pattern`.

    A metapackage, as those that name the newest kernel, stands for what it depends on.
    """
    kept = KEPT / architecture / package / re.sub(r"[^\w.+-]+", "_", pattern)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            unpacked = Path(scratch) / "unpacked"
            unpacked.mkdir()
            _unpack(_deb(package, pattern, architecture), pattern, unpacked)
            keep(unpacked, kept)
    return kept


def fetch(packages: Iterable[str], architecture: str = "amd64") -> None:
    """Has these packages here, for `files`: those that are missing by one look at the lists."""
    missing = [name for name in packages if not _kept(name, architecture).exists()]
    if not missing:
        return
    (KEPT / architecture).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT / architecture) as scratch:
        apt = Apt(Path(scratch) / "apt", architecture)
        with contextlib.suppress(ImageBuildFailed):
            apt.update()
        for name in missing:
            kept = _kept(name, architecture)
            kept.parent.mkdir(parents=True, exist_ok=True)
            apt.download(name, Path(scratch)).rename(kept)


def keep(made: Path, kept: Path) -> None:
    """Another worker may have made the same meanwhile: a directory takes no other's place."""
    try:
        made.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def _kept(package: str, architecture: str) -> Path:
    return KEPT / architecture / package / "package.deb"


def _deb(package: str, pattern: str, architecture: str) -> Path:
    """The package with these files, fetched if it is not here yet."""
    kept = _kept(package, architecture)
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            name, _, release = package.partition("/")
            apt = _apt(Path(scratch), architecture, release)
            deb = apt.download(name, Path(scratch))
            if not any(fnmatch.fnmatch(path, pattern) for path in _names(deb)):
                deb = apt.download(apt.dependency(name), Path(scratch))
            deb.rename(kept)
    return kept


def _apt(directory: Path, architecture: str, release: str) -> Apt:
    """With its lists; of the host's own release if that is empty."""
    apt = Apt(directory / "apt", architecture)
    # One index that a mirror lacks need not be the one with this package.
    with contextlib.suppress(ImageBuildFailed):
        apt.update()
    if release:
        own = next(archive for archive in apt.debian() if "-" not in archive.suite)
        archives = [replace(own, suite=release)]
        apt = Apt(directory / "apt-of-release", architecture, archives)
        apt.update()
    return apt


def _names(deb: Path) -> list[str]:
    listing = ["dpkg-deb", "--fsys-tarfile", os.fspath(deb)]
    with (
        subprocess.Popen(listing, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        return [member.name.removeprefix("./") for member in archive]


def _unpack(deb: Path, pattern: str, directory: Path) -> None:
    unpack = ["dpkg-deb", "--fsys-tarfile", os.fspath(deb)]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile() and fnmatch.fnmatch(member.name, f"./{pattern}"):
                archive.extract(member, directory, filter="data")
    assert any(directory.iterdir()), f"no {pattern} in {deb}"
