"""`inn exec GUEST COMMAND…` without options, which scripts call by the hundred. To load what parses
command lines takes them longer than all that a command in a guest takes; and there is nothing to
parse.
"""

from collections.abc import Sequence

from innkeeper.cli.output import remark
from innkeeper.services import attach
from innkeeper.services.attach import ExecRequest


def command(words: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """The guest, and what to run in it, where `words` ask for nothing else."""
    match words:
        case ["exec", name, first, *rest] if name[:1] not in ("", "-") and first[:1] != "-":
            return name, (first, *rest)
    return None


def execute(guest: str, argv: tuple[str, ...]) -> int:
    """The command's exit status.

    Raises:
        InnkeeperError: as `services.attach.execute`.
    """
    return run(guest, ExecRequest(argv=argv))


def run(guest: str, request: ExecRequest) -> int:
    """The exit status of what is asked for, once it is said what is to be said of it."""
    ending = attach.execute(guest, request)
    if ending.sentence:
        remark(ending.sentence)
    return ending.status
