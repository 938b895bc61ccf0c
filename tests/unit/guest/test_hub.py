"""One agent for many clients, with a guest that we play ourselves, kind or hostile."""

import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.guest import awakening
from innkeeper.guest.errands import Identity
from innkeeper.guest.frames import (
    OUTPUT_WINDOW,
    Ask,
    Decoder,
    Exec,
    Tell,
    credit,
    frame,
    hello,
    is_well_formed,
)
from innkeeper.guest.hub import AgentHub, _Hunt
from innkeeper.vm.detached.home import AGENT, Home
from innkeeper.vm.detached.loop import Loop

HELLO = hello()
GREETED = (Tell.HELLO, 0, b"\x03\x00" + bytes(16))
LS = Exec(argv=["ls"], env={}).encode()


class Play:
    """The hub, the guest's end of its channel, and clients."""

    def __init__(self, directory: Path) -> None:
        self.home = Home.open(str(directory))
        self.home.make_own()
        self.loop = Loop()
        self.ready = 0
        self.hub = AgentHub(self.loop, self.home, self._on_ready)
        self.guest = self.hub.connect()
        self.guest.setblocking(False)
        self._asked = Decoder(Ask)
        self.clients: list[socket.socket] = []

    def _on_ready(self) -> None:
        self.ready += 1

    def turn(self) -> None:
        """Lets the loop do all that there is to do now."""
        self.loop.after(0.02, self.loop.stop)
        self.loop._running = True
        self.loop.run()

    def client(self) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.connect(self.home.socket_path(AGENT))
        found.setblocking(False)
        self.clients.append(found)
        self.turn()
        return found

    def asked(self) -> list[tuple[Ask, int, bytes]]:
        """What has come to the guest."""
        self.turn()
        try:
            return self._asked.push(self.guest.recv(1 << 20))
        except BlockingIOError:
            return []

    def tell(self, data: bytes) -> None:
        self.guest.sendall(data)
        self.turn()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.hub.close()
        self.guest.close()
        self.loop.close()
        self.home.close()


def told(client: socket.socket) -> list[tuple[Tell, int, bytes]] | None:
    """What has come to a client; None when it was sent away."""
    try:
        data = client.recv(1 << 20)
    except BlockingIOError:
        return []
    except ConnectionError:
        return None
    return Decoder(Tell).push(data) if data else None


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    stage = Play(tmp_path)
    yield stage
    stage.close()


def test_each_client_hears_of_its_own_jobs_by_its_own_numbers(play: Play) -> None:
    play.tell(HELLO)
    one, two = play.client(), play.client()
    one.sendall(frame(Ask.EXEC, 1, LS))
    (first,) = play.asked()
    two.sendall(frame(Ask.EXEC, 1, LS))
    (second,) = play.asked()
    assert first[1] != second[1]
    play.tell(frame(Tell.STDOUT, second[1], b"two") + frame(Tell.STDOUT, first[1], b"one"))
    play.tell(frame(Tell.EXIT, first[1], bytes(5)))
    assert told(one) == [GREETED, (Tell.STDOUT, 1, b"one"), (Tell.EXIT, 1, bytes(5))]
    assert told(two) == [GREETED, (Tell.STDOUT, 1, b"two")]


def test_who_comes_before_the_guest_is_ready_hears_when_it_is(play: Play) -> None:
    client = play.client()
    assert told(client) == []
    play.tell(HELLO)
    assert told(client) == [GREETED]
    assert play.ready == 1


def test_the_commands_of_a_client_that_goes_are_killed_and_drained(play: Play) -> None:
    play.tell(HELLO)
    client = play.client()
    client.sendall(frame(Ask.EXEC, 5, LS))
    ((_, number, _),) = play.asked()
    client.close()
    hang_up, kill = bytes([signal.SIGHUP]), bytes([signal.SIGKILL])
    assert play.asked() == [(Ask.SIGNAL, number, hang_up), (Ask.SIGNAL, number, kill)]
    # Its last words are taken, or the agent would wait with its end.
    play.tell(frame(Tell.STDOUT, number, b"abc"))
    assert play.asked() == [(Ask.CREDIT, number, credit(3))]


def test_only_the_control_socket_may_end_the_guest(play: Play) -> None:
    play.tell(HELLO)
    client = play.client()
    client.sendall(frame(Ask.POWER_OFF, 0) + frame(Ask.CONSOLE, 0, bytes(12)))
    assert play.asked() == []


