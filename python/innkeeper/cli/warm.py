"""`inn image warm`: what guests of images begin as instead of booting."""

import datetime
from typing import Annotated

import typer

from innkeeper.cli import options
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.options import complete_image
from innkeeper.cli.output import print_json, print_table, remark, table
from innkeeper.cli.progress import build_progress
from innkeeper.errors import InvalidInput
from innkeeper.machine import EngineChoice, format_size, parse_size
from innkeeper.services import warm
from innkeeper.services.request import GuestRequest
from innkeeper.services.warm import ListedStart

app = typer.Typer(
    cls=Group,
    help="What guests begin as instead of booting: make, list, remove.",
    no_args_is_help=True,
)


def complete_start(incomplete: str) -> list[str]:
    kept = [listed.kept for listed in warm.listed()]
    names = {name for start in kept for name in (start.image, start.key[:12])}
    return sorted(name for name in names if name.startswith(incomplete))


@app.command("ls", cls=Command)
def list_starts(as_json: AsJson = False) -> None:
    """List the starts that are kept, the one that was used last first."""
    found = warm.listed()
    if as_json:
        print_json([_document(listed) for listed in found])
        return
    if not found:
        remark("no start is kept; the first guest of a kind that boots leaves one")
        return
    rows = table("START", "IMAGE", "ENGINE", "CPUS", "MEMORY", "SIZE", "MADE (UTC)")
    for listed in found:
        kept = listed.kept
        rows.add_row(
            kept.key[:12],
            kept.image,
            kept.engine,
            str(kept.vcpus),
            format_size(kept.memory),
            format_size(listed.size),
            _made(kept.created).strftime("%Y-%m-%d %H:%M"),
        )
    print_table(rows)


@app.command(cls=Command)
def make(
    image: Annotated[
        str,
        typer.Argument(help="Such as debian.", metavar="IMAGE", autocompletion=complete_image),
    ],
    memory: options.Memory = "512M",
    cpus: options.Cpus = 1,
    engine: options.Engine = EngineChoice.AUTO,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="For guests of inn run --detach.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Boot a guest once, so that the next of its kind need not.

    The first guest that boots does that as well; this is for before.
    """
    request = GuestRequest(image=image, vcpus=cpus, memory=parse_size(memory), engine=engine)
    with build_progress(image) as report:
        made = warm.make(request, report, stays=detach)
    if as_json:
        print_json(_document(made))
    else:
        print(made.kept.key[:12])


@app.command(cls=Command)
def rm(
    starts: Annotated[
        list[str] | None,
        typer.Argument(
            help="As in inn image warm ls, or images.",
            metavar="START…",
            autocompletion=complete_start,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are kept.")] = False,
) -> None:
    """Remove starts that are kept; the next guest of their kind boots. Who began so runs on."""
    if bool(starts) == every:
        raise InvalidInput("name the starts to remove, or say --all")
    for key in warm.remove_all() if every else warm.remove(starts or []):
        print(key[:12])


def _document(listed: ListedStart) -> dict[str, object]:
    kept = listed.kept
    return {
        "start": kept.key,
        "image": kept.image,
        "digest": kept.digest,
        "engine": kept.engine,
        "cpus": kept.vcpus,
        "memory": kept.memory,
        "size": listed.size,
        "created": _made(kept.created).isoformat(timespec="seconds"),
    }


def _made(created: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(created, datetime.UTC)
