"""What a guest prints with."""

import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import parse_size

# Bytes that a printer's file may have unless another bound is said: some 30000 pages of text.
DEFAULT_LIMIT: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelSpec:
    """A parallel port, and the file that what is printed there is appended to, until it has `limit`
    bytes. Without a file, and when it is full, the printer is out of paper.
    """

    file: Path | None = None
    limit: int = DEFAULT_LIMIT


def parse_parallel(text: str) -> ParallelSpec | None:
    """`FILE[,limit=SIZE]`, or none; a comma in a name is written twice.

    Raises:
        InvalidInput: when `text` is neither.
    """
    if text == "none":
        return None
    name, *options = re.split(r"(?<!,),(?!,)", text)
    if not name:
        raise InvalidInput(f"{text!r} names no file; write it like FILE, or none")
    spec = ParallelSpec(file=Path(name.replace(",,", ",")))
    for option in options:
        match option.partition("="):
            case ["limit", "=", size]:
                spec = replace(spec, limit=parse_size(size))
            case _:
                raise InvalidInput(f"{option!r} is nothing of a parallel port; there is limit=SIZE")
    return spec


def prepare_parallel(spec: ParallelSpec) -> None:
    """Makes the file, if it is missing: whoever is locked in finds it then.

    Raises:
        InvalidInput: when it cannot be appended to.
    """
    if spec.file is None:
        return
    try:
        if not spec.file.exists() or stat.S_ISREG(spec.file.stat().st_mode):
            spec.file.open("ab").close()
            return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        what = f"cannot write what the guest prints to {spec.file}: {reason}"
        raise InvalidInput(what) from error
    raise InvalidInput(f"cannot write what the guest prints to {spec.file}: not a file")


def without_paper(spec: ParallelSpec | None) -> ParallelSpec | None:
    """The port of a guest's copy, which does not print to what the guest prints to."""
    return None if spec is None else replace(spec, file=None)
