"""TLS below RFB, where a guest's viewers shall have it. Spec: rfbproto, "VeNCrypt".

Certificates are the server's alone, made for each guest; viewers ask once whether it is the right
one, and remember it. Rejected: TLS without certificates ("TLSVnc" and its like), since whoever can
change the traffic reads it then, and viewers do not say so.
"""

import hmac
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.vm.display.rfb.messages import Nonsense

NONE, VNC, PLAIN = 260, 261, 262
"""X509None, X509Vnc, X509Plain."""
# What VNC's own authentication takes of a password.
_SHORT: Final = 8
LONGEST_PASSWORD: Final = 256
_LONGEST_NAME: Final = 256


def context(certificate: Path) -> ssl.SSLContext:
    """With the key and the certificate of a file.

    Raises:
        HostFailure: when it cannot be read.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION
    # Nobody comes back; and TigerVNC 1.12 waits for ever behind a ticket.
    made.num_tickets = 0
    try:
        made.load_cert_chain(certificate)
    except (OSError, ssl.SSLError) as error:
        raise HostFailure(f"cannot use the certificate of the screen: {error}") from error
    return made


def kinds(password: bytes | None) -> tuple[int, ...]:
    """How clients may say who they are, the best way first."""
    if password is None:
        return (NONE,)
    return (PLAIN, VNC) if len(password) <= _SHORT else (PLAIN,)


class Tunnel:
    """One client's. `send` takes what goes over the network; `hang_up` ends it."""

    def __init__(
        self,
        made: ssl.SSLContext,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = made.wrap_bio(self._in, self._out, server_side=True)
        self._send = send
        self._hang_up = hang_up
        self.ready = False

    def receive(self, data: bytes) -> bytes:
        """What it said, of what came; nothing of it stays here but the beginning of a record.

        Raises:
            Nonsense: when that is no TLS, or its end.
        """
        self._in.write(data)
        said = bytearray()
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.ready = True
            while piece := self._tls.read(1 << 16):
                said += piece
            raise Nonsense("TLS has ended")
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise Nonsense("that is no TLS") from error
        finally:
            self._flush()
        return bytes(said)

    def send(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            # What came before has ended it, and nothing can be said in it any more.
            self._hang_up()
            return
        self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._send(self._out.read())


def read_plain(data: bytearray, password: bytes) -> bool | None:
    """Whether the password at the beginning of `data` is right, whatever the name before it; None
    when they have not come whole.

    Raises:
        Nonsense: when they are too long.
    """
    if len(data) < 8:
        return None
    name, length = struct.unpack_from(">II", data)
    if name > _LONGEST_NAME or length > LONGEST_PASSWORD:
        raise Nonsense("nobody is called that")
    if len(data) < 8 + name + length:
        return None
    given = bytes(data[8 + name : 8 + name + length])
    del data[: 8 + name + length]
    return hmac.compare_digest(given, password)
