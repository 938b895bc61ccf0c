"""Amounts of memory and disk as people write them: 512M, 2G, 1.5G, 65536K."""

import re
from typing import Final

from innkeeper.errors import InvalidInput

_UNITS: Final = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PATTERN: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of `text`; a number without a unit counts mebibytes, units are powers of 1024.

    Raises:
        InvalidInput: when `text` is no size or is not a whole number of bytes.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text!r} is not a size; write it like 512M or 2G")
    number, unit = match.groups()
    whole, _, fraction = str(number).partition(".")
    scale = _UNITS[unit.upper()]
    numerator = int(whole + fraction) * scale
    scale_down = int("1" + "0" * len(fraction))
    size, rest = divmod(numerator, scale_down)
    if rest:
        raise InvalidInput(f"{text!r} is not a whole number of bytes")
    return size


def format_size(size: int) -> str:
    """`size` bytes in the largest unit that keeps it readable: 512 MiB, 1.5 GiB."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"
