"""A guest's part of its host beside others: how much it weighs, where it may run, what it is
promised.
"""

import re
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import InvalidInput

# As the kernel has them; 1024 is what everybody has who asks for nothing.
LEAST_SHARES: Final = 2
MOST_SHARES: Final = 262_144
_LARGEST_CPU: Final = 8191
_RANGE: Final = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """`cpu` counts among other guests when all want the processors, 1024 without a wish.
    `cpuset` names the host's processors that the guest may run on; empty, it may on all. `memory`
    in bytes is promised to it.
    """

    cpu: int | None = None
    cpuset: tuple[int, ...] = ()
    memory: int = 0


def check_cpu_shares(shares: int) -> int:
    """
    Raises:
        InvalidInput: when nothing can weigh that.
    """
    if not LEAST_SHARES <= shares <= MOST_SHARES:
        raise InvalidInput(f"a guest has {LEAST_SHARES} to {MOST_SHARES} shares, not {shares}")
    return shares


def parse_cpuset(text: str) -> tuple[int, ...]:
    """0-3,6 or all.

    Raises:
        InvalidInput: when it is nothing of that.
    """
    if text == "all":
        return ()
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= _LARGEST_CPU:
            raise InvalidInput(f"{text!r} names no processors: write 0-3,6 or all")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
