"""How a guest's end becomes `inn`'s exit status; docs/reference/exit-codes.md is for people."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from innkeeper.vm.statistics import GuestStatistics


class EndKind(StrEnum):
    POWER_OFF = "power-off"
    RESET = "reset"
    TRIPLE_FAULT = "triple-fault"
    PANIC = "panic"
    DEVICE_EXIT = "device-exit"
    STOPPED = "stopped"
    ENGINE_FAILED = "engine-failed"


# Of ends that are the guest's doing, as `ShutdownCause` of QEMU's schema has them.
CAUSES: Final = {
    EndKind.POWER_OFF: "guest-shutdown",
    EndKind.RESET: "guest-reset",
    EndKind.TRIPLE_FAULT: "guest-reset",
    EndKind.PANIC: "guest-panic",
    EndKind.DEVICE_EXIT: "guest-shutdown",
}


FAILURE: Final = 1
BAD_INPUT: Final = 2
PANICKED: Final = 120
TRIPLE_FAULTED: Final = 121
RESET: Final = 122
ENGINE_FAILED: Final = 123
TIMED_OUT: Final = 124
GUEST_LOST: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


@dataclass(frozen=True, slots=True)
class Ending:
    """An exit status and, where it needs one, a sentence for standard error.

    `last_words` are the last lines of the guest's console, where nobody has seen them yet, and
    `statistics` there where they were asked for.
    """

    status: int
    sentence: str | None = None
    last_words: tuple[str, ...] = ()
    statistics: GuestStatistics | None = None

    def quoting(self, words: tuple[str, ...]) -> "Ending":
        """With the guest's last words below the sentence; an end without one needs none."""
        return self if self.sentence is None else replace(self, last_words=words)

    def counting(self, statistics: GuestStatistics | None) -> "Ending":
        """With what the guest's engine did."""
        return replace(self, statistics=statistics)


def ending(kind: EndKind, code: int | None = None, what: str | None = None) -> Ending:
    """The ending of a guest that nobody stopped from outside."""
    match kind:
        case EndKind.POWER_OFF | EndKind.STOPPED:
            return Ending(0)
        case EndKind.DEVICE_EXIT:
            return Ending((code or 0) & 0xFF)
        case EndKind.PANIC:
            return Ending(PANICKED, "the guest's kernel panicked")
        case EndKind.TRIPLE_FAULT:
            return Ending(TRIPLE_FAULTED, "the guest's processor shut down after a triple fault")
        case EndKind.RESET:
            return Ending(RESET, "the guest reset itself")
        case EndKind.ENGINE_FAILED:
            return Ending(ENGINE_FAILED, f"the engine cannot go on: {what}")
