"""What an image says about itself: `manifest.json` beside its files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure

FORMAT: Final = 1
FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`files` maps each file's name to the SHA-256 of its content; sizes are in bytes."""

    name: str
    system: str
    kernel_release: str
    created: str
    command_line: str
    disk_size: int
    files: dict[str, str]

    def write(self, directory: Path) -> None:
        document = {"format": FORMAT, **asdict(self)}
        (directory / FILE).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def read(directory: Path) -> Manifest:
    """
    Raises:
        HostFailure: when the manifest is missing, damaged, or of a newer format.
    """
    path = directory / FILE
    try:
        document = json.loads(path.read_text())
        if document.pop("format") != FORMAT:
            raise HostFailure(f"{path} is of another version of Innkeeper")
        return Manifest(**document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise HostFailure(f"{path} is damaged: {error}") from error
