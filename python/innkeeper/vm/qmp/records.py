"""The commands by which a guest is saved while it runs."""

from typing import Protocol

from innkeeper.vm.qmp.session import Handler


class Recorder(Protocol):
    """As innkeeper.guest.recorder has it."""

    def status(self) -> dict[str, object]: ...
    def begin(self, name: str, parent: str, *, keep: bool) -> dict[str, object]: ...


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def recorder(self) -> Recorder: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "x-query-record": lambda _: guest.recorder.status(),
        "x-record": lambda arguments: guest.recorder.begin(
            str(arguments["name"]), str(arguments["parent"]), keep=arguments["keep"] is True
        ),
    }
