"""Homes of `inn` for measurements, with the Debian image and nothing else in them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from innkeeper.images import Store, ensure

INN: Final = Path(sys.executable).with_name("inn")


@contextmanager
def a_home() -> Iterator[Path]:
    """One that every `inn` of this process has from now on; its guests are removed with it.

    It lies where images do: hard links and mappings are of one file system.
    """
    image = ensure(Store(), "debian", lambda *_: None)
    with tempfile.TemporaryDirectory(dir=image.directory.parents[1]) as directory:
        home = Path(directory)
        furnish(home)
        os.environ["INNKEEPER_HOME"] = directory
        try:
            yield home
        finally:
            everybody = subprocess.run(
                [INN, "ps", "-aq"], capture_output=True, text=True, check=True
            )
            if names := everybody.stdout.split():
                subprocess.run([INN, "rm", "--force", *names], capture_output=True, check=False)


def furnish(home: Path) -> None:
    """Puts the Debian image, and nothing else, into an empty one."""
    image = ensure(Store(), "debian", lambda *_: None)
    (home / "names").mkdir(parents=True)
    (home / "images").symlink_to(image.directory.parent)
    (home / "names" / "debian").symlink_to(Path("..") / "images" / image.digest)
