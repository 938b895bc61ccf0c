"""The clipboard between a guest's agent and those who sit at its screen.

What they copy goes to the agent at once. What is copied in the guest is found by asking, while
somebody looks: so nothing waits in the guest for ever, across saves and moves.

An agent answers when it likes, and not at all while its guest stands still. So there is one errand
each way at a time: the next text that it is told is the newest one.
"""

import errno
from collections.abc import Callable
from functools import partial
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.guest import errands
from innkeeper.guest.errands import ErrandFailed
from innkeeper.guest.hub import AgentHub
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.display.clipboard import Clipboard

# Seconds between two questions.
_INTERVAL: Final = 1.0


class GuestClipboard:
    """`looks` tells whether anybody sits at the screen."""

    def __init__(
        self, loop: Loop, hub: AgentHub, shared: Clipboard, looks: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._hub = hub
        self._shared = shared
        self._looks = looks
        self._known = 0
        self._asking = False
        # Of which agent an answer is; whether a question and a text are on their way to it, and
        # whether there is a newer text by now.
        self._agent = 0
        self._asked = self._telling = self._newer = False
        # How often it was told something.
        self._tellings = 0
        # An agent that knows of no clipboard is not asked again.
        self._can = True
        self._told: str | None = None
        shared.join(self, self._copied)

    def begin(self) -> None:
        """An agent answers, which may be another one."""
        self._can, self._known, self._told = True, 0, None
        # What the one before was asked may never be answered.
        self._agent += 1
        self._asked = self._telling = self._newer = False
        if self._shared.text:
            self._copied()

    def wanted(self) -> None:
        """Somebody has come to look."""
        if not self._asking:
            self._asking = True
            self._ask()

    def _ask(self) -> None:
        if not self._looks():
            self._asking = False
            return
        if self._can and self._hub.ready and not self._asked:
            self._asked = True
            answered = partial(self._heard, self._agent, self._tellings)
            self._hub.errand(errands.clipboard(self._known), answered)
        self._loop.after(_INTERVAL, self._ask)

    def _heard(self, agent: int, tellings: int, answer: bytes | ErrandFailed) -> None:
        if agent != self._agent:
            return
        self._asked = False
        if self._failed(answer) or isinstance(answer, ErrandFailed):
            return
        if tellings != self._tellings:
            # It may be what was there before it was told something: it is asked again.
            return
        try:
            self._known, text = errands.copied(answer)
        except ErrandFailed:
            self._can = False
            return
        # What it was told by us is nobody's news.
        if text is not None and text != self._told:
            self._told = None
            self._shared.copy(self, text)

    def _copied(self) -> None:
        if self._telling:
            self._newer = True
        else:
            self._tell()

    def _tell(self) -> None:
        self._newer = False
        if not self._can or not self._hub.ready:
            return
        try:
            errand = errands.set_clipboard(self._shared.text)
        except InvalidInput:
            return
        self._told = self._shared.text
        self._tellings += 1
        self._telling = True
        self._hub.errand(errand, partial(self._taken, self._agent))

    def _taken(self, agent: int, answer: bytes | ErrandFailed) -> None:
        if agent != self._agent:
            return
        self._telling = False
        self._failed(answer)
        if self._newer:
            self._tell()

    def _failed(self, answer: bytes | ErrandFailed) -> bool:
        failed = isinstance(answer, ErrandFailed) and answer.errno == errno.ENOSYS
        self._can = self._can and not failed
        return failed
