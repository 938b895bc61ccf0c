"""VeNCrypt: a viewer that speaks TLS, in a few lines, against ours."""

import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vm.display.test_rfb_client import GREETING, FakeSeat

from innkeeper.machine import ScreenSpec, VncSpec
from innkeeper.services import certificates
from innkeeper.vm.detached.home import VNC_CERTIFICATE, Home
from innkeeper.vm.display.rfb import des, secure
from innkeeper.vm.display.rfb.client import Client
from innkeeper.vm.display.rfb.messages import Nonsense
from innkeeper.vm.display.rfb.places import Security

if TYPE_CHECKING:
    from innkeeper.vm.display.seat import Seat

NONE, VNC, PLAIN = 260, 261, 262
PASSWORD = b"a rather long one"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("guest")
    vnc = VncSpec(host="127.0.0.1", port=0, tls=True)
    with Home.open(str(place)) as home:
        certificates.ensure(home, ScreenSpec())
        assert certificates.fingerprint(home) is None
        certificates.ensure(home, ScreenSpec(vnc=vnc))
        print_ = certificates.fingerprint(home)
        assert print_ is not None
        assert len(print_) == 95
        certificates.ensure(home, ScreenSpec(vnc=vnc))
        assert certificates.fingerprint(home) == print_
    assert (place / VNC_CERTIFICATE).stat().st_mode & 0o77 == 0
    return place / VNC_CERTIFICATE


class Viewer:
    """Knows the guest's certificate, and comes by 127.0.0.1."""

    def __init__(self, pem: Path, password: bytes | None) -> None:
        self._said = bytearray()
        self.heard = 0
        self.gone = False
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._context = ssl.create_default_context(cafile=str(pem))
        self.seat = FakeSeat()
        seat = cast("Seat", self.seat)
        security = Security(password, secure.context(pem))
        self.client = Client(seat, "box", security, self._hear, self._hang_up, lambda: None)

    def _hear(self, data: bytes) -> None:
        self.heard += len(data)
        self._said += data

    def _hang_up(self) -> None:
        self.gone = True

    def plainly(self, data: bytes) -> bytes:
        self._said.clear()
        for byte in data:
            self.client.receive(bytes((byte,)))
        return bytes(self._said)

    def agree(self, kind: int) -> tuple[int, ...]:
        assert self.plainly(GREETING).endswith(b"\1\x13")
        assert self.plainly(b"\x13") == b"\0\2"
        offered = self.plainly(b"\0\2")
        assert offered[0] == 0
        kinds = struct.unpack_from(f">{offered[1]}I", offered, 2)
        assert self.plainly(struct.pack(">I", kind)) == b"\1"
        self._tls = self._context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self._said.clear()
        for _ in range(4):
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
        self._exchange()
        return kinds

    def _exchange(self) -> None:
        if self._out.pending:
            self.client.receive(self._out.read())
        self._in.write(bytes(self._said))
        self._said.clear()

    def say(self, data: bytes = b"") -> bytes:
        assert self._tls is not None
        if data:
            self._tls.write(data)
        self._exchange()
        heard = b""
        try:
            while piece := self._tls.read(1 << 16):
                heard += piece
        except ssl.SSLWantReadError:
            pass
        return heard


def test_a_viewer_without_a_password(pem: Path) -> None:
    viewer = Viewer(pem, None)
    assert viewer.agree(NONE) == (NONE,)
    assert viewer.say() == bytes(4)
    assert viewer.say(b"\1").endswith(b"\0\0\0\3box")


def test_a_viewer_with_a_long_password(pem: Path) -> None:
    viewer = Viewer(pem, PASSWORD)
    assert viewer.agree(PLAIN) == (PLAIN,)
    name = b"anybody"
    given_name = struct.pack(">II", len(name), len(PASSWORD)) + name
    assert viewer.say(given_name) == b""
    assert viewer.say(PASSWORD) == bytes(4)
    assert viewer.say(b"\1").endswith(b"\0\0\0\3box")
    other = Viewer(pem, PASSWORD)
    other.agree(PLAIN)
    assert other.say(struct.pack(">II", 0, 3) + b"no!").endswith(b"the password is wrong")
    assert other.gone


def test_a_viewer_with_a_password_of_vncs(pem: Path) -> None:
    viewer = Viewer(pem, b"secret")
    assert viewer.agree(VNC) == (PLAIN, VNC)
    challenge = viewer.say()
    assert len(challenge) == 16
    assert viewer.say(des.answer(b"secret", challenge)) == bytes(4)


def test_nobody_comes_without_tls(pem: Path) -> None:
    for said in (b"\1", b"\2"):
        viewer = Viewer(pem, None)
        viewer.plainly(GREETING)
        viewer.plainly(said)
        assert viewer.gone
    old = Viewer(pem, None)
    assert old.plainly(b"RFB 003.003\n").endswith(b"TLS alone")
    assert old.gone
    for kind in (256, 257, 258, 259, VNC, PLAIN):
        viewer = Viewer(pem, None)
        viewer.plainly(GREETING + b"\x13\0\2")
        assert viewer.plainly(struct.pack(">I", kind)) == b"\0"
        assert viewer.gone


def test_nonsense_is_cut_off(pem: Path) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=200))
    def check(data: bytes) -> None:
        # No record of TLS begins so, and what begins it has to come whole before it is one.
        data = b"\xff" * 5 + data
        viewer = Viewer(pem, None)
        viewer.plainly(GREETING + b"\x13\0\2" + struct.pack(">I", NONE))
        viewer.client.receive(data)
        assert viewer.gone
        assert not viewer.client.greeted
        viewer.client.update()
        viewer.client.gone()

    check()


def test_a_session_that_has_failed_ends_its_viewer_and_nothing_else(pem: Path) -> None:
    viewer = Viewer(pem, None)
    viewer.agree(NONE)
    viewer.say(b"\1")
    assert viewer.client.greeted
    # A record of no kind: TLS has ended, and who sends next is told so.
    with pytest.raises(Nonsense):
        viewer.client._greeting.receive(b"\xff" * 20)
    assert not viewer.gone
    viewer.seat.clipboard.copy(None, "for all")
    assert viewer.gone
    assert not viewer.client.greeted
    heard = viewer.heard
    viewer.seat.clipboard.copy(None, "for others")
    viewer.client.receive(b"\xff" * 20)
    viewer.client.update()
    assert viewer.heard == heard
