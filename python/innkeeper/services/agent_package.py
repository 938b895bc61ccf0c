"""Our agent as a package, in a file of the host's."""

import os
import tempfile
from enum import StrEnum
from pathlib import Path

from innkeeper.errors import HostFailure
from innkeeper.guest.package import archives
from innkeeper.guest.package.contents import NAME, contents


class Format(StrEnum):
    """`tar.gz` is for systems without dpkg."""

    DEB = "deb"
    TAR_GZ = "tar.gz"


def write(target: Path | None, kind: Format) -> Path:
    """Writes the package to `target`, or into it where that is a directory.

    Raises:
        HostFailure: when it cannot be written, or this installation has no agent in it.
    """
    name = f"{NAME}_{archives.version()}_{archives.ARCHITECTURE}.{kind}"
    path = Path(name) if target is None else target / name if target.is_dir() else target
    made = contents()
    content = archives.deb(made) if kind is Format.DEB else archives.tar_gz(made)
    try:
        _replace(path, content)
    except OSError as error:
        raise HostFailure(f"cannot write {path}: {error.strerror}") from error
    return path


def _replace(path: Path, content: bytes) -> None:
    """As a whole, whatever happens meanwhile."""
    fd, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, 0o644)
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink()
        raise
