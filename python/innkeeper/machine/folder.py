"""Folders of the host that a guest has, and how they are written: HOST:GUEST[:ro][,uid=N]."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from innkeeper.errors import InvalidInput

MAXIMUM_FOLDERS: Final = 8
_UID: Final = re.compile(r"uid=(\d{1,10})")
_LARGEST_UID: Final = 0xFFFF_FFFE
# A tag has 36 bytes, and is a word on a kernel's command line.
_TAG: Final = re.compile(r"[a-zA-Z0-9._-]{1,36}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSpec:
    """A directory of the host, which the guest mounts by `tag`, at `target` where it has our agent.
    Files of whoever runs the guest belong to the guest's user and group `owner`.
    """

    path: Path
    target: PurePosixPath
    tag: str
    read_only: bool = False
    owner: int = 0


def parse_folder(text: str, index: int) -> FolderSpec:
    """HOST:GUEST, and behind another colon ro, rw, uid=1000, with commas between.

    Raises:
        InvalidInput: when it is nothing of that.
    """
    match text.split(":"):
        case [host, guest]:
            options: list[str] = []
        case [host, guest, tail]:
            options = tail.split(",")
        case _:
            host = guest = ""
            options = []
    if not host or not guest:
        raise InvalidInput(
            f"{text!r} names no folder: write HOST:GUEST, and perhaps :ro or :uid=1000 behind"
        )
    target = PurePosixPath(guest)
    if not target.is_absolute() or ".." in target.parts or target == PurePosixPath("/"):
        raise InvalidInput(f"{guest!r} is no place for a folder: write it from the root, as /src")
    read_only, owner = False, 0
    for option in options:
        if uid := _UID.fullmatch(option):
            owner = int(uid[1])
        elif option in ("ro", "rw"):
            read_only = option == "ro"
        else:
            raise InvalidInput(f"folder option {option!r} is none of ro, rw, uid=NUMBER")
    return FolderSpec(
        path=Path(host), target=target, tag=f"inn{index}", read_only=read_only, owner=owner
    )


def validate_folders(folders: Sequence[FolderSpec]) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if len(folders) > MAXIMUM_FOLDERS:
        raise InvalidInput(f"a guest has at most {MAXIMUM_FOLDERS} folders, not {len(folders)}")
    for number, folder in enumerate(folders):
        if not folder.path.is_dir():
            what = "is no directory" if folder.path.exists() else "does not exist"
            raise InvalidInput(f"the folder {folder.path} {what}")
        needed = os.R_OK | os.X_OK | (0 if folder.read_only else os.W_OK)
        if not os.access(folder.path, needed):
            how = "used" if folder.read_only else "written to; :ro is for reading alone"
            raise InvalidInput(f"the folder {folder.path} cannot be {how}")
        if _TAG.fullmatch(folder.tag) is None:
            raise InvalidInput(f"{folder.tag!r} is no name for a folder: at most 36 letters")
        if not 0 <= folder.owner <= _LARGEST_UID:
            raise InvalidInput(f"there is no user {folder.owner}")
        for other in folders[:number]:
            if folder.tag == other.tag or folder.target == other.target:
                raise InvalidInput(f"two folders cannot both be at {folder.target}")


def mount_words(folders: Sequence[FolderSpec]) -> list[str]:
    """For the agent, on the kernel's command line."""
    return [
        f"innkeeper.folder={folder.tag}:{quote(str(folder.target))}"
        + (":ro" if folder.read_only else "")
        for folder in folders
    ]
