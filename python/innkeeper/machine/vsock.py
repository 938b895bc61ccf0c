"""A guest's socket device, as a user asks for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput

FIRST_CID: Final = 3
LAST_CID: Final = 0xFFFF_FFFE
# sun_path of a Unix socket's address, with its zero and room for `_PORT`.
_LONGEST_PATH: Final = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class VsockSpec:
    """`cid` is the guest's address. `path` is the host's socket, as Firecracker has it; None: the
    guest's own directory has one, `run/vsock`.
    """

    cid: int = FIRST_CID
    path: Path | None = None


def parse_vsock(text: str) -> VsockSpec | None:
    """What `--vsock` is given: PATH, cid=N, PATH,cid=N or none.

    Raises:
        InvalidInput: when it is nothing of these.
    """
    if text == "none":
        return None
    path: Path | None = None
    cid = FIRST_CID
    for index, word in enumerate(text.split(",")):
        name, equals, value = word.partition("=")
        if equals and name == "cid":
            cid = _cid(value)
        elif index == 0 and word:
            path = Path(word)
        else:
            raise InvalidInput(f"{text!r} is no --vsock; write it like PATH, cid=3 or PATH,cid=3")
    spec = VsockSpec(cid=cid, path=path)
    validate_vsock(spec)
    return spec


def validate_vsock(spec: VsockSpec) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if not FIRST_CID <= spec.cid <= LAST_CID:
        raise InvalidInput(f"a guest's cid is {FIRST_CID} to {LAST_CID}, not {spec.cid}")
    if spec.path is not None and len(str(spec.path.absolute()).encode()) > _LONGEST_PATH:
        raise InvalidInput(f"the socket's path is longer than {_LONGEST_PATH} bytes: {spec.path}")


def _cid(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"{text!r} is no cid; it is a number of {FIRST_CID} or more")
    return int(text)
