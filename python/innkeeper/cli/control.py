"""`inn stop`, `pause` and all else that is done with guests that are there."""

from typing import Annotated

import typer

from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import Name, Names, for_each
from innkeeper.services import control

Grace = Annotated[
    str,
    typer.Option(
        "--timeout", "-t", metavar="TIME", help="How long the guest gets to power off, such as 30s."
    ),
]
DEFAULT_GRACE = f"{control.GRACE:g}s"


def stop(names: Names, timeout: Grace = DEFAULT_GRACE) -> int:
    """Ask guests to power off, and end those that do not.

    An image's guest is asked through its agent, any other by its power button.
    """
    grace = parse_duration(timeout, least=0)
    return for_each(names, lambda name: control.stop(name, grace))


def kill(names: Names) -> int:
    """End guests at once, as pulling their plug would."""
    return for_each(names, control.kill)


def pause(names: Names) -> int:
    """Let guests stand still; inn resume lets them go on."""
    return for_each(names, control.pause)


def resume(names: Names) -> int:
    """Let paused guests go on."""
    return for_each(names, control.resume)


def rename(
    name: Name, new: Annotated[str, typer.Argument(help="Its new name.", metavar="NAME")]
) -> None:
    """Give a guest another name, whether it runs or not.

    The guest itself hears of it when it starts again.
    """
    control.rename(name, new)


def wait(
    name: Name,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait no longer than this; then 124.")
    ] = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Wait until its agent answers, rather than for its end.")
    ] = False,
) -> int:
    """Wait until a guest has ended, and print its exit status."""
    patience = None if timeout is None else parse_duration(timeout)
    if ready:
        from innkeeper.services import attach

        return 0 if attach.wait_ready(name, patience) else 124
    found = control.wait(name, patience)
    if found is None:
        return 124
    print(found)
    return 0
