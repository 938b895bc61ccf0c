"""What changes by itself in a running guest's machine, as events of its control socket."""

import contextlib
import os
from collections.abc import Callable
from typing import Final

from innkeeper.vm.detached.loop import READ, Loop
from innkeeper.vm.qmp.media import PERIPHERAL
from innkeeper.vm.qmp.memory import PLUGGABLE, actual, plugged_in
from innkeeper.vm.qmp.processors import path, present
from innkeeper.vm.qmp.server import Server
from innkeeper.vm.running import RunningMachine

# Seconds between two events of a kind at least: the guest may change its mind without end.
_SELDOM: Final = 1.0


class News:
    """Of one machine, until `close`."""

    def __init__(
        self,
        loop: Loop,
        server: Server,
        machine: RunningMachine,
        on_gone: Callable[[str], None],
        on_full: Callable[[], None],
    ) -> None:
        """`on_gone` hears of each disk and network card that the guest has let go of; `on_full`
        may find the machine paused, since the host has no room for a disk.
        """
        self._loop = loop
        self._server = server
        self._machine = machine
        self._fd = machine.control.news()
        self._resting = False
        self._closed = False
        self._known = 0, 0
        self._processors: list[bool] = []
        self._on_gone = on_gone
        self._on_full = on_full
        self._plugged = self._ids()
        self._trays = self._open_trays()
        self._known = self._look()
        self._processors = present(machine, 0)
        os.set_blocking(self._fd, False)
        loop.watch(self._fd, READ, self._heard)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.forget(self._fd)
            os.close(self._fd)

    def _heard(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        if not self._resting:
            self._resting = True
            self._tell()
            self._loop.after(_SELDOM, self._rested)

    def _rested(self) -> None:
        self._resting = False
        if not self._closed:
            self._tell()

    def _tell(self) -> None:
        self._on_full()
        self._tell_memory()
        self.tell_plugged()
        self.tell_processors()
        self.tell_trays()

    def tell_plugged(self) -> None:
        """Also where something has just come, so that it is known of it when it goes."""
        before, self._plugged = self._plugged, self._ids()
        for name in before:
            if name not in self._plugged:
                self._on_gone(name)
                self._server.event("DEVICE_DELETED", device=name, path=f"{PERIPHERAL}{name}")

    def tell_trays(self) -> None:
        """Also where one was just moved from outside, so that each move is told."""
        before, self._trays = self._trays, self._open_trays()
        for drive, is_open in self._trays.items():
            if before.get(drive) != is_open:
                told = {"device": drive, "id": f"{PERIPHERAL}{drive}", "tray-open": is_open}
                self._server.event("DEVICE_TRAY_MOVED", **told)

    def _open_trays(self) -> dict[str, bool]:
        return {drive: is_open for drive, _, is_open, _ in self._machine.control.media()}

    def _ids(self) -> list[str]:
        return [name for name, _, _ in self._machine.control.plugged()]

    def tell_processors(self) -> None:
        """Also where some have just come, so that it is known of them when they go."""
        before, self._processors = self._processors, present(self._machine, 0)
        for index, (was, there) in enumerate(zip(before, self._processors, strict=False)):
            if was and not there:
                self._server.event("DEVICE_DELETED", device=f"cpu{index}", path=path(index))

    def _tell_memory(self) -> None:
        before, self._known = self._known, self._look()
        (balloon, plugged), (balloon_before, plugged_before) = self._known, before
        if plugged != plugged_before:
            path = f"/machine/peripheral/{PLUGGABLE}"
            told = {"id": PLUGGABLE, "qom-path": path, "size": plugged}
            self._server.event("MEMORY_DEVICE_SIZE_CHANGE", **told)
        if balloon != balloon_before:
            self._server.event("BALLOON_CHANGE", actual=balloon)

    def _look(self) -> tuple[int, int]:
        """What the guest has without the balloon's, and what it has plugged in."""
        memory = self._machine.control.memory_report()
        return self._known if memory is None else (actual(memory), plugged_in(memory))
