"""Debian roots on disks to test with, made by what makes the images, kept in build/guests.

They are installed through mmdebstrap's own apt, those of other architectures too: the host's dpkg
is not changed. What was made once stays until `make clean`.
"""

import contextlib
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.boot.packages import KEPT, keep

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt
from innkeeper.images.bootstrap import Bootstrap, install, write_disk


@dataclass(frozen=True)
class Root:
    """A disk with Debian on it; `change` is as `write_disk` takes it, `size` in bytes."""

    name: str
    bootstrap: Bootstrap
    change: str
    size: int


def make(root: Root) -> Path:
    """A directory with root.img, and what `change` put beside the root."""
    # Another recipe is another root.
    recipe = hashlib.sha256(repr(root).encode()).hexdigest()[:12]
    kept = KEPT / root.bootstrap.architecture / f"root-{root.name}-{recipe}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            # The first process inside a chroot may be another user: it must be able to pass here.
            Path(scratch).chmod(0o755)
            _make(root, Path(scratch) / "made")
            keep(Path(scratch) / "made", kept)
    return kept


def _make(root: Root, directory: Path) -> None:
    directory.mkdir()
    with tempfile.TemporaryDirectory() as lists:
        apt = Apt(Path(lists) / "apt", root.bootstrap.architecture)
        # Only the names of the archives are wanted here.
        with contextlib.suppress(ImageBuildFailed):
            apt.update()
        # Neither security's archive nor that of updates has to be there for every architecture.
        archives = [archive for archive in apt.debian() if "-" not in archive.suite]
    install(root.bootstrap, archives, directory)
    write_disk(directory, root.size, root.change)
