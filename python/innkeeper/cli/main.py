"""`inn`: the command line. Every error of ours is one sentence and a documented exit status."""

import sys
from typing import Annotated

import typer

from innkeeper.cli import debug, guest, image, run
from innkeeper.cli.doctor import doctor
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import remark
from innkeeper.cli.version import version
from innkeeper.errors import DeviceFailed, InnkeeperError, InvalidInput
from innkeeper.vm.ending import BAD_INPUT, FAILURE

app = typer.Typer(
    name="inn",
    cls=Group,
    help="Runs real operating systems as guests, with or without hardware virtualization.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("run", cls=Command)(run.run)
app.add_typer(image.app, name="image")
app.add_typer(guest.app, name="guest")
app.add_typer(debug.app, name="debug", hidden=True)
app.command("doctor", cls=Command)(doctor)
app.command("version", cls=Command)(version)


def _print_version(asked: bool) -> None:
    if asked:
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
        sys.stdout = None
        status = FAILURE
    sys.exit(status if isinstance(status, int) else 0)


def _plain(sentence: str) -> str:
    # Typer lets Pydantic check values, and this is how that speaks.
    return (
        sentence.rstrip(".")
        .replace("Value error, ", "")
        .replace(
            "Input should be a valid integer, unable to parse string as an integer",
            "not a whole number",
        )
    )


def _explain(error: InnkeeperError) -> int:
    if isinstance(error, DeviceFailed) and error.details:
        print(error.details, file=sys.stderr)
    remark(str(error))
    return BAD_INPUT if isinstance(error, InvalidInput) else FAILURE
