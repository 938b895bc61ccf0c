"""Tables of short words, for commands that had rather not load what draws beautiful ones."""

import shutil
import sys
import time
from collections.abc import Sequence


def columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines; on a terminal none is longer than that is wide."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = []
    for row in (titles, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip()[:limit])
    return lines


def ago(moment: float) -> str:
    """How long ago a Unix time was, as one says it."""
    seconds = max(0, int(time.time() - moment))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
