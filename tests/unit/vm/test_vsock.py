"""Who connects whom a guest calls: to sockets of its names, and to nothing else."""

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.vm.vsock import Switchboard, listen, remove


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Switchboard]:
    made = Switchboard(str(tmp_path / "vsock"))
    yield made
    made.close()


def ask(board: Switchboard, port: int) -> tuple[int, int, list[int]]:
    """Number, error and descriptors of the answer."""
    board.theirs.send(struct.pack("=II", 7, port))
    assert board.answer_all(8)
    data, fds, _, _ = socket.recv_fds(board.theirs, 64, 4)
    return *struct.unpack("=Ii", data), fds


def test_a_port_that_somebody_listens_at_is_handed_over(board: Switchboard, tmp_path: Path) -> None:
    with listen(str(tmp_path / "vsock_52")) as listener:
        number, error, (fd,) = ask(board, 52)
        assert (number, error) == (7, 0)
        accepted, _ = listener.accept()
        with accepted, socket.socket(fileno=fd) as connected:
            connected.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_what_is_no_socket_of_its_name_is_refused(board: Switchboard, tmp_path: Path) -> None:
    with listen(str(tmp_path / "elsewhere")):
        (tmp_path / "vsock_1").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "vsock_2").write_text("a file")
        (tmp_path / "vsock_3").mkdir()
        assert ask(board, 0) == (7, errno.ENOENT, [])
        for port in (1, 2, 3):
            assert ask(board, port) == (7, errno.ECONNREFUSED, []), port
    (tmp_path / "vsock_4").hardlink_to(tmp_path / "elsewhere")
    assert ask(board, 4) == (7, errno.ECONNREFUSED, [])


def test_a_flood_of_questions_is_answered_in_portions(board: Switchboard) -> None:
    for port in range(10):
        board.theirs.send(struct.pack("=II", port, port))
    assert not board.answer_all(4)
    assert not board.answer_all(6)
    assert board.answer_all(4)
    board.theirs.send(b"nonsense that is too long")
    assert board.answer_all(4)


def test_who_does_not_take_answers_holds_nobody_up(board: Switchboard) -> None:
    for port in range(5000):
        board.theirs.send(struct.pack("=II", port, port))
        assert board.answer_all(2)


def test_a_thread_answers_until_the_guest_is_gone(tmp_path: Path) -> None:
    board = Switchboard(str(tmp_path / "vsock"))
    board.serve()
    board.theirs.send(struct.pack("=II", 1, 1))
    assert struct.unpack("=Ii", board.theirs.recv(64)) == (1, errno.ENOENT)
    board.theirs.close()


def test_a_name_is_taken_over_from_the_dead_alone(tmp_path: Path) -> None:
    path = tmp_path / "vsock"
    listen(str(path)).close()
    with listen(str(path)):
        assert path.stat().st_mode & 0o777 == 0o700
        with pytest.raises(OSError, match="in use"):
            listen(str(path))
    remove(str(path))
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        listen(str(path))
    remove(str(path))
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
