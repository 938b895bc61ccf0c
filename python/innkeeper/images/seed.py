"""cloud-init's seed: a small disk with the label CIDATA, an ISO 9660 file system with a few files.

The data source is NoCloud, which every distribution's cloud-init looks for without being told to.
What is asked for beyond user-data is written as meta-data and as vendor-data: a user-data of one's
own overrides these, and is handed on as it is. Spec: cloud-init's documentation, "NoCloud".
"""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.seed import SeedSpec

LABEL: Final = "CIDATA"
# Far beyond what any of these has; cloud-init reads each into memory.
_LARGEST: Final = 16 << 20
_HOSTNAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
# What the first bytes of a user-data say that it is. Spec: "User data formats".
_FORMATS: Final = (
    b"#!",
    b"#cloud-",
    b"#include",
    b"#part-handler",
    b"## template:",
    b"content-type:",
    b"mime-version:",
    b"\x1f\x8b",
)
# Commands run as root by the agent elsewhere; here a key of the guest's owner does likewise.
_VENDOR_DATA: Final = b"#cloud-config\ndisable_root: false\n"


def contents(spec: SeedSpec, name: str, keys: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The files of the seed for the guest `name`; `keys` are public keys beside those of `spec`.

    Raises:
        InvalidInput: when a file cannot be read, or is not what it should be.
    """
    given = tuple(key for path in spec.ssh_keys for key in _public_keys(path))
    hostname = spec.hostname or name
    if _HOSTNAME.fullmatch(hostname) is None:
        raise InvalidInput(f"{hostname!r} is no host name: letters, digits and dashes, at most 63")
    if spec.meta_data is not None and (given or spec.hostname):
        raise InvalidInput("--meta-data has host name and keys in it: give these or that")
    files = {
        "user-data": b"" if spec.user_data is None else _user_data(spec.user_data),
        "vendor-data": _VENDOR_DATA,
    }
    if spec.network_config is not None:
        files["network-config"] = _read(spec.network_config, "network-config")
    if spec.meta_data is not None:
        return {**files, "meta-data": _read(spec.meta_data, "meta-data")}
    told: dict[str, object] = {"local-hostname": hostname, "public-keys": [*given, *keys]}
    # The same seed is the same instance: what cloud-init does once, it does when something is new.
    digest = hashlib.sha256(json.dumps(told).encode())
    for file in sorted(files):
        digest.update(hashlib.sha256(files[file]).digest())
    told["instance-id"] = f"i-{digest.hexdigest()[:16]}"
    # JSON is YAML.
    return {**files, "meta-data": json.dumps(told, indent=1).encode() + b"\n"}


def disk(files: dict[str, bytes], label: str = LABEL) -> bytes:
    """A disk with these files."""
    # Who runs a guest without a seed has no use for it.
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(vol_ident=label, joliet=3, rock_ridge="1.09")
    for number, (name, data) in enumerate(sorted(files.items())):
        short, long = f"/F{number}.;1", f"/{name}"
        iso.add_fp(io.BytesIO(data), len(data), short, rr_name=name, joliet_path=long)
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


def _user_data(path: Path) -> bytes:
    data = _read(path, "user-data")
    if data and not data[:32].lower().startswith(_FORMATS):
        raise InvalidInput(
            f"cloud-init would not know what {path} is: its first line says it, "
            "such as #cloud-config or #!/bin/sh"
        )
    return data


def _public_keys(path: Path) -> list[str]:
    text = _read(path, "SSH key").decode(errors="replace")
    if "PRIVATE KEY-----" in text:
        raise InvalidInput(f"{path} is a private key; --ssh-key takes the public one, {path}.pub")
    lines = (line.strip() for line in text.splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or not all(re.search(r"(?:^|\s)(?:ssh|ecdsa|sk)-\S+ AAAA", key) for key in keys):
        raise InvalidInput(f"{path} has no public keys of SSH in it, or something else as well")
    return keys


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidInput(f"cannot open {what} {path}: {reason}") from error
    if len(data) > _LARGEST:
        raise InvalidInput(f"{what} {path} is larger than 16 MiB")
    return data
