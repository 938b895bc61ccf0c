"""The clipboard between a guest's agent and those who sit at its screen.

What they copy goes to the agent at once. What is copied in the guest is found by asking, while
somebody looks: so nothing waits in the guest for ever, across saves and moves.
"""

import errno
import struct
from collections.abc import Callable
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
        # An agent that knows of no clipboard is not asked again.
        self._can = True
        self._told: str | None = None
        shared.join(self, self._copied)

    def begin(self) -> None:
        """An agent answers, which may be another one."""
        self._can, self._known, self._told = True, 0, None
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
        if self._can and self._hub.ready:
            self._hub.errand(errands.clipboard(self._known), self._heard)
        self._loop.after(_INTERVAL, self._ask)

    def _heard(self, answer: bytes | ErrandFailed) -> None:
        if self._failed(answer) or isinstance(answer, ErrandFailed):
            return
        try:
            self._known, text = errands.copied(answer)
        except struct.error:
            # No agent of ours says that.
            self._can = False
            return
        # What it was told by us is nobody's news.
        if text is not None and text != self._told:
            self._told = None
            self._shared.copy(self, text)

    def _copied(self) -> None:
        if not self._can or not self._hub.ready:
            return
        try:
            errand = errands.set_clipboard(self._shared.text)
        except InvalidInput:
            return
        self._told = self._shared.text
        self._hub.errand(errand, self._taken)

    def _taken(self, answer: bytes | ErrandFailed) -> None:
        self._failed(answer)

    def _failed(self, answer: bytes | ErrandFailed) -> bool:
        failed = isinstance(answer, ErrandFailed) and answer.errno == errno.ENOSYS
        self._can = self._can and not failed
        return failed
