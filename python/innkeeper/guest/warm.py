"""How a guest of an image that somebody attends to comes to be ready: as another of its kind was
once it had booted (innkeeper.images.warm), or by booting, which leaves such a start for the next.
"""

import contextlib
import os
import select
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from innkeeper.errors import HostFailure
from innkeeper.guest.agent import Agent
from innkeeper.guest.errands import ErrandFailed, Identity
from innkeeper.guest.recorder import VERSION
from innkeeper.images.store import Image, Store
from innkeeper.images.warm import Found, KeptStart, Making, WarmStarts, wanted
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.warm import DONE, TAKEN, RecordFiles, WarmStart

# Seconds that a guest which booted is waited for until it is recorded, and for the memory to be
# written once it is of no more use.
_PATIENCE: Final = 10.0


class Recorded(Protocol):
    """A machine that may be recorded."""

    def record(self, files: RecordFiles) -> None: ...


class Start:
    """Around a machine, from before it is made until its guest is of no more use.

    `warm` is for who makes it.
    """

    def __init__(self, image: Image | None, spec: MachineSpec, hostname: str = "") -> None:
        """Without `image`, the guest boots and leaves nothing."""
        self._like = None if image is None else wanted(image, spec, hostname)
        self._starts = WarmStarts(Store())
        self._found: Found | None = None
        self._making: Making | None = None
        self._told: int | None = None
        self._is_of_use = False
        self._console = ""
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self._like is not None:
            self._found = self._left.enter_context(self._starts.found(self._like))
            if self._found is None:
                self._making = self._starts.making(self._like)
        return self

    @property
    def warm(self) -> WarmStart | None:
        return None if self._found is None else self._found.start

    @property
    def layers(self) -> tuple[Path, ...]:
        """What lies over its image's disk, once it is ready."""
        return self._found.start.layers if self._found is not None and self._is_of_use else ()

    @property
    def is_kept(self) -> bool:
        """Whether the guest leaves a start."""
        return self._making is not None

    @property
    def console(self) -> str:
        """What the guest's kernel had printed before."""
        return "" if self._found is None else self._found.console

    def ready(
        self, agent: Agent, machine: Recorded, log: BootLog, timeout: float | None = None
    ) -> None:
        """Until the guest's agent can be asked for things; nobody asked it for any before.

        Raises:
            GuestNotRunning, HostFailure: when there will be no such time.
            TimeoutError: after `timeout` seconds.
        """
        if self._found is not None:
            assert self._like is not None
            try:
                awake = agent.awaken(identity(self._found.kept, self._like), timeout)
            except ErrandFailed as error:
                raise HostFailure(f"{error}; inn run --cold boots it") from error
            self._is_of_use = awake
        else:
            agent.wait_ready(timeout)
            if self._making is not None:
                self._record(self._making, machine, log)

    def _record(self, making: Making, machine: Recorded, log: BootLog) -> None:
        """The guest has been recorded when this returns, and its memory is being written."""
        told, theirs = os.pipe()
        self._told = told
        self._console = log.text
        with contextlib.suppress(OSError):
            try:
                files = making.create(theirs)
            except OSError:
                os.close(theirs)
                raise
            try:
                machine.record(files)
            finally:
                for fd in files.all():
                    os.close(fd)
            if self._hears(TAKEN):
                making.keep_code()
                return
        self._forget()

    def _hears(self, word: bytes) -> bool:
        assert self._told is not None
        if not select.select([self._told], [], [], _PATIENCE)[0]:
            return False
        return os.read(self._told, 1) == word

    def _forget(self) -> None:
        if self._told is not None:
            os.close(self._told)
            self._told = None

    def finish(self) -> None:
        """The guest is of no more use, and still runs: else what is being written would not be."""
        making, self._making = self._making, None
        if making is None:
            return
        try:
            with contextlib.suppress(OSError):
                if self._told is not None and self._hears(DONE):
                    making.keep(self._about(), self._console)
        finally:
            self._forget()
            making.close()

    def _about(self) -> dict[str, Any]:
        """For one that stays: see innkeeper.guest.recorder."""
        assert self._like is not None
        return {
            "version": VERSION,
            "name": self._like.key,
            "layers": 1,
            "memory": self._like.memory,
            "vcpus": self._like.vcpus,
            "engine": self._like.engine,
            "ready": True,
            "begins": True,
            "command": None,
            "shell": None,
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish()
        found, self._found = self._found, None
        self._left.close()
        if found is not None and not self._is_of_use:
            # Whatever it was, it is not to happen to the next as well.
            self._starts.remove(found.kept.key)


def identity(was: KeptStart, now: KeptStart) -> Identity:
    """What makes a guest of one that was another."""
    return Identity.fresh(now.hostname, cards=cards(was, now))


def cards(was: KeptStart, now: KeptStart) -> list[tuple[bytes, bytes]]:
    if was.mac == now.mac:
        return []
    old, new = (bytes.fromhex(mac.replace(":", "")) for mac in (was.mac, now.mac))
    return [(old, new)]