def test_a_client_that_does_not_read_holds_up_nobody_else(play: Play) -> None:
    play.tell(HELLO)
    slow, quick = play.client(), play.client()
    slow.sendall(frame(Ask.EXEC, 1, LS))
    ((_, number, _),) = play.asked()
    for _ in range(4):
        play.tell(frame(Tell.STDOUT, number, bytes(OUTPUT_WINDOW // 4)))
    quick.sendall(frame(Ask.EXEC, 1, LS))
    ((_, other, _),) = play.asked()
    play.tell(frame(Tell.EXIT, other, bytes(5)))
    found = told(quick)
    assert found is not None
    assert found[-1] == (Tell.EXIT, 1, bytes(5))


def test_a_guest_that_ignores_a_window_loses_that_client_and_no_other(play: Play) -> None:
    play.tell(HELLO)
    flooded, other = play.client(), play.client()
    flooded.sendall(frame(Ask.EXEC, 1, LS))
    ((_, number, _),) = play.asked()
    for _ in range(100):
        play.tell(frame(Tell.STDOUT, number, bytes(60_000)))
    # The hub has cut it off, and kills the command.
    assert (Ask.SIGNAL, number, bytes([signal.SIGKILL])) in play.asked()
    other.sendall(frame(Ask.EXEC, 1, LS))
    assert len(play.asked()) == 1


def test_another_machine_begins_anew(play: Play) -> None:
    play.tell(HELLO)
    client = play.client()
    client.sendall(frame(Ask.EXEC, 1, LS))
    play.asked()
    play.guest.close()
    play.guest = play.hub.connect()
    play.turn()
    assert not play.hub.ready
    told(client)
    assert told(client) is None
    play.tell(HELLO)
    assert (play.hub.ready, play.ready) == (True, 2)


@pytest.mark.parametrize(
    "words",
    [
        b"rubbish" * 10,
        frame(Tell.HELLO, 0, b"\x09\x00"),
        HELLO + HELLO,
        struct.pack("<IBI", 1 << 30, 65, 1),
    ],
)
def test_a_guest_that_talks_nonsense_is_not_listened_to(play: Play, words: bytes) -> None:
    client = play.client()
    play.tell(words)
    told(client)
    assert told(client) is None
    assert not play.hub.ready


# What a client sends must not be the agent's end, whatever it is.
@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(Ask),
            st.integers(0, 3),
            st.binary(max_size=40) | st.just(LS) | st.binary(max_size=9).map(lambda b: LS + b),
        )
    )
)
def test_what_reaches_the_agent_is_well_formed(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[Ask, int, bytes]]
) -> None:
    play = Play(tmp_path_factory.mktemp("hub"))
    try:
        play.tell(HELLO)
        client = play.client()
        client.sendall(b"".join(frame(*one) for one in frames))
        for kind, _, payload in play.asked():
            assert is_well_formed(kind, payload)
    finally:
        play.close()


@given(st.binary())
def test_is_well_formed_answers_for_any_bytes(payload: bytes) -> None:
    for kind in Ask:
        assert is_well_formed(kind, payload) in (True, False)


def test_a_client_has_an_errand_done_as_a_command(play: Play) -> None:
    play.tell(HELLO)
    client = play.client()
    client.sendall(frame(Ask.FREEZE, 3, bytes(4)))
    ((kind, number, _),) = play.asked()
    assert kind is Ask.FREEZE
    play.tell(frame(Tell.DONE, number, b"\x02\0\0\0"))
    assert told(client) == [GREETED, (Tell.DONE, 3, b"\x02\0\0\0")]


def test_a_restored_guest_is_heard_from_its_answer_on(play: Play) -> None:
    """Whatever its agent was saying before, and in however small pieces it comes."""
    heard: list[tuple[Tell, bytes]] = []
    synced: list[bool] = []
    client = play.client()
    play.hub.sync({7: lambda *what: heard.append(what)}, lambda: synced.append(True))
    ((kind, _, asked),) = play.asked()
    assert (kind, asked[16:]) == (Ask.SYNC, b"\x01\0\x07\0\0\0")
    # The rest of a frame, which says what is none.
    play.tell(b"\xff" * 300 + hello()[:20])
    for byte in hello(asked[:16]):
        play.guest.sendall(bytes([byte]))
    assert synced == []
    play.tell(frame(Tell.STDOUT, 7, b"goes on"))
    assert (synced, play.ready, play.hub.ready) == ([True], 0, True)
    assert heard == [(Tell.STDOUT, b"goes on")]
    found = told(client)
    assert found is not None
    assert [kind for kind, _, _ in found] == [Tell.HELLO]
    # Nobody's answer from before is taken for another's.
    client.sendall(frame(Ask.EXEC, 7, LS))
    assert [number for kind, number, _ in play.asked() if kind is Ask.EXEC] != [7]


@given(st.binary(max_size=200), st.integers(1, 60))
def test_what_comes_before_an_answer_is_no_matter(before: bytes, size: int) -> None:
    hunt = _Hunt(bytes(range(16)), lambda: None)
    stream = before + hello(bytes(range(16))) + b"rest"
    found = b"".join(hunt.push(stream[at : at + size]) for at in range(0, len(stream), size))
    assert found == hello(bytes(range(16))) + b"rest"


