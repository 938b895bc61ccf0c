"""How somebody names a container's image that is a file or a directory: as skopeo and podman do.

    oci:DIRECTORY[:TAG]         an OCI image layout
    oci-archive:FILE[:TAG]      the same in a tar archive
    docker-archive:FILE[:TAG]   what docker save wrote

Spec: containers-transports(5).
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from innkeeper.errors import InvalidInput


class Kind(StrEnum):
    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`tag` is empty where the place has one image only."""

    kind: Kind
    path: Path
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}{':' if self.tag else ''}{self.tag}"


def is_reference(text: str) -> bool:
    """Whether `text` names no image of the store, but one that is elsewhere."""
    return text.partition(":")[0] in tuple(Kind) and ":" in text


def parse_reference(text: str) -> Reference:
    """
    Raises:
        InvalidInput: when it is none, or nothing is there.
    """
    kind, _, rest = text.partition(":")
    if not is_reference(text) or not rest or "\0" in rest:
        raise InvalidInput(
            f"{text!r} is no container's image; write it like oci:DIRECTORY:TAG, "
            "oci-archive:FILE:TAG or docker-archive:FILE:TAG"
        )
    # A path may have colons in it, and so may a tag of docker's (name:tag): what is there decides.
    at = len(rest)
    while at > 0:
        path = Path(rest[:at])
        if path.exists():
            return Reference(kind=Kind(kind), path=path, tag=rest[at + 1 :])
        at = rest.rfind(":", 0, at)
    raise InvalidInput(f"cannot open the container's image {rest}: no such file or directory")
