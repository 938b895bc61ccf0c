"""What a guest's process says is read with patience and distrust: it may be the guest's by then."""

import itertools
import json
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.vm.test_statistics import told as statistics

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError, InvalidInput
from innkeeper.machine import MachineSpec
from innkeeper.machine.spec import DiskSpec
from innkeeper.vm import answers, changes, child, process
from innkeeper.vm.changes import Change, Changes, ListPlugged, PlugDisk
from innkeeper.vm.ending import EndKind
from innkeeper.vm.process import GuestProcess
from innkeeper.vm.wiring import Wiring

Saying = Callable[[socket.socket], None]


class Ended:
    """In place of a process that is waited for."""

    def wait(self, timeout: float | None = None) -> int:
        return 7


@contextmanager
def running(saying: Saying, monkeypatch: pytest.MonkeyPatch) -> Iterator[GuestProcess]:
    """A guest whose process is a thread that says what a test wants, once it has the order."""
    ends: list[socket.socket] = []

    def start(_: list[str], *, pass_fds: tuple[int, ...], **__: object) -> Ended:
        ends.append(socket.socket(fileno=os.dup(pass_fds[0])))
        return Ended()

    monkeypatch.setattr(process.subprocess, "Popen", start)
    found = GuestProcess(MachineSpec(memory=1 << 26), Wiring())
    (theirs,) = ends
    child._inherited(theirs)
    child.receive(theirs, len(child.GO))

    def be() -> None:
        with theirs:
            saying(theirs)

    thread = threading.Thread(target=be)
    thread.start()
    try:
        yield found
    finally:
        found.close()
        thread.join()


def answering(words: bytes, *, ends: bool = True) -> Saying:
    """To the first that is asked."""

    def say(owner: socket.socket) -> None:
        _, (told, *_), _, _ = socket.recv_fds(owner, 1, 2)
        os.write(told, words)
        if ends:
            os.close(told)
        while owner.recv(1 << 16):
            pass
        if not ends:
            os.close(told)

    return say


NONSENSE = (b"{", b"\xff", b"[" * 60_000, b"7", b'"text"')


@pytest.mark.parametrize("words", NONSENSE)
def test_answers_that_make_no_sense(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        running(answering(words), monkeypatch) as guest,
        pytest.raises(HostFailure, match="nonsense"),
    ):
        guest.change(ListPlugged())
    with (
        running(answering(words), monkeypatch) as guest,
        pytest.raises(HostFailure, match="nonsense"),
    ):
        guest.statistics()


MEMBERS = ("engine", "vcpus", "instructions", "exits", "handlers", "seconds")
NONE = (None, [7], {"a": []})


