"""A guest that runs measures on request, over its serial console."""

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_READY: Final = b"READY"
_DONE: Final = b"DONE"
_BOOT_SECONDS: Final = 180.0
_RUN_SECONDS: Final = 180.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class GuestLost(Exception):
    """The guest ended, or said nothing for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a line printed, how long it took, and how much of a processor it had meanwhile.

    `processor` and `seconds` are of the guest's whole process, so with two vCPUs the one may be
    twice the other.
    """

    output: str
    seconds: float
    processor: float

    @property
    def share(self) -> float:
        return min(1.0, self.processor / self.seconds)


class GuestConsole:
    """Boots `command`, whose standard input and output are the guest's console."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._seen = b""
        try:
            self._until(_READY, _BOOT_SECONDS)
        except GuestLost:
            self.close()
            raise

    def run(self, line: str) -> Run:
        """
        Raises:
            GuestLost: when no answer came.
        """
        assert self._process.stdin is not None
        began, processor = time.monotonic(), self._processor()
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise GuestLost("the guest has ended") from error
        output = self._until(_DONE, _RUN_SECONDS)
        seconds = time.monotonic() - began
        return Run(output=output, seconds=seconds, processor=self._processor() - processor)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _until(self, mark: bytes, seconds: float) -> str:
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while mark not in self._seen:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise GuestLost(f"the guest said nothing for {seconds:g} s: {self._last_words()}")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise GuestLost(f"the guest ended: {self._last_words()}")
            self._seen += piece
        output, _, self._seen = self._seen.partition(mark)
        return output.decode(errors="replace")

    def _last_words(self) -> str:
        return self._seen[-400:].decode(errors="replace")

    def _processor(self) -> float:
        """Processor seconds so far: of what runs now, to the nanosecond; of children that ended, in
        ticks.
        """
        try:
            return sum(_seconds(pid) for pid in _family(self._process.pid))
        except OSError as error:
            raise GuestLost("the guest has ended") from error


def _family(pid: int) -> list[int]:
    """A process and its descendants: `inn` attends to a guest that is a process of its own."""
    lists = (Path("/proc") / str(pid) / "task").glob("*/children")
    children = [int(child) for each in lists for child in each.read_text().split()]
    return [pid, *(one for child in children for one in _family(child))]


def _seconds(pid: int) -> float:
    proc = Path("/proc") / str(pid)
    threads = [
        int((task / "schedstat").read_text().split()[0]) for task in (proc / "task").iterdir()
    ]
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return sum(threads) / 1e9 + (int(fields[13]) + int(fields[14])) / _TICKS
