"""How long something may take, as people write it. Apart from other values, which need more."""

import re
from threading import TIMEOUT_MAX
from typing import Final

from innkeeper.errors import InvalidInput

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|h)?")


def parse_duration(text: str, least: float = 0.001) -> float:
    """Seconds of 90, 90s, 5m or 2h.

    Raises:
        InvalidInput: when `text` is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) < least:
        raise InvalidInput(f"{text!r} is not a time; write it like 90, 90s or 5m")
    return min(float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"], TIMEOUT_MAX)
