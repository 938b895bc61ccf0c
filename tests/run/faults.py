"""What a full, a broken and a dying host do to those who write to its disk, in this process: the
n-th call that could fails, and so all that come then, or not.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from innkeeper.vm import inside

# What a full or broken disk makes fail.
CALLS = (
    *("open", "mkdir", "fsync", "link", "symlink", "rename", "unlink", "rmdir"),
    *("pwrite", "ftruncate", "pread"),
)


class Killed(BaseException):
    """The process is gone: nothing that it does is done any more."""


@dataclass(frozen=True)
class Fate:
    """`number` is an errno; without, the process is gone."""

    number: int | None
    for_good: bool

    def strike(self) -> None:
        if self.number is None:
            raise Killed
        raise OSError(self.number, os.strerror(self.number))


FATES = {
    "no-room": Fate(errno.ENOSPC, for_good=False),
    "full": Fate(errno.ENOSPC, for_good=True),
    "broken": Fate(errno.EIO, for_good=False),
    "killed": Fate(None, for_good=True),
}


class Faults:
    """What `os` does here from now on."""

    def __init__(self, fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fate = fate
        self._at = 0
        self._seen = 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        monkeypatch.setattr(inside, "exchange", self._failing(inside.exchange))

    def at_every_call(
        self, least: int, work: Callable[[], object], *expected: type[BaseException]
    ) -> Iterator[None]:
        """Has `work` done again and again, each time with the fault one call later, until it is
        done without; yields after each time. It may raise those that are `expected`, no other, and
        makes `least` calls.
        """
        failed, at = True, 0
        while failed:
            at += 1
            self._at, self._seen = at, 0
            try:
                work()
            except (Killed, *expected):
                pass
            finally:
                failed = self._seen >= at
                self._at = 0
            yield
        assert at > least

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it is
            if self._at:
                self._seen += 1
                if self._seen == self._at or (self._fate.for_good and self._seen > self._at):
                    self._fate.strike()
            return real(*arguments, **named)

        return call


def left(directory: Path, *beginnings: str) -> list[str]:
    """What there begins so."""
    found = directory.iterdir() if directory.exists() else ()
    return sorted(it.name for it in found if it.name.startswith(beginnings))
