"""Images of operating systems: how they are built, kept, and turned into a machine."""

from innkeeper.images.boot import ImageBoot, check, machine_spec
from innkeeper.images.catalog import RECIPES, build, ensure
from innkeeper.images.debian import Report
from innkeeper.images.manifest import Manifest
from innkeeper.images.store import Image, Store

__all__ = [
    "RECIPES",
    "Image",
    "ImageBoot",
    "Manifest",
    "Report",
    "Store",
    "build",
    "check",
    "ensure",
    "machine_spec",
]
