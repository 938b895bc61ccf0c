"""The files of a saved guest: their names, wherever they are.

    state             processors and devices, as the core writes them
    about.json        what else the guest's process knew: see innkeeper.guest.recorder
    code, code.seal   what the engine had made of the guest's code: see innkeeper.vm.kept_code
    pages.N, index.N  its memory: layer 0 has all of it, each above what was other then
    disk0.N.qcow2     of its first disk, what was written by then; raw where it was no qcow2

A guest begins as what is in its directory `saved`; what its process is just writing has the same
names, behind `recording.`, in the only place where it may. Layers are shared by hard links between
guests and snapshots, and never written to again.
"""

import os
import re
from collections.abc import Iterable
from typing import Final

STATE: Final = "state"
ABOUT: Final = "about.json"
CODE: Final = "code"
SEAL: Final = "code.seal"
# Of a guest that comes from another host: what it is to expect, and where it comes.
ARRIVAL: Final = "arrival.json"
ARRIVAL_SOCKET: Final = "arrival"
PREFIX: Final = "recording."
_LAYER: Final = re.compile(r"(pages|index)\.(0|[1-9]\d{0,3})")
_DISK: Final = re.compile(r"disk(\d{1,3})\.(0|[1-9]\d{0,3})\.(qcow2|raw)")
_TOP: Final = re.compile(r"disk(\d{1,3})\.top\.(qcow2|raw)")


def pages(layer: int) -> str:
    return f"pages.{layer}"


def index(layer: int) -> str:
    return f"index.{layer}"


def disk(number: int, layer: int, kind: str) -> str:
    """`kind` is `qcow2` or `raw`."""
    return f"disk{number}.{layer}.{kind}"


def top(number: int, kind: str) -> str:
    """A disk that was just copied, before it is known over which others it lies."""
    return f"disk{number}.top.{kind}"


def same(number: int) -> str:
    """Beside a disk that was just copied: which bytes of its file were left out, since somebody has
    them. See innkeeper.vm.checkpoint.
    """
    return f"disk{number}.same"


def tops(names: Iterable[str]) -> dict[int, str]:
    """Those of each disk."""
    matches = (_TOP.fullmatch(name) for name in names)
    return {int(match[1]): match[0] for match in matches if match}


def depth(names: Iterable[str]) -> int:
    """How many layers of memory there are."""
    there = {name for name in names if _LAYER.fullmatch(name)}
    count = 0
    while pages(count) in there and index(count) in there:
        count += 1
    return count


def disks(names: Iterable[str]) -> dict[int, list[str]]:
    """The layers of each disk, the lowest first."""
    found: dict[int, list[tuple[int, str]]] = {}
    for name in names:
        if match := _DISK.fullmatch(name):
            found.setdefault(int(match[1]), []).append((int(match[2]), name))
    return {number: [name for _, name in sorted(layers)] for number, layers in found.items()}


def is_memory(name: str) -> bool:
    """Of no use once the guest has begun as it, or begins otherwise."""
    return name in (STATE, ABOUT, CODE, SEAL) or _LAYER.fullmatch(name) is not None


def names(directory: int) -> list[str]:
    """What there is of these; nothing where there is no such directory."""
    found = os.listdir(directory)
    return [name for name in found if is_memory(name) or _DISK.fullmatch(name)]
