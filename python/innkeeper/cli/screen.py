"""`inn screenshot`, `record`, `sendkey`, `type` and `clipboard`: at the screen of a guest."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json, remark
from innkeeper.errors import InvalidInput
from innkeeper.services import clipboard as clipboards
from innkeeper.services import film, screen
from innkeeper.vm.display.clipboard import LONGEST


def screenshot(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE.png", help="Where to; - is stdout.")],
) -> None:
    """Write what a guest shows to a PNG file."""
    screen.screenshot(name, file)


def record(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE.png", help="Where to.")],
    seconds: Annotated[
        float | None, typer.Option(metavar="N", help="How long; until Ctrl-C otherwise.", min=0)
    ] = None,
    rate: Annotated[
        int, typer.Option(metavar="N", help="Pictures a second, at most.", min=1, max=film.FASTEST)
    ] = 10,
) -> None:
    """Record what a guest shows, as an animated PNG, until Ctrl-C or its end.

    [dim]inn record desk installing.png[/dim]
    """
    pictures = film.record(name, file, film.Film(rate=rate, seconds=seconds))
    remark(f"{file} has {pictures} picture{'s' * (pictures != 1)}")


def sendkey(
    name: Name,
    keys: Annotated[list[str], typer.Argument(metavar="KEYS…", help="Such as ctrl-alt-delete.")],
) -> None:
    """Press keys at a guest's keyboard, one combination after another.

    [dim]inn sendkey old-pc ctrl-alt-delete[/dim]

    [dim]inn sendkey old-pc f2 down down ret[/dim]
    """
    screen.send_keys(name, keys)


def type_(
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What an American keyboard has.")],
    enter: Annotated[
        bool, typer.Option("--enter", "-e", help="Press the return key in the end.")
    ] = False,
) -> None:
    """Type text at a guest's keyboard."""
    screen.type_text(name, text + "\n" * enter)


def clipboard(
    name: Name,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What to copy; - is standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what was copied in a guest, or copy TEXT for it.

    In the guest it is the file /run/innkeeper/clipboard. Viewers of its screen share it.

    [dim]inn clipboard desk "some text"[/dim]

    [dim]inn clipboard desk > copied.txt[/dim]
    """
    if text is None:
        copied = clipboards.get(name)
        if as_json:
            print_json({"text": copied})
        else:
            # As it was copied, whatever characters this terminal knows.
            sys.stdout.buffer.write(copied.encode())
        return
    if as_json:
        raise InvalidInput("--json prints what was copied, and takes no TEXT")
    clipboards.put(name, _read_text() if text == "-" else text)


def _read_text() -> str:
    """Standard input.

    Raises:
        InvalidInput: when no clipboard can have it.
    """
    data = sys.stdin.buffer.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise InvalidInput(f"a guest's clipboard has {LONGEST} bytes at most: this is more")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("standard input is no text in UTF-8") from error
