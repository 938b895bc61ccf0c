"""Homes of `inn` that have an image without a copy of it."""

from pathlib import Path

from innkeeper.images import Image


def furnish(home: Path, image: Image) -> None:
    """Makes `home`, which then has `image` by its name."""
    (home / "names").mkdir(parents=True)
    (home / "images").symlink_to(image.directory.parent)
    (home / "names" / image.name).symlink_to(Path("..") / "images" / image.digest)
