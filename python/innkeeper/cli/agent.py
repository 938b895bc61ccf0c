"""`inn agent`: our agent, for images that are not ours."""

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import print_json
from innkeeper.services import agent_package
from innkeeper.services.agent_package import Format

app = typer.Typer(
    cls=Group, help="The agent, for guests of images that are not ours.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Takes what stands before the command."""


@app.command("package", cls=Command)
def package(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A file, or a directory to put it into."
        ),
    ] = None,
    kind: Annotated[
        Format, typer.Option("--format", help="tar.gz is for systems without dpkg.")
    ] = Format.DEB,
    as_json: AsJson = False,
) -> None:
    """Write a package with the agent and its systemd unit, to install in a guest; print its name.

    [dim]inn agent package -o /tmp && inn cp /tmp/innkeeper-agent_*.deb db:/tmp/[/dim]
    """
    path = agent_package.write(output, kind)
    if as_json:
        print_json({"path": str(path), "format": str(kind), "size": path.stat().st_size})
    else:
        print(path)
