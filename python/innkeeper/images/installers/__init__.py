"""Installers of operating systems: what they start from, and what they need not ask."""

from innkeeper.images.installers.answers import Answers, preseed
from innkeeper.images.installers.disc import Disc, Family, from_disc
from innkeeper.images.installers.kickstart import LABEL, Choices, kickstart, kickstart_disk
from innkeeper.images.installers.mirror import Mirror, mirror_of
from innkeeper.images.installers.netboot import Architecture, Installer, fetch

__all__ = [
    "LABEL",
    "Answers",
    "Architecture",
    "Choices",
    "Disc",
    "Family",
    "Installer",
    "Mirror",
    "fetch",
    "from_disc",
    "kickstart",
    "kickstart_disk",
    "mirror_of",
    "preseed",
]
