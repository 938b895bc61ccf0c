"""`inn`: the command line, in which each command is loaded when it is called."""

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import typer

from innkeeper.cli.lazy import LazyGroup, Place
from innkeeper.cli.outcome import ended
from innkeeper.cli.output import remark
from innkeeper.cli.start import COMPLETING

_CONTROL: Final = "innkeeper.cli.control"
_LIFECYCLE: Final = "innkeeper.cli.lifecycle"
_SCREEN: Final = "innkeeper.cli.screen"


class _Commands(LazyGroup):
    """All of them, in the order in which help lists them."""

    places: ClassVar[Mapping[str, Place]] = {
        "run": Place("innkeeper.cli.run", "run"),
        "create": Place("innkeeper.cli.create", "create"),
        "install": Place("innkeeper.cli.install", "install"),
        "start": Place(_LIFECYCLE, "start"),
        "stop": Place(_CONTROL, "stop"),
        "restart": Place(_LIFECYCLE, "restart"),
        "kill": Place(_CONTROL, "kill"),
        "pause": Place(_CONTROL, "pause"),
        "resume": Place(_CONTROL, "resume"),
        "rename": Place(_CONTROL, "rename"),
        "rm": Place(_LIFECYCLE, "rm"),
        "ps": Place("innkeeper.cli.ps", "ps"),
        "inspect": Place("innkeeper.cli.ps", "inspect"),
        "exec": Place("innkeeper.cli.attach", "execute", passes_on=True),
        "shell": Place("innkeeper.cli.attach", "shell"),
        "cp": Place("innkeeper.cli.copy", "cp"),
        "console": Place("innkeeper.cli.attach", "console"),
        "view": Place("innkeeper.cli.view", "view"),
        "screenshot": Place(_SCREEN, "screenshot"),
        "record": Place(_SCREEN, "record"),
        "sendkey": Place(_SCREEN, "sendkey"),
        "type": Place(_SCREEN, "type_"),
        "clipboard": Place(_SCREEN, "clipboard"),
        "top": Place("innkeeper.cli.attach", "top", passes_on=True),
        "logs": Place("innkeeper.cli.logs", "logs"),
        "events": Place("innkeeper.cli.logs", "events"),
        "stats": Place("innkeeper.cli.stats", "stats"),
        "wait": Place(_CONTROL, "wait"),
        "freeze": Place("innkeeper.cli.freeze", "freeze"),
        "thaw": Place("innkeeper.cli.freeze", "thaw"),
        "ssh": Place("innkeeper.cli.ssh", "ssh", passes_on=True),
        "set": Place("innkeeper.cli.adjust", "adjust"),
        "snapshot": Place("innkeeper.cli.snapshot", "app"),
        "fork": Place("innkeeper.cli.fork", "fork"),
        "backup": Place("innkeeper.cli.backup", "app"),
        "import": Place("innkeeper.cli.appliance", "import_"),
        "export": Place("innkeeper.cli.appliance", "export"),
        "migrate": Place("innkeeper.cli.migrate", "migrate"),
        "host": Place("innkeeper.cli.host", "app"),
        "systemd": Place("innkeeper.cli.systemd", "systemd"),
        "image": Place("innkeeper.cli.image", "app"),
        "disk": Place("innkeeper.cli.disk", "app"),
        "media": Place("innkeeper.cli.media", "app"),
        "network": Place("innkeeper.cli.network", "app"),
        "agent": Place("innkeeper.cli.agent", "app"),
        "guest": Place("innkeeper.cli.guest", "app"),
        "debug": Place("innkeeper.cli.debug", "app", hidden=True),
        "doctor": Place("innkeeper.cli.doctor", "doctor"),
        "version": Place("innkeeper.cli.version", "version"),
    }


app = typer.Typer(
    name="inn",
    cls=_Commands,
    help="Runs real operating systems as guests, with or without hardware virtualization.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from innkeeper.cli.version import version

        version()
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        # Eager, so that no command has to follow.
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Takes what stands before the command."""


def main() -> None:
    """The entry point `inn`."""
    if COMPLETING in os.environ:
        # Whatever is wrong, a person is in the middle of a line.
        with contextlib.suppress(Exception):
            app(standalone_mode=False)
        sys.exit()
    sys.exit(ended(_run))


def _run() -> object:
    try:
        return app(standalone_mode=False)
    except typer.TyperException as error:
        # Without a sentence: a command that was called with nothing, whose help is printed.
        if sentence := _plain(error.format_message()):
            remark(f"{sentence[0].lower()}{sentence[1:]}")
        return error.exit_code
    except typer.Abort:
        return 130


def _plain(sentence: str) -> str:
    # Typer lets Pydantic check values, and this is how that speaks.
    return (
        sentence.rstrip(".")
        .replace("Value error, ", "")
        .replace("Input should be greater", "it has to be greater")
        .replace("Input should be less", "it has to be less")
        .replace(
            "Input should be a valid integer, unable to parse string as an integer",
            "not a whole number",
        )
    )
