"""`inn`: the command line. Every error of ours is one sentence and a documented exit status."""

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import typer

from innkeeper.cli.lazy import LazyGroup, Place
from innkeeper.cli.output import FAILURE, remark, status_of
from innkeeper.errors import DeviceFailed, InnkeeperError

# Where a shell asks what could be typed.
_COMPLETING: Final = "_INN_COMPLETE"
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
    if _COMPLETING in os.environ:
        # Whatever is wrong, a person is in the middle of a line.
        with contextlib.suppress(Exception):
            app(standalone_mode=False)
        sys.exit()
    status = _run()
    sys.exit(status if _flushed() else FAILURE)


def _run() -> int:
    try:
        status = app(standalone_mode=False)
    except InnkeeperError as error:
        status = _explain(error)
    except typer.TyperException as error:
        # Without a sentence: a command that was called with nothing, whose help is printed.
        if sentence := _plain(error.format_message()):
            remark(f"{sentence[0].lower()}{sentence[1:]}")
        status = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to say, and nobody to say it to.
        _drop_output()
        status = FAILURE
    except OSError as error:
        if _flushed():
            remark(_of_host(error))
        status = FAILURE
    return status if isinstance(status, int) else 0


def _flushed() -> bool:
    """Whether all output is written. If not, it is said why."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if not isinstance(error, BrokenPipeError):
            remark(f"cannot write to standard output: {error.strerror}")
        return False
    return True


def _drop_output() -> None:
    """What could not be written is not tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _of_host(error: OSError) -> str:
    """What nobody has found better words for."""
    reason = error.strerror or str(error)
    what = "the host refuses" if error.filename is None else f"cannot use {error.filename}"
    return f"{what}: {reason}"


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


def _explain(error: InnkeeperError) -> int:
    if isinstance(error, DeviceFailed) and error.details:
        print(error.details, file=sys.stderr)
    remark(str(error))
    return status_of(error)
