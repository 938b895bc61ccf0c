"""`make bench-migration`: how long guests stand still that move, and how long that takes.

    python -m benches.migration

Guests that write so many new bytes a second, to one page after the other of 256 MiB, move between
two homes on this machine by TLS, over the loopback interface. Writes
docs/reference/migration-measured.md.
"""

import json
import statistics
import struct
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import tiny

from benches.hosts import friends, inn

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "migration-measured.md"
_ROUNDS: Final = 5
# Of the ACPI power management timer, which guests read at this port.
_HERTZ: Final = 3_579_545
_TIMER: Final = 0x608
_MIB: Final = 256
_BEGIN: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`rate` is what the guest writes, in MiB a second."""

    rate: int
    options: tuple[str, ...] = ()


CASES: Final = (
    Case(rate=1),
    Case(rate=100),
    Case(rate=100, options=("--no-compress",)),
    Case(rate=1000, options=("--no-compress",)),
    Case(rate=1000, options=("--no-compress", "--post-copy")),
)


def writer(rate: int) -> bytes:
    """Code of a guest that writes so many MiB a second."""
    ticks = _HERTZ // rate
    read_timer = b"\x66\xba" + struct.pack("<H", _TIMER) + b"\xed"
    wait = b"".join(
        (
            read_timer,
            b"\x29\xf0",  # sub eax, esi
            b"\x25\xff\xff\xff\x00",  # and eax, ffffffh
            b"\x3d" + struct.pack("<I", ticks),  # cmp eax, ticks
        )
    )
    wait += b"\x72" + (-(len(wait) + 2)).to_bytes(1, "little", signed=True)  # jb wait
    fill = b"\x8d\x04\x1f\x89\x07"  # page: lea eax, [edi+ebx]; mov [edi], eax
    fill += b"\x81\xc7" + struct.pack("<I", 4096) + b"\x49"  # add edi, 4096; dec ecx
    fill += b"\x75" + (-(len(fill) + 2)).to_bytes(1, "little", signed=True)  # jnz page
    mib = b"\xb9" + struct.pack("<I", 256) + fill + b"\x43" + wait  # mov ecx, 256; …; inc ebx
    mib += b"\x81\xc6" + struct.pack("<I", ticks) + b"\x4d"  # add esi, ticks; dec ebp
    mib += b"\x0f\x85" + struct.pack("<i", -(len(mib) + 6))  # jnz mib
    again = b"\xbf" + struct.pack("<I", _BEGIN) + b"\xbd" + struct.pack("<I", _MIB) + mib
    again += b"\xe9" + struct.pack("<i", -(len(again) + 5))
    return b"\x31\xdb" + read_timer + b"\x89\xc6" + again  # xor ebx, ebx; mov esi, eax


def move(here: Path, there: Path, case: Case) -> Mapping[str, Any]:
    kernel = tiny.kernel(here / "writer", writer(case.rate))
    machine = ("--memory", "512M", "--network", "none", "--engine", "translator")
    inn("run", "--detach", "--name", "box", "--kernel", kernel, *machine, home=here)
    # By then it has written to most of its pages.
    time.sleep(min(_MIB / case.rate, 5) + 1)
    found: dict[str, Any] = json.loads(
        inn("migrate", "box", "there", "--json", *case.options, home=here)
    )
    inn("rm", "--force", "box", home=there)
    inn("rm", "--force", "box", home=here)
    return found


def row(case: Case, found: list[Mapping[str, Any]]) -> str:
    def median(*path: str) -> float:
        def value(each: Any) -> float:  # noqa: ANN401 - of JSON
            for name in path:
                each = each.get(name, 0)
            return float(each)

        return statistics.median(map(value, found))

    worst = max(each["downtime"] for each in found)
    what = f"{case.rate} MiB a second" + "".join(f", `{option}`" for option in case.options)
    cells = (
        f"{median('downtime'):.0f} ms ({worst} ms)",
        f"{median('total-time') / 1000:.1f} s",
        f"{median('ram', 'transferred') / (1 << 20):.0f} MiB",
        f"{median('ram', 'dirty-sync-count'):.0f}",
        f"{median('cpu-throttle-percentage'):.0f}%",
    )
    return f"| {what} | {' | '.join(cells)} |"


def page(rows: list[str]) -> str:
    return "\n".join(
        [
            "# What moving a guest takes",
            "",
            f"Made by `make bench-migration`: medians of {_ROUNDS} moves, and the worst in",
            f"brackets, of a guest of 512 MiB that writes to {_MIB} MiB of them, under the",
            "translator, by TLS over the loopback interface of one machine that is both hosts.",
            "What it writes is compressed to next to nothing: without compression it takes what a",
            "guest takes whose memory cannot be.",
            "[How guests move](../guides/move-a-guest.md).",
            "",
            "| the guest writes | stands still | takes | sends | rounds | slowed down by |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        here, there = Path(directory) / "here", Path(directory) / "there"
        for home in (here, there):
            home.mkdir()
        with friends(here, there):
            for case in CASES:
                rows.append(row(case, [move(here, there, case) for _ in range(_ROUNDS)]))
                print(rows[-1], flush=True)
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
