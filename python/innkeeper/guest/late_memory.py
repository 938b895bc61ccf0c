"""Memory of a guest that came from another host and runs here, while a part of it is still there.

The core has it come (crates/migration/src/fetcher.rs). This is what the loop does of it: the guest
stands still while nothing comes, and goes on by another connection.
"""

from collections.abc import Callable
from typing import Final, Protocol

from innkeeper.vm import moving
from innkeeper.vm.detached.loop import READ, Loop
from innkeeper.vm.qmp.session import CommandError

_OUTSTANDING: Final = ("postcopy-active", "postcopy-paused")


class Subject(Protocol):
    """A guest, as its late memory needs it."""

    @property
    def loop(self) -> Loop: ...
    def wait_for_memory(self) -> None: ...
    def memory_comes(self) -> None: ...


class LateMemory:
    """Of one guest, which may have none. `tell` hears of each phase by its name."""

    def __init__(self, guest: Subject, tell: Callable[[str], None]) -> None:
        self._guest = guest
        self._tell = tell
        self._memory: moving.LateMemory | None = None
        self._phase = "none"

    def expect(self, memory: moving.LateMemory) -> None:
        """The guest runs, and this comes."""
        self._memory = memory
        self._phase = "postcopy-active"
        self._tell(self._phase)
        self._guest.loop.watch(memory.fileno(), READ, lambda _: self._look())
        self._look()

    @property
    def outstanding(self) -> bool:
        return self._phase in _OUTSTANDING

    @property
    def cut_off(self) -> bool:
        """Whether nothing comes, so that the guest stands still."""
        return self._phase == "postcopy-paused"

    def status(self) -> dict[str, object]:
        """As `query-migrate` tells it; nothing of a guest that came whole."""
        if self._memory is None:
            return {}
        phase, reason, missing = self._memory.progress()
        told: dict[str, object] = {"status": phase, "x-missing": missing}
        if reason is not None:
            told["error-desc"] = reason
        self._enter(phase)
        return told

    def go_on(self, descriptor: int) -> None:
        """By another connection.

        Raises:
            CommandError: when nothing is missing.
            HostFailure: when the host has no thread or descriptor left.
        """
        if self._memory is None or not self._memory.go_on(descriptor):
            raise CommandError("nothing of the guest's memory is missing")

    def abandon(self) -> None:
        """The guest has ended, and needs nothing more."""
        if self._memory is not None and self.outstanding:
            self._memory.abandon()
            self._become("completed")

    def _look(self) -> None:
        assert self._memory is not None
        phase, _, _ = self._memory.progress()
        self._enter(phase)

    def _enter(self, phase: str) -> None:
        before = self._phase
        if phase == before:
            return
        self._become(phase)
        if phase == "postcopy-paused":
            self._guest.wait_for_memory()
        elif before == "postcopy-paused":
            # All may have come before anybody looked.
            self._guest.memory_comes()

    def _become(self, phase: str) -> None:
        self._phase = phase
        self._tell(phase)
        if phase == "completed" and self._memory is not None:
            self._guest.loop.forget(self._memory.fileno())