@pytest.mark.parametrize(
    ("member", "value"),
    # No float is that large.
    [*itertools.product(MEMBERS, NONE), ("seconds", {"a": 10**400})],
)
def test_statistics_that_are_none(
    member: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = cast("dict[str, Any]", json.loads(json.dumps(statistics().as_dict())))
    (told if member in told else told["vcpus"][1])[member] = value
    with (
        running(answering(json.dumps(told).encode()), monkeypatch) as guest,
        pytest.raises(HostFailure, match="nonsense"),
    ):
        guest.statistics()


def test_what_makes_sense_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.dumps(statistics().as_dict()).encode()
    with running(answering(told), monkeypatch) as guest:
        assert guest.statistics() == statistics()
    with running(answering(b""), monkeypatch) as guest:
        assert guest.statistics() is None
    with running(answering(b""), monkeypatch) as guest, pytest.raises(GuestNotRunning):
        guest.change(ListPlugged())
    refused = b'{"error": "invalid_input", "message": "no"}'
    with (
        running(answering(refused), monkeypatch) as guest,
        pytest.raises(InvalidInput, match="no"),
    ):
        guest.change(ListPlugged())


@pytest.mark.parametrize("code", ["command_failed", "thawed_too_soon", "none of ours"])
def test_an_error_that_is_no_machines_is_one_all_the_same(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = json.dumps({"error": code, "message": "no"}).encode()
    with running(answering(words), monkeypatch) as guest, pytest.raises(InnkeeperError):
        guest.change(ListPlugged())


def test_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PATIENCE", 0.2)
    with (
        running(answering(b"{", ends=False), monkeypatch) as guest,
        pytest.raises(HostFailure, match="does not answer"),
    ):
        guest.change(ListPlugged())


def test_who_answers_without_end_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST", 1 << 20)
    said: list[int] = []

    def say(owner: socket.socket) -> None:
        _, (told,), _, _ = socket.recv_fds(owner, 1, 1)
        try:
            while True:
                said.append(os.write(told, b" " * 4096))
        except BrokenPipeError:
            os.close(told)

    with running(say, monkeypatch) as guest, pytest.raises(HostFailure, match="nonsense"):
        guest.statistics()
    assert sum(said) < 4 << 20


def test_the_end_is_told_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def say(owner: socket.socket) -> None:
        owner.sendall(b'{"made": true}\n{"kind": "pow')
        go.wait()
        owner.sendall(b'er-off", "code": 3}\n')

    with running(say, monkeypatch) as guest:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                guest.wait(0.05)
        go.set()
        assert guest.wait() == (EndKind.POWER_OFF, 3, None)
        assert guest.wait(0) == (EndKind.POWER_OFF, 3, None)


@pytest.mark.parametrize(
    "words", [b"{}\n", b'{"kind": "bliss"}\n', b"[]\n", b'{"made": 1}\n' * 2, b" " * (2 << 20)]
)
def test_an_end_that_makes_no_sense(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LONGEST", 1 << 20)

    def say(owner: socket.socket) -> None:
        try:
            owner.sendall(words)
        except OSError:
            assert len(words) > answers.LONGEST

    with running(say, monkeypatch) as guest, pytest.raises(HostFailure, match="nonsense"):
        guest.wait(60)


def test_one_that_dies_in_the_middle_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def say(owner: socket.socket) -> None:
        # What it has not read makes the other end hear of a reset connection.
        stopped.wait()

    with running(say, monkeypatch) as guest:
        guest.stop()
        stopped.set()
        with pytest.raises(HostFailure, match="ended unexpectedly"):
            guest.wait(60)


class FakeMachine:
    control = cast("Any", None)


class FakePlugs:
    """As far as a disk of many files is plugged in."""

    def __init__(self, _: object) -> None:
        self.fails = False

    def add_disk(self, disk: DiskSpec, number: int, files: Any, *, known: bool) -> int:  # noqa: ANN401
        if disk.id == "flawed":
            raise ZeroDivisionError
        for path, fd in files:
            assert os.fstat(fd).st_ino == path.stat().st_ino
        return len(files)

    def here(self) -> list[object]:
        return []


@contextmanager
def changing(monkeypatch: pytest.MonkeyPatch) -> Iterator[GuestProcess]:
    """A guest whose process makes changes as it would."""
    monkeypatch.setattr(changes, "Plugs", FakePlugs)

    def say(owner: socket.socket) -> None:
        ours = Changes(FakeMachine.control, MachineSpec(memory=1 << 26), locked_in=True)
        with pytest.raises(SystemExit):
            child._obey(cast("Any", FakeMachine), owner, cast("Any", None), ours)

    def leave(_: int) -> None:
        raise SystemExit

    monkeypatch.setattr(child.os, "_exit", leave)
    with running(say, monkeypatch) as guest:
        yield guest


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 300])
def test_a_disk_may_have_many_files(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tuple(tmp_path / f"part{number}" for number in range(count))
    for path in paths:
        path.touch()
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    before = len(list(Path("/proc/self/fd").iterdir()))
    try:
        with changing(monkeypatch) as guest:
            disk = DiskSpec(path=paths[0], id="parts")
            assert guest.change(PlugDisk(disk, paths), fds) == count
            # Whatever goes wrong there, it is told, and more can be asked.
            flawed = PlugDisk(DiskSpec(path=paths[0], id="flawed"), paths)
            with pytest.raises(HostFailure, match="ZeroDivisionError"):
                guest.change(flawed, fds)
            assert guest.change(PlugDisk(disk, paths[:1]), fds[:1]) == 1
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("left", [1, 40])
def test_files_of_a_change_that_was_not_sent_are_nobodys(
    left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = GuestProcess._send

    def sticking(self: GuestProcess, request: bytes, files: Sequence[int]) -> None:
        if request == child.CHANGE:
            raise BlockingIOError
        send(self, request, files)

    lost, image = tmp_path / "lost", tmp_path / "image"
    disk = PlugDisk(DiskSpec(path=image, id="image"), (image,))
    unsent = PlugDisk(DiskSpec(path=lost, id="lost"), (lost,) * left)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with lost.open("w") as other, image.open("w") as own, changing(monkeypatch) as guest:
        for then in (disk, ListPlugged()):
            with monkeypatch.context() as stuck:
                stuck.setattr(GuestProcess, "_send", sticking)
                with pytest.raises(HostFailure, match="does not answer"):
                    guest.change(unsent, [other.fileno()] * left)
            found = guest.change(then, [own.fileno()] if then is disk else [])
            assert found == (1 if then is disk else [])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_many_may_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Change] = []

    def say(owner: socket.socket) -> None:
        while True:
            request, fds, _, _ = socket.recv_fds(owner, 1, 1)
            if not request:
                return
            (length,) = child.LENGTH.unpack(owner.recv(4, socket.MSG_WAITALL))
            heard.append(pickle.loads(owner.recv(length, socket.MSG_WAITALL)))
            os.write(fds[0], b'{"return": 1}')
            os.close(fds[0])
            time.sleep(0)

    large = PlugDisk(DiskSpec(path=Path("/x")), (Path("/" + "y" * 300_000),))
    with running(say, monkeypatch) as guest:
        asking = [
            threading.Thread(target=lambda: [guest.change(large) for _ in range(10)])
            for _ in range(4)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
    assert heard == [large] * 40
