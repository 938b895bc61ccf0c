"""A Debian root as a disk: mmdebstrap installs it, `mke2fs -d` writes it into ext4.

Where we are not root, both run in a user namespace, so that no step needs privilege, nor a loop
device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.images.apt import Archive
from innkeeper.images.commands import as_root, run

# Runs as root of the host or of a user namespace. $1: scratch directory, $2: script that changes
# the root, which finds it in root/; the rest are that script's own arguments. The script runs
# between what is ours, in the same shell, so that the tree goes whatever it does.
_WRITE: Final = r"""
set -eu
cd "$1"
change=$2
shift 2
trap 'rm -rf root' EXIT
mkdir root
# Device nodes are the guest's devtmpfs to make, and not a user namespace's.
tar -x --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -f root.tar -C root
rm root.tar
eval "$change"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1,lazy_journal_init=1 -d root root.img
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """What to install. `variant` is mmdebstrap's: `minbase`, or `extract` for files alone."""

    packages: Sequence[str]
    variant: str = "minbase"
    architecture: str = "amd64"


def install(
    bootstrap: Bootstrap,
    archives: Sequence[Archive],
    scratch: Path,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Makes `scratch`/root.tar out of the archives' packages; `on_line` sees what is being done.

    Raises:
        ImageBuildFailed: when a package cannot be had or installed.
    """
    options = [f"--variant={bootstrap.variant}", "--format=tar"]
    options += [f"--include={','.join(bootstrap.packages)}"]
    options += [f"--architectures={bootstrap.architecture}", '--aptopt=Acquire::Languages "none"']
    lines = [archive.line for archive in archives]
    with (scratch / "root.tar").open("wb") as tar:
        command = ["mmdebstrap", *options, archives[0].suite, "-", *lines]
        run(command, stdout=tar, on_line=on_line or (lambda _line: None))


def write_disk(scratch: Path, size: int, change: str, *arguments: str) -> None:
    """Makes `scratch`/root.img of `size` bytes, a sparse file, out of root.tar, which is used up.

    `change` is a shell script that changes what is in root/ first; it has `arguments` as $1 and on.

    Raises:
        ImageBuildFailed: when the script fails or the disk is too small.
    """
    with (scratch / "root.img").open("wb") as disk:
        disk.truncate(size)
    run([*as_root(), "sh", "-c", _WRITE, "write", str(scratch), change, *arguments])
