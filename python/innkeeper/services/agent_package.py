"""Our agent as a package, in a file of the host's."""

from enum import StrEnum
from pathlib import Path

from innkeeper.guest.package import archives
from innkeeper.guest.package.contents import NAME, contents
from innkeeper.services import output_file


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
    output_file.write(path, content)
    return path
