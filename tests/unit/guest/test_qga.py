"""qemu-guest-agent as an agent of the hub's, with one that we play ourselves, kind or hostile."""

import base64
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.guest import errands
from innkeeper.guest.errands import Identity
from innkeeper.guest.frames import OUTPUT_WINDOW, Ask, Decoder, Exec, Tell, credit, frame, hello
from innkeeper.guest.hub import AgentHub
from innkeeper.guest.qga.agent import QemuAgent
from innkeeper.guest.qga.wire import LONGEST, Answers, Nonsense
from innkeeper.vm.detached.home import AGENT, Home
from innkeeper.vm.detached.loop import Loop

GREETED = (Tell.HELLO, 0, b"\x03\x00" + bytes(16))


class FakeGuest:
    """A guest with that agent; its commands all do the same."""

    def __init__(self) -> None:
        self.files: dict[int, bytearray] = {}
        self.names: dict[int, str] = {}
        self.done: list[str] = []
        self.execs: list[dict[str, object]] = []
        self.status: dict[str, object] = {"exited": True, "exitcode": 7}
        self.frozen = False
        self.time = 1_000_000_000

    def answer(self, command: str, arguments: dict[str, object]) -> object:
        self.done.append(command)
        method = getattr(self, command.replace("-", "_"))
        return method(**{name.replace("-", "_"): each for name, each in arguments.items()})

    def guest_fsfreeze_status(self) -> object:
        return "frozen" if self.frozen else "thawed"

    def guest_fsfreeze_freeze(self) -> object:
        self.frozen = True
        return 3

    def guest_fsfreeze_thaw(self) -> object:
        was, self.frozen = self.frozen, False
        return 3 if was else 0

    def guest_get_time(self) -> object:
        return self.time

    def guest_set_time(self, time: int) -> object:
        self.time = time
        raise ValueError("hwclock failed")

    def guest_exec(self, **asked: object) -> object:
        self.execs.append(asked)
        return {"pid": len(self.execs)}

    def guest_exec_status(self, pid: int) -> object:
        if self.execs[pid - 1].get("capture_output"):
            place = base64.b64encode(b"/tmp/innkeeper.abc\n").decode()
            return {"exited": True, "exitcode": 0, "out-data": place}
        return self.status

    def guest_file_open(self, path: str, mode: str) -> object:
        assert mode in ("r", "w")
        handle = 100 + len(self.names)
        self.names[handle] = path
        said = {"/tmp/innkeeper.abc/out": b"out", "/tmp/innkeeper.abc/err": b"err"}
        self.files[handle] = bytearray(said.get(path, b""))
        return handle

    def guest_file_read(self, handle: int, count: int) -> object:
        piece = bytes(self.files[handle][:count])
        del self.files[handle][:count]
        return {"count": len(piece), "buf-b64": base64.b64encode(piece).decode(), "eof": True}

    def guest_file_write(self, handle: int, buf_b64: str) -> object:
        data = base64.b64decode(buf_b64)
        self.files[handle] += data
        return {"count": len(data), "eof": False}

    def guest_file_flush(self, handle: int) -> object:
        assert handle in self.files
        return {}

    def guest_file_close(self, handle: int) -> object:
        assert handle in self.names
        return {}


