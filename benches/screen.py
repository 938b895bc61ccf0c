"""`make bench-screen`: what it takes to show a guest's screen to a viewer.

    python -m benches.screen

A guest with a display of 1024x768 changes a little text on it as often as it can be seen, or draws
noise without end. The processor time of its process with a viewer is compared with that without.
Writes docs/reference/screen-measured.md.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.homes import INN, a_home
from benches.rfb import RAW, TIGHT, ZRLE, Seen, Viewer

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "screen-measured.md"
_SECONDS: Final = 10.0
_TICK: Final = os.sysconf("SC_CLK_TCK")
# Four lines of numbers at as many places, more often than anybody sees.
_TEXT: Final = r"""
n=0
while :; do
    for line in 3 12 21 30; do
        printf '\033[%d;%dHframe %d of line %d' $line $line $n $line
    done > /dev/tty1
    n=$((n + 1))
    sleep 0.01
done
"""
_NOISE: Final = "while :; do cat /dev/urandom > /dev/fb0 2>/dev/null; done"
_CLIENTS: Final = {"Tight": TIGHT, "ZRLE": ZRLE, "Raw": RAW}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`load` and `alone` are in processors."""

    drawing: str
    encoding: str
    seen: Seen
    load: float
    alone: float


class Box:
    """A guest with a screen."""

    def __init__(self, home: Path) -> None:
        self.inn("run", "--detach", "--name", "box", "--display", "1024x768", "debian")
        self.exec("true")
        self.screen = home / "guests" / "box" / "run" / "vnc"
        self._pid = int(json.loads(self.inn("inspect", "box", "--json"))["pid"])

    def inn(self, *words: str) -> str:
        return subprocess.run([INN, *words], capture_output=True, text=True, check=True).stdout

    def exec(self, command: str) -> str:
        return self.inn("exec", "box", "sh", "-c", command)

    def spent(self) -> float:
        """Processor seconds of its process."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def load(self, seconds: float) -> float:
        before, began = self.spent(), time.monotonic()
        time.sleep(seconds)
        return (self.spent() - before) / (time.monotonic() - began)


def measure(box: Box) -> list[Row]:
    rows = []
    for drawing, script in (("a little text", _TEXT), ("noise without end", _NOISE)):
        box.exec(f"({script}) </dev/null >/dev/null 2>&1 & echo $! > /run/drawing")
        alone = box.load(_SECONDS)
        for encoding, number in _CLIENTS.items():
            viewer = Viewer(box.screen, number)
            before = box.spent()
            seen = viewer.watch(_SECONDS)
            load = (box.spent() - before) / seen.seconds
            viewer.close()
            row = Row(drawing=drawing, encoding=encoding, seen=seen, load=load, alone=alone)
            rows.append(row)
        box.exec("kill $(cat /run/drawing); pkill cat || true")
    return rows


def page(rows: list[Row], engine: str) -> str:
    lines = [
        "# What a viewer of a screen takes",
        "",
        "Made by `make bench-screen`: a guest with a display of 1024x768 changes four lines of",
        "text up to 100 times a second, or draws noise without end, and one viewer takes all",
        f"that it is sent. The guest's process ran the {engine}; its load is in processors,",
        "without the viewer, and more with it. [A guest's screen](../guides/screen.md).",
        "",
        "| guest draws | encoding | pictures a second | KiB a second | load alone | viewer adds |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        seen = row.seen
        rate, size = seen.updates / seen.seconds, seen.bytes / 1024 / seen.seconds
        more = max(0.0, row.load - row.alone)
        lines.append(
            f"| {row.drawing} | {row.encoding} | {rate:.1f} | {size:.0f} | {row.alone:.2f} "
            f"| {more:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    with a_home() as home:
        box = Box(home)
        engine = str(json.loads(box.inn("inspect", "box", "--json"))["engine"])
        rows = measure(box)
    text = page(rows, engine)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
