"""The client against a guest that we play ourselves, kind or hostile."""

import socket
import threading
from collections.abc import Iterator

import pytest

from innkeeper.errors import CommandNotStarted, GuestNotRunning, InvalidInput
from innkeeper.guest import errands
from innkeeper.guest.agent import Agent, Job
from innkeeper.guest.errands import ErrandFailed, Identity
from innkeeper.guest.frames import OUTPUT_WINDOW, STDIN_BEGIN, STDIN_WINDOW, Exec

HELLO = b"\x12\0\0\0\x40\0\0\0\0\x03\0" + bytes(16)


def told(kind: int, job: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + bytes([kind]) + job.to_bytes(4, "little") + payload


class Play:
    """An agent and the other end of its channel."""

    def __init__(self) -> None:
        ours, self.guest = socket.socketpair()
        self.agent = Agent(ours)
        self.stdout = bytearray()
        self.stderr = bytearray()

    def start(self) -> Job:
        command = Exec(argv=["x"], env={})
        return self.agent.start(command, self.stdout.extend, self.stderr.extend)


@pytest.fixture
def play() -> Iterator[Play]:
    stage = Play()
    yield stage
    stage.agent.close()
    stage.guest.close()


def test_streams_and_status_reach_their_job(play: Play) -> None:
    play.guest.sendall(HELLO)
    play.agent.wait_ready(30)
    job = play.start()
    play.guest.sendall(told(65, 1, b"out") + told(66, 1, b"err") + told(67, 1, b"\0\x07\0\0\0"))
    assert job.wait(30).returncode == 7
    assert (play.stdout, play.stderr) == (b"out", b"err")


def test_a_signal_is_reported_as_a_shell_does(play: Play) -> None:
    job = play.start()
    play.guest.sendall(told(67, 1, b"\x01\x09\0\0\0"))
    assert job.wait(30).returncode == 137


def test_a_command_that_cannot_start_says_why(play: Play) -> None:
    job = play.start()
    play.guest.sendall(told(68, 1, b"\x02\0\0\0No such file"))
    with pytest.raises(CommandNotStarted, match="No such file") as caught:
        job.wait(30)
    assert caught.value.errno == 2


@pytest.mark.parametrize("words", [b"", b"\0" * 20, b"rubbish" * 10, told(67, 1, b"not five")])
def test_a_guest_that_goes_or_talks_nonsense_ends_every_wait(play: Play, words: bytes) -> None:
    job = play.start()
    play.guest.sendall(words)
    play.guest.shutdown(socket.SHUT_WR)
    with pytest.raises(GuestNotRunning):
        job.wait(30)
    with pytest.raises(GuestNotRunning):
        play.agent.wait_ready(30)
    with pytest.raises(GuestNotRunning):
        play.start().wait(30)


def test_frames_for_jobs_that_do_not_exist_are_ignored(play: Play) -> None:
    play.guest.sendall(told(65, 99, b"boo") + told(67, 99, bytes(5)) + HELLO)
    play.agent.wait_ready(30)
    assert play.stdout == b""


def test_input_stops_at_the_window_until_the_guest_has_taken_some(play: Play) -> None:
    job = play.start()
    total = STDIN_BEGIN + 1000
    sender = threading.Thread(target=job.send, args=(bytes(total),), daemon=True)
    sender.start()
    received = 0
    while received < STDIN_BEGIN:
        received += len(play.guest.recv(1 << 20))
    assert sender.is_alive()
    play.guest.sendall(told(69, 1, (1000).to_bytes(4, "little")))
    sender.join(30)
    assert not sender.is_alive()


def test_an_agent_gives_credit_for_a_larger_window_and_for_no_more(play: Play) -> None:
    job = play.start()
    for _ in range(3):
        play.guest.sendall(told(69, 1, (STDIN_WINDOW - STDIN_BEGIN).to_bytes(4, "little")))
    play.guest.sendall(HELLO)
    # By then it has heard of the rest as well.
    play.agent.wait_ready(30)
    sender = threading.Thread(target=job.send, args=(bytes(STDIN_WINDOW + 1),), daemon=True)
    sender.start()
    received = 0
    while received < STDIN_WINDOW:
        received += len(play.guest.recv(1 << 20))
    sender.join(0.1)
    assert sender.is_alive()
    play.guest.sendall(told(69, 1, (1).to_bytes(4, "little")))
    sender.join(30)
    assert not sender.is_alive()


def test_output_is_acknowledged_once_it_was_taken(play: Play) -> None:
    play.start()
    for _ in range(4):
        play.guest.sendall(told(65, 1, bytes(OUTPUT_WINDOW // 4)))
    expected = b"".join(told(8, 1, (OUTPUT_WINDOW // 4).to_bytes(4, "little")) for _ in range(4))
    received = b""
    while not received.endswith(expected):
        received += play.guest.recv(1 << 16)
    assert len(play.stdout) == OUTPUT_WINDOW


def test_input_for_a_command_that_has_ended_is_dropped(play: Play) -> None:
    job = play.start()
    play.guest.sendall(told(67, 1, bytes(5)))
    job.wait(30)
    job.send(bytes(10 * STDIN_WINDOW))


def test_arguments_longer_than_a_frame_are_refused_here(play: Play) -> None:
    job = play.agent.start(Exec(argv=["x" * 100_000], env={}), play.stdout.extend, lambda _: None)
    with pytest.raises(CommandNotStarted, match="too long"):
        job.wait(30)


def test_a_guest_that_does_not_listen_is_cut_off() -> None:
    ours, guest = socket.socketpair()
    agent = Agent(ours, patience=0.01)
    jobs: list[Job] = []
    while not jobs or not jobs[-1].has_ended:
        jobs.append(agent.start(Exec(argv=["x" * 60_000], env={}), bytearray().extend, print))
    with pytest.raises(GuestNotRunning):
        jobs[0].wait(30)
    agent.close()
    guest.close()


def test_an_errand_is_answered_or_refused_or_lost(play: Play) -> None:
    def answer(said: bytes) -> bytes:
        def speak() -> None:
            assert play.guest.recv(9)[4] == 13
            play.guest.sendall(said)

        speaking = threading.Thread(target=speak)
        speaking.start()
        try:
            return play.agent.run_errand(errands.thaw(), 30)
        finally:
            speaking.join()

    assert errands.count(answer(told(70, 1, b"\x02\0\0\0"))) == 2
    with pytest.raises(ErrandFailed, match=r"^cannot thaw .*: it is busy$") as caught:
        answer(told(68, 2, b"\x10\0\0\0it is \x1b\0busy (os error 16)"))
    assert caught.value.errno == 16
    with pytest.raises(TimeoutError):
        play.agent.run_errand(errands.thaw(), 0.01)
    play.guest.recv(9)
    with pytest.raises(GuestNotRunning):
        answer(told(65, 4, b"an errand says nothing"))
    with pytest.raises(GuestNotRunning):
        play.agent.run_errand(errands.thaw(), 30)


def test_an_identity_is_one_that_a_guest_can_have() -> None:
    fresh, other = Identity.fresh("web"), Identity.fresh("web")
    assert (len(fresh.machine_id), len(fresh.entropy)) == (16, 64)
    assert fresh != other
    for wrong in (
        Identity(machine_id=b"short"),
        Identity(cards=[(b"123456", b"12345")]),
        Identity(entropy=bytes(1 << 16)),
    ):
        with pytest.raises(InvalidInput):
            errands.renew(wrong)
    for never in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(InvalidInput):
            errands.freeze(never)


class Fork:
    """An agent that others have spoken to, and what it was sent."""

    def __init__(self) -> None:
        ours, self.guest = socket.socketpair()
        self.agent = Agent(ours, others=True)
        self.failure: Exception | None = None
        self._taking = threading.Thread(target=self._take)
        self._taking.start()

    def _take(self) -> None:
        try:
            self.agent.take_over(Identity.fresh("fork"), 30)
        except GuestNotRunning as failure:
            self.failure = failure

    def asked(self) -> tuple[int, int, bytes]:
        """The next frame: kind, job, payload."""
        head = self.guest.recv(9, socket.MSG_WAITALL)
        length = int.from_bytes(head[:4], "little")
        payload = self.guest.recv(length, socket.MSG_WAITALL)
        return head[4], int.from_bytes(head[5:], "little"), payload

    def end(self) -> None:
        self._taking.join(30)
        self.agent.close()
        self.guest.close()


def test_what_others_left_is_passed_over() -> None:
    fork = Fork()
    kind, job, payload = fork.asked()
    assert (kind, job, payload[16:]) == (9, 0, b"\0\0")
    answer = told(64, 0, b"\x03\0" + payload[:16])
    # The end of a frame of another's, an answer to somebody else, and ours in two parts.
    for part in (b"\xff\xff\xff\xff of output", told(70, 1, b""), answer[:7], answer[7:]):
        fork.guest.sendall(part)
    for expected in (10, 11):
        kind, job, _ = fork.asked()
        assert kind == expected
        fork.guest.sendall(told(70, job, bytes(8)))
    fork.end()
    assert fork.failure is None


def test_a_fork_that_boots_instead_is_none() -> None:
    fork = Fork()
    fork.guest.sendall(b"half" + HELLO)
    fork.end()
    assert "ended before" in str(fork.failure)


def test_nothing_is_on_its_way_to_a_quiet_agent(play: Play) -> None:
    play.start()
    with pytest.raises(TimeoutError, match="does not take"), play.agent.quiet(0.01):
        pass
    play.guest.recv(1 << 16)
    with play.agent.quiet(30):
        pass
