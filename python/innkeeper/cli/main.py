"""`inn`: the command line. Every error of ours is one sentence and a documented exit status."""

import sys
from typing import Annotated

import click
import typer

from innkeeper.cli import image, run
from innkeeper.cli.doctor import doctor
from innkeeper.cli.version import version
from innkeeper.errors import DeviceFailed, InnkeeperError, InvalidInput
from innkeeper.vm.ending import BAD_INPUT, FAILURE

app = typer.Typer(
    name="inn",
    help="Runs real operating systems as guests, with or without hardware virtualization.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.add_typer(image.app, name="image")
app.command("doctor")(doctor)
app.command("version")(version)


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if show_version:
        version()
        raise typer.Exit


def main() -> None:
    """The entry point `inn`."""
    try:
        status = app(standalone_mode=False)
    except InnkeeperError as error:
        status = _explain(error)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to say, and nobody to say it to.
        sys.stdout = None
        status = FAILURE
    sys.exit(status if isinstance(status, int) else 0)


def _explain(error: InnkeeperError) -> int:
    if isinstance(error, DeviceFailed) and error.details:
        print(error.details, file=sys.stderr)
    print(f"inn: {error}", file=sys.stderr)
    return BAD_INPUT if isinstance(error, InvalidInput) else FAILURE
