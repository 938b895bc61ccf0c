"""Repositories without guests, and what a full or dying host does to those who write to them."""

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from innkeeper.machine import MachineSpec
from innkeeper.services.backups import content, keys, repository, writing
from innkeeper.services.backups.manifest import Backup, Consistency
from innkeeper.services.backups.repository import Repository
from innkeeper.services.definition import Definition
from innkeeper.services.request import GuestRequest
from innkeeper.vm.order import Order

PASSPHRASE = "a passphrase"
_TOUCHES_DISK = ("open", "write", "fsync", "rename", "unlink", "mkdir")


def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess of the passphrase costs next to nothing."""
    monkeypatch.setattr(keys, "_COST", {"n": 2, "r": 8, "p": 1})


def make(path: Path) -> Path:
    repository.initialise(path, PASSPHRASE)
    return path


@contextmanager
def opened(path: Path, *, alone: bool = False) -> Iterator[Repository]:
    with repository.opened(path, PASSPHRASE, alone=alone) as found:
        yield found


def back_up(path: Path, data: bytes, *, guest: str = "web", created: float = 1.0) -> str:
    """A backup of one file; its name."""
    identity = str(uuid.uuid4())
    with opened(path) as found, tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        stored = content.store(found, file.fileno(), "disk0.0.raw", lambda _: None)
        found.flush()
        made = Backup(
            id=uuid.uuid4().hex,
            name=f"{guest}-{created:g}",
            guest=guest,
            created=created,
            consistency=Consistency.OFF,
            definition=Definition(id=identity, created=0.0, request=GuestRequest(name=guest)),
            order=Order(id=identity, spec=MachineSpec(), restart="no", image=False),
            written=found.written,
            files=(stored,),
        )
        found.add(made)
        return made.name


def content_of(path: Path, name: str) -> bytes:
    with opened(path) as found, tempfile.TemporaryFile() as file:
        content.load(found, found.find_exactly(name).files[0], file.fileno(), lambda _: None)
        file.seek(0)
        return file.read()


class Killed(BaseException):
    """The process is gone: nothing that it does is done any more."""


class Fate:
    """`os` as `writing` sees it, whose `at`th call that touches the disk fails: by `number`, an
    errno, or by the end of the process.
    """

    def __init__(self, at: int, number: int | None) -> None:
        self.at = at
        self.number = number
        self.count = 0
        self.dead = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever os has
        found = getattr(os, name)
        return self._watched(name, found) if name in _TOUCHES_DISK else found

    def _watched(self, name: str, found: Any) -> Any:  # noqa: ANN401
        def call(*words: Any, **options: Any) -> Any:  # noqa: ANN401
            if self.dead:
                raise Killed
            self.count += 1
            if self.count == self.at:
                if name == "write":
                    # What was on its way may have come half of its way.
                    os.write(words[0], words[1][: len(words[1]) // 2])
                if self.number is None:
                    self.dead = True
                    raise Killed
                raise OSError(self.number, os.strerror(self.number))
            return found(*words, **options)

        return call


FATES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "kill": None}


@contextmanager
def fate(monkeypatch: pytest.MonkeyPatch, at: int, number: int | None) -> Iterator[Fate]:
    with monkeypatch.context() as patched:
        found = Fate(at, number)
        patched.setattr(writing, "os", found)
        yield found
