"""What a detached guest's own process asks of its agent: the guest's command, a shell to sit at."""

import errno
import struct
from collections.abc import Callable
from typing import Final

from innkeeper.guest.frames import Exec, Tell, TooLong
from innkeeper.guest.hub import AgentHub, Listening
from innkeeper.guest.surroundings import joined
from innkeeper.vm.ending import NOT_EXECUTABLE, NOT_FOUND, Ending
from innkeeper.vm.surroundings import Surroundings

# The virtio console; a wired terminal has no size that the guest would hear of.
_DEVICE: Final = "/dev/hvc0"


class ResidentCommand:
    """The command that a guest was started for, if any: the guest ends with it."""

    def __init__(
        self,
        argv: tuple[str, ...],
        surroundings: Surroundings,
        on_output: Callable[[bytes], None],
        end: Callable[[], None],
    ) -> None:
        self._argv = argv
        self._surroundings = surroundings
        self._on_output = on_output
        self._end = end
        self.ending: Ending | None = None
        self.number: int | None = None  # the hub's, while it runs

    def begin(self, hub: AgentHub) -> None:
        """Each time when the guest has booted."""
        if not self._argv:
            return
        try:
            command = joined(Exec(argv=self._argv, env={}), self._surroundings)
            self.number = hub.run(command, self._heard)
        except TooLong:
            self._heard(Tell.FAILED, struct.pack("<I", errno.E2BIG) + b"Argument list too long")

    def rejoin(self, number: int) -> Listening:
        """It runs already, in a guest that was restored, under that number: for `AgentHub.sync`."""
        self.number = number
        return self._heard

    def _heard(self, kind: Tell, payload: bytes) -> None:
        match kind:
            case Tell.STDOUT | Tell.STDERR:
                self._on_output(payload)
                return
            case Tell.EXIT:
                signalled, value = struct.unpack("<BI", payload)
                self.ending = Ending(128 + value if signalled else value)
            case Tell.FAILED:
                (number,) = struct.unpack_from("<I", payload)
                if number == errno.ECONNRESET:
                    # It ran, and its guest is about to end: that end is its own. If it is not,
                    # there is nothing left for it to run.
                    self.number = None
                    self._end()
                    return
                status = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE
                reason = payload[4:].decode(errors="replace")
                sentence = f"cannot run {self._argv[0]!r} in the guest: {reason}"
                self.ending = Ending(status, sentence)
            case _:
                return
        self.number = None
        self._end()


class ConsoleShell:
    """A login shell on the guest's console, from when the first person sits down until it ends."""

    def __init__(self, hub: AgentHub) -> None:
        self._hub = hub
        self._on_end: Callable[[], None] = lambda: None
        self.number: int | None = None  # the hub's, while it runs

    def when_ended(self, call: Callable[[], None]) -> None:
        self._on_end = call

    def begin(self, *, wanted: bool) -> None:
        """The guest has booted, and whatever ran before has ended."""
        self.number = None
        if wanted:
            self.wanted()

    def wanted(self) -> None:
        if self.number is None and self._hub.ready:
            self.number = self._hub.open_console(_DEVICE, self._heard)

    def rejoin(self, number: int) -> Listening:
        """As `ResidentCommand.rejoin`."""
        self.number = number
        return self._heard

    def _heard(self, kind: Tell, payload: bytes) -> None:
        if kind in (Tell.EXIT, Tell.FAILED):
            self.number = None
            self._on_end()
