"""`inn exec`, `console` and `top`: in guests that run already."""

import os
import re
import sys
from typing import Annotated

import typer

from innkeeper.cli import direct
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import Name
from innkeeper.cli.output import remark
from innkeeper.errors import InvalidInput
from innkeeper.services import attach
from innkeeper.services.attach import ExecRequest
from innkeeper.vm import terminal

# The first there is.
_SHELL = (
    *("/bin/sh", "-c"),
    'for shell in /bin/bash /bin/sh; do [ -x "$shell" ] && exec "$shell" -l; done',
)
# Anything that a guest may call somebody.
_USER = re.compile(r"[^:\s\0]{1,256}(:[^:\s\0]{1,256})?")


def execute(
    name: Name,
    command: Annotated[
        list[str], typer.Argument(help="Command and its arguments.", metavar="COMMAND…")
    ],
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Hand standard input to the command.")
    ] = False,
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Give the command a terminal in the guest.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME=VALUE", help="A variable. Repeatable."),
    ] = None,
    workdir: Annotated[
        str | None,
        typer.Option("--workdir", "-w", metavar="DIR", help="Where it runs, rather than at home."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            metavar="USER[:GROUP]",
            help="As whom it runs: names or numbers. Without, root, or whom a container's image "
            "says.",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long a guest that still boots is waited for."),
    ] = None,
) -> int:
    """Run a command in a guest; its exit status becomes that of inn.

    Options of inn stand before the guest's name. Ctrl-C reaches the command.

    [dim]inn exec web systemctl status nginx[/dim]

    [dim]inn exec -it web bash[/dim]
    """
    if not _words(command):
        raise InvalidInput("name a command to run in the guest")
    size = terminal.size() if tty and sys.stdin.isatty() and sys.stdout.isatty() else None
    variables = dict(_variable(text) for text in env or ())
    if size is not None:
        variables.setdefault("TERM", os.environ.get("TERM", "linux"))
    request = ExecRequest(
        argv=_words(command),
        stdin=interactive or size is not None,
        terminal=size,
        env=variables,
        cwd=workdir or "",
        user="" if user is None else _user(user),
        timeout=None if timeout is None else parse_duration(timeout),
    )
    return direct.run(name, request)


def shell(name: Name) -> int:
    """A login shell in a guest, with a terminal of its own."""
    size = terminal.size() if terminal.is_interactive() else None
    variables = {} if size is None else {"TERM": os.environ.get("TERM", "linux")}
    request = ExecRequest(argv=_SHELL, stdin=True, terminal=size, env=variables)
    return direct.run(name, request)


def console(
    name: Name,
    read_only: Annotated[
        bool, typer.Option("--read-only", "-r", help="Look, and type nothing.")
    ] = False,
) -> None:
    """Sit at a guest's console; [bold]Ctrl-][/bold] leaves it, and the guest runs on.

    As many as like may: all see the same. In a guest of an image the first gets a shell.
    """
    attach.console(name, read_only=read_only)


def top(
    name: Name,
    options: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the guest's ps(1).", metavar="OPTION…"),
    ] = None,
) -> int:
    """List the processes in a guest."""
    ending = attach.top(name, _words(options or []))
    if ending.sentence:
        remark(ending.sentence)
    return ending.status


def _words(command: list[str]) -> tuple[str, ...]:
    """Without the `--` that stands before a command of inn run."""
    return tuple(command[1:] if command[:1] == ["--"] else command)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{text!r} is no variable; write it like NAME=VALUE")
    return name, value


def _user(text: str) -> str:
    if _USER.fullmatch(text) is None:
        raise InvalidInput(f"{text!r} is no user; write it like www-data, 1000 or 1000:adm")
    return text
