"""A conversation with a guest's qemu-guest-agent, in the loop of the guest's process.

The agent answers one question after the other, so one is asked at a time. What takes several is a
generator, which yields a question and goes on with its answer:

    def steps(self) -> Steps:
        count = integer((yield Call("guest-fsfreeze-freeze")))

Nobody tells when an agent begins to listen: it is greeted now and then until it answers.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from innkeeper.guest.qga.wire import Answers, Nonsense, data, integer, request, sync
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Stream

PORT: Final = "org.qemu.guest_agent.0"
PATIENCE: Final = 30.0  # seconds for an answer
# Seconds between two greetings: of a guest that boots, and of one that may have no agent.
_SOON: Final = 1.0
_SELDOM: Final = 10.0
# Bytes on the way into the guest.
_LIMIT: Final = 1 << 20
# An answer's sentence may be of any length.
_SENTENCE: Final = 500


@dataclass(frozen=True, slots=True)
class Call:
    """A question. Those that an agent answers in a frozen guest are `quiet`."""

    command: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    patience: float = PATIENCE
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Steps = Generator[Call | Pause, Any, None]


class Refused(Exception):
    """The agent could not do it; the text is its own."""


class Lost(Exception):
    """The agent does not answer any more."""


class Channel:
    """`on_ready` is called each time when the agent has answered a greeting, `on_lost` when one
    that had does not answer any more.
    """

    def __init__(
        self, loop: Loop, on_ready: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._stream: Stream | None = None
        self._answers = Answers()
        self._round = 0  # of greetings, and of all that was asked since
        self._greeting: int | None = None
        self._asked: tuple[Call, Steps, int] | None = None
        self._count = 0
        self._waiting: deque[tuple[Call, Steps]] = deque()
        self._pausing: set[Steps] = set()
        self.ready = False
        self.frozen = False

    def connect(self) -> socket.socket:
        """The end for a machine."""
        self.disconnect()
        ours, theirs = socket.socketpair()
        self._stream = Stream(self._loop, ours, self._heard, self._gone, limit=_LIMIT)
        self.greet()
        return theirs

    def disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def greet(self) -> None:
        """Begins anew, with an agent that may have been in the middle of something."""
        self._lose()
        self._round += 1
        self._greet(self._round, _SOON)

    def begin(self, steps: Steps) -> None:
        """Goes through `steps`, which handle `Refused`, `Lost` and `Nonsense` themselves."""
        self._resume(steps, lambda: next(steps))
        self._ask()

    def _greet(self, number: int, pause: float) -> None:
        stream = self._stream
        if number != self._round or self.ready or stream is None:
            return
        # Nobody may ever read what is sent.
        if stream.waiting == 0:
            self._greeting = int.from_bytes(os.urandom(4), "little") >> 1
            stream.send(sync(self._greeting))
        longer = min(pause * 1.5, _SELDOM)
        self._loop.after(pause, lambda: self._greet(number, longer))

    # Questions.

    def _resume(self, steps: Steps, go: Callable[[], Call | Pause]) -> None:
        try:
            wanted = go()
        except StopIteration:
            return
        if isinstance(wanted, Pause):
            self._pausing.add(steps)
            self._loop.after(wanted.seconds, lambda: self._wake(steps))
        elif self.ready:
            self._waiting.append((wanted, steps))
        else:
            self._resume(steps, lambda: steps.throw(Lost()))

    def _wake(self, steps: Steps) -> None:
        # Not one that was told meanwhile that there is no agent any more.
        if steps in self._pausing:
            self._pausing.discard(steps)
            self._resume(steps, lambda: next(steps))
            self._ask()

    def _ask(self) -> None:
        if self._asked is not None or self._stream is None:
            return
        for index, (call, steps) in enumerate(self._waiting):
            if call.quiet or not self.frozen:
                del self._waiting[index]
                self._send(self._stream, call, steps)
                return

    def _send(self, stream: Stream, call: Call, steps: Steps) -> None:
        self._count += 1
        number = self._count
        self._asked = call, steps, number
        self._loop.after(call.patience, lambda: self._give_up(number))
        stream.send(request(call.command, call.arguments))

    def _give_up(self, number: int) -> None:
        if self._asked is not None and self._asked[2] == number:
            self.greet()

    # Answers.

    def _heard(self, data: bytes) -> None:
        try:
            for answer in self._answers.push(data):
                self._take(answer)
        except Nonsense:
            self.greet()

    def _take(self, answer: Mapping[str, object]) -> None:
        if not self.ready:
            if self._greeting is not None and answer.get("return") == self._greeting:
                self._greeting = None
                self.ready = True
                self._on_ready()
            return
        if self._asked is None:
            return
        _, steps, _ = self._asked
        self._asked = None
        if "return" in answer:
            self._resume(steps, lambda: steps.send(answer["return"]))
        else:
            self._resume(steps, lambda: steps.throw(Refused(_sentence(answer))))
        self._ask()

    def _gone(self) -> None:
        self._stream = None
        self._lose()

    def _lose(self) -> None:
        was_ready, self.ready = self.ready, False
        self.frozen = False
        self._greeting = None
        self._answers = Answers()
        asked, self._asked = self._asked, None
        left = [steps for _, steps in self._waiting] + list(self._pausing)
        if asked is not None:
            left.insert(0, asked[1])
        self._waiting.clear()
        self._pausing.clear()
        for steps in left:
            self._throw_lost(steps)
        if was_ready:
            self._on_lost()

    def _throw_lost(self, steps: Steps) -> None:
        self._resume(steps, lambda: steps.throw(Lost()))


def run(path: str, *arguments: str, most: int = 4096) -> Generator[Call | Pause, Any, bytes]:
    """Runs a short program of the guest; what it printed.

    Raises:
        Refused: when it could not be run, or ended with another status than 0.
        Lost, Nonsense.
    """
    asked = {"path": path, "arg": list(arguments), "capture-output": True}
    pid = integer((yield Call("guest-exec", asked)), "pid")
    pause = 0.01
    while True:
        status = yield Call("guest-exec-status", {"pid": pid})
        if ended(status):
            break
        yield Pause(pause)
        pause = min(pause * 2, 0.5)
    if status.get("exitcode") != 0:
        said = data(status, "err-data", LONGEST_WORDS).decode(errors="replace").strip()
        raise Refused(printable(said.splitlines()[0] if said else f"{path} failed"))
    return data(status, "out-data", most)


# Bytes of a program's last words.
LONGEST_WORDS: Final = 256 * 1024


def ended(status: object) -> bool:
    """
    Raises:
        Nonsense: when it is no status of a program.
    """
    if not isinstance(status, dict):
        raise Nonsense("no status of a program")
    return status.get("exited") is True


def printable(words: str) -> str:
    return "".join(each for each in words[:_SENTENCE] if each.isprintable())


def _sentence(answer: Mapping[str, object]) -> str:
    error = answer.get("error")
    told = error.get("desc") if isinstance(error, dict) else None
    return printable(told) if isinstance(told, str) and told else "no reason given"
