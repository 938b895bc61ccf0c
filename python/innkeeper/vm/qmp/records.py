"""The commands by which a guest is saved while it runs."""

from collections.abc import Sequence
from typing import Final, Protocol

from innkeeper import stored
from innkeeper.vm.checkpoint import Checkpoint
from innkeeper.vm.qmp.session import CommandError, Handler

# Bytes of a piece of a disk's file.
_LARGEST_UNIT: Final = 1 << 30


class Recorder(Protocol):
    """As innkeeper.guest.recorder has it."""

    def status(self) -> dict[str, object]: ...
    def begin(
        self,
        name: str,
        parent: str,
        *,
        keep: bool,
        checkpoints: Sequence[Checkpoint] = (),
        code: bool = False,
        complete: bool = False,
    ) -> dict[str, object]: ...


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def recorder(self) -> Recorder: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "x-query-record": lambda _: guest.recorder.status(),
        "x-record": lambda arguments: guest.recorder.begin(
            str(arguments["name"]),
            str(arguments["parent"]),
            keep=arguments["keep"] is True,
            checkpoints=_checkpoints(arguments.get("checkpoints")),
            code=bool(arguments.get("code", False)),
            complete=bool(arguments.get("complete", False)),
        ),
    }


def _checkpoints(told: object) -> list[Checkpoint]:
    try:
        told = told if isinstance(told, list) else []
        found = [stored.decode(Checkpoint, each) for each in told]
    except stored.Unreadable as error:
        raise CommandError(f"Parameter 'checkpoints' makes no sense: {error}") from error
    for each in found:
        if not 1 <= each.unit <= _LARGEST_UNIT:
            raise CommandError(f"Parameter 'checkpoints' makes no sense: pieces of {each.unit}")
    return found
