"""Installers of operating systems: what they start from, and what they need not ask."""

from innkeeper.images.installers.answers import Answers, preseed
from innkeeper.images.installers.disc import from_disc
from innkeeper.images.installers.mirror import Mirror, mirror_of
from innkeeper.images.installers.netboot import Architecture, Installer, fetch

__all__ = [
    "Answers",
    "Architecture",
    "Installer",
    "Mirror",
    "fetch",
    "from_disc",
    "mirror_of",
    "preseed",
]
