"""What an image says about itself: `manifest.json` beside its files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.images.containers import config
from innkeeper.images.containers.config import ContainerConfig

FORMAT: Final = 1
# Of images of containers, of which earlier versions know nothing.
CONTAINER_FORMAT: Final = 2
FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`files` maps each file's name to the SHA-256 of its content; sizes are in bytes. An image of
    a container says what that was to run, and `source`, where it was; `source_digest` is its own.
    """

    name: str
    system: str
    kernel_release: str
    created: str
    command_line: str
    disk_size: int
    files: dict[str, str]
    source: str = ""
    source_digest: str = ""
    container: ContainerConfig | None = None

    def write(self, directory: Path) -> None:
        document = {"format": FORMAT, **asdict(self)}
        if self.container is None:
            for name in ("source", "source_digest", "container"):
                del document[name]
        else:
            document["format"] = CONTAINER_FORMAT
        (directory / FILE).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def read(directory: Path) -> Manifest:
    """
    Raises:
        HostFailure: when the manifest is missing, damaged, or of a newer format.
    """
    path = directory / FILE
    try:
        document = json.loads(path.read_text())
        if document.pop("format") not in (FORMAT, CONTAINER_FORMAT):
            raise HostFailure(f"{path} is of another version of Innkeeper")
        container = document.pop("container", None)
        if container is not None:
            container = config.decode(container)
        return Manifest(**document, container=container)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise HostFailure(f"{path} is damaged: {error}") from error
