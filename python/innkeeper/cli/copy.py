"""`inn cp`: files to and from guests."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from innkeeper.cli.names import complete_guest
from innkeeper.cli.output import remark
from innkeeper.services import copy as copies


def _complete_place(incomplete: str) -> list[str]:
    return [f"{name}:" for name in complete_guest(incomplete)]


Place = Annotated[
    str,
    typer.Argument(
        help="A path of the host, GUEST:PATH, or - for a tar archive on a standard stream.",
        metavar="SOURCE",
        autocompletion=_complete_place,
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        help="Where to, written likewise.", metavar="TARGET", autocompletion=_complete_place
    ),
]


def cp(source: Place, target: Target) -> None:
    """Copy files and directories to a guest, or from one.

    A directory that is there takes what is copied into it; DIRECTORY/. is what is in it. What comes
    to the guest is root's, what comes from it is yours.

    [dim]inn cp site web:/srv/[/dim]

    [dim]inn cp web:/var/log/syslog .[/dim]
    """
    with _progress() as report:
        left_out = copies.copy(source, target, report)
    for name in left_out:
        shown = "".join(each if each.isprintable() else "?" for each in name[:200])
        remark(f"left out, since it is no file: {shown}")


@contextlib.contextmanager
def _progress() -> Iterator[copies.Report]:
    """A bar, where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, done))
