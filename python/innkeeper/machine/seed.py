"""What cloud-init in a guest is told when it boots. Spec: cloud-init's documentation, "NoCloud"."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpec:
    """Files of the host's for cloud-init. `ssh_keys` are public keys; `hostname` is the guest's
    name where it is empty. `meta_data` has both in it, where it is given.
    """

    user_data: Path | None = None
    meta_data: Path | None = None
    network_config: Path | None = None
    ssh_keys: tuple[Path, ...] = ()
    hostname: str = ""
