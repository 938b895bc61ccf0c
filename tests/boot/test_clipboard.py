"""What is copied goes from a viewer, by TLS, to the guest, and back."""

import json
import shutil
import socket
import ssl
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import PATIENCE
from tests.run.house import House, wait

from innkeeper.images import Image
from innkeeper.vm.display.rfb.clipboard import EXTENDED

TEXT = 1
REQUEST, NOTIFY, PROVIDE = 1 << 25, 1 << 27, 1 << 28
PASSWORD = b"longer than eight bytes"
X509_PLAIN = 262


@pytest.fixture
def house(tmp_path: Path, debian: Image) -> Iterator[House]:
    made = House(tmp_path / "home")
    (made.home / "names").mkdir(parents=True)
    (made.home / "images").symlink_to(debian.directory.parent)
    (made.home / "names" / "debian").symlink_to(Path("..") / "images" / debian.digest)
    yield made
    made("rm", "--force", "box")
    shutil.rmtree(made.home / "templates", ignore_errors=True)


class Viewer:
    """Comes by TLS, and looks at the clipboard alone."""

    def __init__(self, port: int, certificate: Path) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        plain.sendall(b"RFB 003.008\n\x13\0\2" + struct.pack(">I", X509_PLAIN))
        # Greeting, VeNCrypt and its version, what it offers, and that it agrees.
        greeting = b"RFB 003.008\n\1\x13\0\2\0\1" + struct.pack(">I", X509_PLAIN) + b"\1"
        heard = b""
        while len(heard) < len(greeting):
            heard += plain.recv(1)
        assert heard == greeting
        context = ssl.create_default_context(cafile=str(certificate))
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._socket.sendall(struct.pack(">II", 0, len(PASSWORD)) + PASSWORD + b"\1")
        init = self._take(4 + 24)
        assert init[:4] == bytes(4)
        self._take(int.from_bytes(init[-4:]))
        self._socket.sendall(struct.pack(">BxHi", 2, 1, EXTENDED))
        flags, _ = self.hear()
        assert flags & (1 << 24)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            assert piece
            data += piece
        return data

    def hear(self) -> tuple[int, bytes]:
        kind, length, flags = struct.unpack(">B3xiI", self._take(12))
        assert kind == 3
        return flags, self._take(-length - 4)

    def hear_text(self, text: bytes) -> None:
        """Asks for all that it is offered until that is there: a file is seen while it grows."""
        heard = None
        while heard != text:
            flags, data = self.hear()
            if flags == NOTIFY | TEXT:
                self.say(REQUEST | TEXT)
            else:
                assert flags == PROVIDE | TEXT
                heard = zlib.decompress(data)[4:]

    def say(self, flags: int, data: bytes = b"") -> None:
        self._socket.sendall(struct.pack(">B3xiI", 6, -4 - len(data), flags) + data)

    def close(self) -> None:
        self._socket.close()


def test_a_clipboard_is_shared_by_tls(house: House, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (tmp_path / "password").write_bytes(PASSWORD + b"\n")
    options = ("--vnc", f"127.0.0.1:{port}", "--vnc-password", tmp_path / "password", "--vnc-tls")
    house("run", "--detach", "--name", "box", "--memory", "192M", *options, "debian")
    assert len(house.inspect("box")["vnc_fingerprint"]) == 95
    viewer = Viewer(port, house.home / "guests" / "box" / "vnc.pem")
    text = "f\u00fcr alle\r\n\0".encode()
    viewer.say(PROVIDE | TEXT, zlib.compress(struct.pack(">I", len(text)) + text))
    wait(lambda: house("clipboard", "box"), lambda copied: copied == "f\u00fcr alle\n")
    house("exec", "box", "sh", "-c", "printf 'from within' > /run/innkeeper/clipboard")
    viewer.hear_text(b"from within\0")
    house("clipboard", "box", "by hand")
    assert json.loads(house("clipboard", "--json", "box")) == {"text": "by hand"}
    viewer.close()
