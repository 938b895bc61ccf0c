"""The one loop of a guest's process: sockets, signals and news from the machine's thread.

One thread and no locks. asyncio would do it too, and cost as much to load as all the rest.
"""

import contextlib
import heapq
import itertools
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT


class Loop:
    """`run` calls what is registered here, in the thread that made this."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], object]] = {}
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._posted: deque[Callable[[], None]] = deque()
        self._on_signal: dict[int, Callable[[], None]] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._running = True
        self.watch(self._wake_read, READ, self._woken)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def watch(self, fd: int, events: int, call: Callable[[int], object]) -> None:
        """`call` is given the events that came; hang-ups and errors always come."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = call

    def forget(self, fd: int) -> None:
        """Before `fd` is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def post(self, call: Callable[[], None]) -> None:
        """From any thread: `call` is called by the loop."""
        self._posted.append(call)
        # Where the pipe is full, it will wake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._numbers), call))

    def on_signal(self, number: int, call: Callable[[], None]) -> None:
        self._on_signal[number] = call
        # Python's own handler has nothing to do: the number arrives through the pipe.
        signal.signal(number, lambda _number, _frame: None)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            for fd, events in self._epoll.poll(self._patience()):
                # One of the calls before may have forgotten it.
                if (call := self._watched.get(fd)) is not None:
                    call(events)
            while self._alarms and self._alarms[0][0] <= time.monotonic():
                heapq.heappop(self._alarms)[2]()
            while self._posted:
                self._posted.popleft()()

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _patience(self) -> float | None:
        if not self._running or self._posted:
            return 0
        return max(0.0, self._alarms[0][0] - time.monotonic()) if self._alarms else None

    def _woken(self, _events: int) -> None:
        for number in os.read(self._wake_read, 4096):
            if number in self._on_signal:
                self._on_signal[number]()
