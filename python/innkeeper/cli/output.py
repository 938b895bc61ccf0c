"""What commands have in common in what they print.

What draws tables is loaded by who draws one: that takes as long as a fifth of a guest's start. What
parses command lines is not loaded here at all.
"""

import json
import sys
from typing import TYPE_CHECKING, Final

from innkeeper.errors import InnkeeperError, InvalidInput, NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FAILURE: Final = 1
BAD_INPUT: Final = 2


def wide_console() -> "Console":
    """Standard output; where it is no terminal, so wide that no table is folded."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=1000)


def table(*columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False)


def print_table(rows: "Table") -> None:
    console = wide_console()
    with console.capture() as drawn:
        console.print(rows)
    # Cells are filled up to their column's width, the last ones for nothing.
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def status_of(error: InnkeeperError) -> int:
    """`inn`'s exit status, as docs/reference/exit-codes.md has them."""
    mistyped = isinstance(error, InvalidInput) and not isinstance(error, NotFound)
    return BAD_INPUT if mistyped else FAILURE


def remark(sentence: str) -> None:
    """For a person, beside what the command prints for anybody. One line, whatever is quoted."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
    print(f"inn: {''.join(shown)}", file=sys.stderr)
