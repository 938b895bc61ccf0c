"""Images of operating systems: how they are built, kept, and turned into a machine."""

from innkeeper.images.boot import ImageBoot, check, machine_spec, surroundings_of
from innkeeper.images.catalog import RECIPES, build, ensure, imported
from innkeeper.images.containers.config import ContainerConfig
from innkeeper.images.containers.reference import is_reference
from innkeeper.images.debian import Report
from innkeeper.images.kept import KeptGuest, kept_guests, remove_guest
from innkeeper.images.manifest import Manifest
from innkeeper.images.networks import Member, Network, Networks, connected
from innkeeper.images.store import Image, Store, check_name

__all__ = [
    "RECIPES",
    "ContainerConfig",
    "Image",
    "ImageBoot",
    "KeptGuest",
    "Manifest",
    "Member",
    "Network",
    "Networks",
    "Report",
    "Store",
    "build",
    "check",
    "check_name",
    "connected",
    "ensure",
    "imported",
    "is_reference",
    "kept_guests",
    "machine_spec",
    "remove_guest",
    "surroundings_of",
]