def test_an_awakened_guest_gets_the_time_before_its_identity(play: Play) -> None:
    failures: list[tuple[str, ...]] = []
    identity = Identity(hostname="web2", cards=[(b"\x02aaaaa", b"\x02bbbbb")], entropy=b"noise")
    awakening.awaken(play.hub, failures.append, identity=identity)
    ((_, _, asked),) = play.asked()
    play.tell(hello(asked[:16]))
    before = time.time_ns()
    ((kind, number, wanted),) = play.asked()
    assert kind is Ask.SET_TIME
    assert abs(int.from_bytes(wanted, "little") - before) < 60e9
    play.tell(frame(Tell.FAILED, number, b"\x01\0\0\0not permitted (os error 1)"))
    ((kind, number, wanted),) = play.asked()
    assert (kind, is_well_formed(kind, wanted)) == (Ask.RENEW, True)
    assert failures == []
    play.tell(frame(Tell.DONE, number))
    assert failures == [("cannot set the guest's clock: not permitted",)]


class Caller:
    """An agent that was asked to call by vsock."""

    def __init__(self, play: Play) -> None:
        self.play = play
        play.hub.meet(play.home.socket_path("vsock"))
        play.tell(HELLO)
        ((kind, self.number, asked),) = play.asked()
        assert (kind, play.ready) == (Ask.MEET, 0)
        self.token = asked[4:]
        self.path = f"{play.home.socket_path('vsock')}_{int.from_bytes(asked[:4], 'little')}"

    def call(self, token: bytes) -> socket.socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.connect(self.path)
        found.setblocking(False)
        self.play.clients.append(found)
        found.sendall(hello(token))
        self.play.turn()
        return found

    def meet(self) -> socket.socket:
        """Until the host goes on there."""
        call = self.call(self.token)
        ((kind, _, asked),) = Decoder(Ask).push(call.recv(1 << 16))
        assert kind is Ask.SYNC
        call.sendall(hello(asked[:16]))
        self.play.turn()
        return call


def test_an_agent_that_calls_is_spoken_to_there(play: Play) -> None:
    call = Caller(play).meet()
    assert (play.ready, play.hub.answers_by) == (1, "vsock")
    client = play.client()
    client.sendall(frame(Ask.EXEC, 1, LS))
    play.turn()
    ((kind, number, _),) = Decoder(Ask).push(call.recv(1 << 16))
    assert (kind, play.asked()) == (Ask.EXEC, [])
    call.sendall(frame(Tell.EXIT, number, bytes(5)))
    play.turn()
    assert told(client) == [GREETED, (Tell.EXIT, 1, bytes(5))]


def test_whoever_calls_without_the_token_is_nobody(play: Play) -> None:
    caller = Caller(play)
    for token in (bytes(16), caller.token[::-1]):
        impostor = caller.call(token)
        assert impostor.recv(1 << 16) == b""
    assert play.ready == 0
    assert caller.meet().fileno() >= 0
    # It is good once.
    assert caller.call(caller.token).recv(1 << 16) == b""
    assert play.ready == 1


def test_an_agent_that_cannot_call_stays_at_its_port(play: Play) -> None:
    caller = Caller(play)
    play.tell(frame(Tell.FAILED, caller.number, b"\x05\0\0\0no vsock"))
    assert (play.ready, play.hub.answers_by) == (1, "console")
    late = caller.call(caller.token)
    assert late.recv(1 << 16) == b""


@pytest.mark.parametrize("how", ["the call ends", "the agent is started anew"])
def test_it_goes_on_at_the_port_where_a_call_ends(play: Play, how: str) -> None:
    call = Caller(play).meet()
    client = play.client()
    client.sendall(frame(Ask.EXEC, 1, LS))
    play.turn()
    if how == "the call ends":
        call.close()
    else:
        play.guest.sendall(HELLO)
    ((kind, _, asked),) = play.asked()
    assert kind is Ask.SYNC
    found = told(client)
    assert found is not None
    assert found[-1][0] is Tell.FAILED
    play.tell(hello(asked[:16]))
    assert play.hub.answers_by == "console"
    client.sendall(frame(Ask.EXEC, 2, LS))
    assert [kind for kind, _, _ in play.asked()] == [Ask.EXEC]


def test_an_agent_that_is_started_after_it_was_asked_is_asked_again(play: Play) -> None:
    call = Caller(play).meet()
    call.close()
    assert [kind for kind, _, _ in play.asked()] == [Ask.SYNC]
    # Whoever was there has not heard it.
    play.tell(b"\0\1\2" + HELLO)
    ((kind, _, asked),) = play.asked()
    assert (kind, play.hub.ready) == (Ask.SYNC, False)
    play.tell(hello(asked[:16]))
    assert play.hub.answers_by == "console"