class Play:
    """The hub with its substitute, the guest's end of that one's channel, and a client."""

    def __init__(self, directory: Path) -> None:
        self.home = Home.open(str(directory))
        self.home.make_own()
        self.loop = Loop()
        self.ready = 0
        self.hub = AgentHub(self.loop, self.home, self._on_ready)
        hub = self.hub
        self.qga = QemuAgent(self.loop, hub.told, hub.substitute_came, hub.substitute_went)
        self.hub.use(self.qga)
        self.ours = self.hub.connect()
        self.port = self.qga.channel.connect()
        self.guest = FakeGuest()
        self._asked = bytearray()
        self.loop.watch(self.port.fileno(), 1, lambda _: self._serve())
        self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.client.connect(self.home.socket_path(AGENT))
        self.client.setblocking(False)
        self.told: list[tuple[Tell, int, bytes]] = []
        self._decoder = Decoder(Tell)
        self.hostile: Callable[[], bytes] | None = None

    def _on_ready(self) -> None:
        self.ready += 1

    def _serve(self) -> None:
        self._asked += self.port.recv(1 << 20)
        while b"\n" in self._asked:
            line, _, rest = bytes(self._asked).partition(b"\n")
            self._asked = bytearray(rest)
            self.port.sendall(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        if self.hostile is not None:
            return self.hostile()
        asked = json.loads(line.replace(b"\xff", b""))
        if asked["execute"] == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": asked["arguments"]["id"]}).encode() + b"\n"
        try:
            found = {"return": self.guest.answer(asked["execute"], asked.get("arguments", {}))}
        except ValueError as error:
            found = {"error": {"class": "GenericError", "desc": str(error)}}
        return json.dumps(found).encode() + b"\n"

    def turn(self, until: Callable[[], bool], patience: int = 300) -> None:
        """Lets the loop go on until that holds."""
        for _ in range(patience):
            with contextlib.suppress(BlockingIOError):
                self.told += self._decoder.push(self.client.recv(1 << 20))
            if until():
                return
            self.loop.after(0.01, self.loop.stop)
            self.loop._running = True
            self.loop.run()
        raise AssertionError(f"it does not come to that: {self.told}")

    def has(self, *kinds: Tell) -> Callable[[], bool]:
        return lambda: any(kind in kinds for kind, _, _ in self.told)

    def errand(self, errand: errands.Errand) -> tuple[Tell, bytes]:
        self.told.clear()
        self.client.sendall(frame(errand.kind, 9, errand.payload))
        found: list[tuple[Tell, bytes]] = []

        def is_told() -> bool:
            found.extend((kind, payload) for kind, job, payload in self.told if job == 9)
            return bool(found)

        self.turn(is_told)
        return found[0]

    def close(self) -> None:
        self.client.close()
        self.hub.close()
        self.qga.channel.disconnect()
        self.ours.close()
        self.loop.forget(self.port.fileno())
        self.port.close()
        self.loop.close()
        self.home.close()


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    stage = Play(tmp_path)
    yield stage
    stage.close()


def ran(play: Play, command: Exec, stdin: bytes = b"") -> list[tuple[Tell, bytes]]:
    play.turn(lambda: play.hub.ready)
    play.client.sendall(frame(Ask.EXEC, 1, command.encode()))
    if stdin:
        play.client.sendall(frame(Ask.STDIN, 1, stdin))
    play.client.sendall(frame(Ask.STDIN_END, 1))
    play.turn(play.has(Tell.EXIT, Tell.FAILED))
    return [(kind, payload) for kind, job, payload in play.told if job == 1]


def test_a_command_is_run_as_our_own_agent_would(play: Play) -> None:
    command = Exec(argv=["x", "-y"], env={"A": "b"}, cwd="/srv", user="ann:many")
    assert ran(play, command, stdin=b"hello") == [
        (Tell.CREDIT, credit(5)),
        (Tell.STDOUT, b"out"),
        (Tell.STDERR, b"err"),
        (Tell.EXIT, b"\0\x07\0\0\0"),
    ]
    assert play.told[0] == GREETED
    (made,) = [each for each in play.guest.execs if "capture_output" not in each]
    words, variables = made["arg"], made["env"]
    assert isinstance(words, list)
    assert isinstance(variables, list)
    assert words[3:] == ["/tmp/innkeeper.abc", "ann", "many", "/srv", "x", "-y"]
    assert "A=b" in variables
    (taken,) = [handle for handle, name in play.guest.names.items() if name.endswith("/in")]
    assert play.guest.files[taken] == b"hello"
    play.turn(lambda: play.guest.execs[-1]["path"] == "/bin/rm")


def test_a_signal_is_told_as_one(play: Play) -> None:
    play.guest.status = {"exited": True, "signal": 9}
    assert ran(play, Exec(argv=["x"], env={}))[-1] == (Tell.EXIT, b"\x01\x09\0\0\0")


def test_output_waits_for_its_reader(play: Play) -> None:
    play.guest.guest_file_read = lambda handle, count: {  # noqa: ARG005  # type: ignore[method-assign]
        "buf-b64": base64.b64encode(bytes(count)).decode()
    }
    play.turn(lambda: play.hub.ready)
    play.client.sendall(frame(Ask.EXEC, 1, Exec(argv=["yes"], env={}).encode()))
    play.client.sendall(frame(Ask.STDIN_END, 1))

    def told() -> int:
        return sum(len(payload) for kind, _, payload in play.told if kind is Tell.STDOUT) + sum(
            len(payload) for kind, _, payload in play.told if kind is Tell.STDERR
        )

    play.turn(lambda: told() == OUTPUT_WINDOW)
    play.client.sendall(frame(Ask.CREDIT, 1, credit(1000)))
    play.turn(lambda: told() == OUTPUT_WINDOW + 1000)


def test_a_terminal_is_refused_in_words(play: Play) -> None:
    ((kind, payload),) = ran(play, Exec(argv=["x"], env={}, terminal=(80, 24)))
    assert kind is Tell.FAILED
    assert b"no terminals" in payload


def test_errands_are_done(play: Play) -> None:
    play.turn(lambda: play.hub.ready)
    assert play.errand(errands.freeze(60)) == (Tell.DONE, b"\x03\0\0\0")
    assert play.errand(errands.freeze(60))[0] is Tell.FAILED
    assert play.errand(errands.thaw()) == (Tell.DONE, b"\x03\0\0\0")
    assert play.errand(errands.thaw()) == (Tell.DONE, bytes(4))
    kind, ahead = play.errand(errands.set_time(5_000_000_000))
    assert (kind, round(struct.unpack("<q", ahead)[0] / 1e9)) == (Tell.DONE, -4)
    cards = [(b"\x02aaaaa", b"\x02bbbbb")]
    identity = Identity(hostname="web", cards=cards, entropy=b"noise")
    assert play.errand(errands.renew(identity)) == (Tell.DONE, b"")
    words = play.guest.execs[-1]["arg"]
    assert isinstance(words, list)
    assert words[3:] == ["web", "", "02:61:61:61:61:61", "02:62:62:62:62:62"]
    assert b"noise" in play.guest.files.values()


def test_what_is_frozen_too_long_thaws_and_what_was_left_so_as_well(play: Play) -> None:
    play.guest.frozen = True
    play.turn(lambda: play.hub.ready and not play.guest.frozen)
    assert play.errand(errands.freeze(0.05))[0] is Tell.DONE
    play.turn(lambda: not play.guest.frozen)
    assert play.errand(errands.thaw()) == (Tell.DONE, bytes(4))


def test_commands_wait_while_it_is_frozen(play: Play) -> None:
    play.turn(lambda: play.hub.ready)
    play.errand(errands.freeze(60))
    play.client.sendall(frame(Ask.EXEC, 1, Exec(argv=["x"], env={}).encode()))
    play.client.sendall(frame(Ask.STDIN_END, 1))
    assert play.errand(errands.thaw())[0] is Tell.DONE
    assert "guest-exec" not in play.guest.done[: play.guest.done.index("guest-fsfreeze-thaw")]
    play.turn(play.has(Tell.EXIT))


def test_our_own_agent_is_preferred_where_both_answer(play: Play) -> None:
    play.turn(lambda: play.hub.ready)
    play.ours.sendall(hello())
    play.turn(lambda: play.hub._is_there)
    play.client.sendall(frame(Ask.EXEC, 1, Exec(argv=["x"], env={}).encode()))
    asked = Decoder(Ask)
    play.ours.setblocking(False)
    found: list[tuple[Ask, int, bytes]] = []

    def came() -> bool:
        try:
            found.extend(asked.push(play.ours.recv(1 << 16)))
        except BlockingIOError:
            return False
        return bool(found)

    play.turn(came)
    assert (found[0][0], play.ready) == (Ask.EXEC, 2)


def test_our_own_agent_may_be_started_anew(play: Play) -> None:
    """As a service is; the host finds its way back even where that cut a frame in two."""
    asked, found = Decoder(Ask), list[tuple[Ask, int, bytes]]()
    play.ours.setblocking(False)

    def came() -> bool:
        with contextlib.suppress(BlockingIOError):
            found.extend(asked.push(play.ours.recv(1 << 16)))
        return bool(found)

    def sync() -> bytes:
        play.turn(came)
        (kind, _, payload), *_ = found
        assert kind is Ask.SYNC
        found.clear()
        return hello(payload[:16])

    play.turn(lambda: play.hub.ready)
    play.ours.sendall(hello())
    play.turn(lambda: play.hub._is_there)
    for last_words in (hello(), frame(Tell.STDOUT, 1, bytes(9))[:12] + hello()):
        play.told.clear()
        play.client.sendall(frame(Ask.EXEC, 1, Exec(argv=["x"], env={}).encode()))
        play.turn(came)
        found.clear()
        play.ours.sendall(last_words)
        play.turn(play.has(Tell.FAILED))
        play.ours.sendall(sync())
        play.turn(lambda: play.hub._is_there)


def test_an_agent_that_goes_takes_its_commands_along_and_may_come_back(play: Play) -> None:
    play.guest.status = {"exited": False}
    play.turn(lambda: play.hub.ready)
    play.client.sendall(frame(Ask.EXEC, 1, Exec(argv=["x"], env={}).encode()))
    play.client.sendall(frame(Ask.STDIN_END, 1))
    play.turn(lambda: "guest-exec-status" in play.guest.done)
    play.port.sendall(b"nonsense\n")
    play.turn(play.has(Tell.FAILED))
    play.turn(lambda: play.ready == 2)


@given(st.lists(st.binary()))
def test_any_bytes_are_answers_or_nonsense(pieces: list[bytes]) -> None:
    answers = Answers()
    try:
        for piece in pieces:
            for answer in answers.push(piece):
                assert isinstance(answer, dict)
    except Nonsense:
        pass


@pytest.mark.parametrize(
    "line", [b"[]\n", b"[" * 100_000 + b"\n", b'{"return": ' + b"9" * 5000 + b"}\n", b"\0\n"]
)
def test_what_is_no_answer_is_refused(line: bytes) -> None:
    with pytest.raises(Nonsense):
        Answers().push(line)
    with pytest.raises(Nonsense):
        Answers().push(bytes(LONGEST + 1))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["/tmp/innkeeper.x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["pid", "exited", "exitcode", "signal", "out-data", "buf-b64", "count", "desc"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"return": JSON}) | st.fixed_dictionaries({"error": JSON})),
    st.sampled_from([Ask.EXEC, Ask.SET_TIME, Ask.FREEZE, Ask.THAW, Ask.RENEW]),
)
def test_a_hostile_guest_is_answered_for_and_outlived(
    tmp_path_factory: pytest.TempPathFactory, answers: list[dict[str, object]], kind: Ask
) -> None:
    """Whatever each question is answered with, in the end the client hears of its job."""
    play = Play(tmp_path_factory.mktemp("qga"))
    payloads = {
        Ask.EXEC: Exec(argv=["x"], env={}).encode(),
        Ask.RENEW: errands.renew(Identity(entropy=b"x")).payload,
        Ask.SET_TIME: bytes(8),
        Ask.FREEZE: b"\xff\xff\0\0",
        Ask.THAW: b"",
    }
    left = [json.dumps(answer).encode() + b"\n" for answer in answers]
    try:
        play.turn(lambda: play.hub.ready)
        play.turn(lambda: "guest-fsfreeze-status" in play.guest.done)
        play.hostile = lambda: left.pop(0) if left else b"!\n"
        play.client.sendall(frame(kind, 1, payloads[kind]))
        play.client.sendall(frame(Ask.STDIN_END, 1))
        play.turn(play.has(Tell.EXIT, Tell.FAILED, Tell.DONE), patience=2000)
    finally:
        play.close()
