"""How an RFB client comes in: versions, who may, and TLS around the rest where it is asked for.
Spec: RFC 6143, "Handshaking Messages"; rfbproto, "VeNCrypt".
"""

import hmac
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from innkeeper.vm.display.rfb import des
from innkeeper.vm.display.rfb.messages import Nonsense
from innkeeper.vm.display.rfb.places import Security

if TYPE_CHECKING:
    from innkeeper.vm.display.rfb.secure import Tunnel

_VERSION: Final = b"RFB 003.008\n"
_OLDEST: Final = b"RFB 003.003\n"
_NONE, _VNC, _VENCRYPT = 1, 2, 19
_VENCRYPT_VERSION: Final = bytes((0, 2))
_CHALLENGE: Final = 16


class Greeting:
    """`send` takes what goes over the network; `hang_up` ends it."""

    def __init__(
        self, security: Security, send: Callable[[bytes], None], hang_up: Callable[[], None]
    ) -> None:
        self._security = security
        self._password = security.password
        self._network = send
        self._hang_up = hang_up
        self._tunnel: Tunnel | None = None
        self._data = bytearray()
        self._step: Callable[[], bool] = self._version
        self._challenge = os.urandom(_CHALLENGE)
        self._oldest = False
        self._done = False
        send(_VERSION)

    def send(self, data: bytes) -> None:
        if self._tunnel is None:
            self._network(data)
        else:
            self._tunnel.send(data)

    def receive(self, data: bytes) -> bytes:
        """What of it comes behind the greeting.

        Raises:
            Nonsense: when it makes no sense.
        """
        if self._tunnel is not None:
            data = self._tunnel.receive(data)
        if self._done:
            return data
        self._data += data
        while not self._done and self._step():
            pass
        if not self._done:
            return b""
        behind = bytes(self._data)
        self._data.clear()
        return behind

    def _take(self, count: int) -> bytes | None:
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def _version(self) -> bool:
        version = self._take(len(_VERSION))
        if version is None:
            return False
        if not version.startswith(b"RFB 003."):
            raise Nonsense("it is no client of RFB 3")
        kind = self._kind
        self._oldest = version <= _OLDEST
        if self._oldest and kind == _VENCRYPT:
            self.send(bytes(4))
            self._refuse("this screen is shown by TLS alone", told=False)
            return False
        if self._oldest:
            # There is nothing to choose.
            self.send(struct.pack(">I", kind))
            self._begin_security(kind)
        else:
            self.send(bytes((1, kind)))
            self._step = self._choose
        return True

    @property
    def _kind(self) -> int:
        if self._security.tls is not None:
            return _VENCRYPT
        return _NONE if self._password is None else _VNC

    def _choose(self) -> bool:
        chosen = self._take(1)
        if chosen is None:
            return False
        if chosen[0] != self._kind:
            self._refuse("there is no such security here")
            return False
        self._begin_security(chosen[0])
        return True

    def _begin_security(self, kind: int) -> None:
        if kind == _VENCRYPT:
            self.send(_VENCRYPT_VERSION)
            self._step = self._agree
            return
        if kind == _VNC:
            self.send(self._challenge)
            self._step = self._answer
            return
        if not self._oldest:
            self.send(struct.pack(">I", 0))
        self._done = True

    # VeNCrypt: its version, what is spoken inside of TLS, TLS, and that.

    def _agree(self) -> bool:
        version = self._take(2)
        if version is None:
            return False
        agreed = version == _VENCRYPT_VERSION
        self.send(bytes((not agreed,)))
        if not agreed:
            raise Nonsense("it speaks another VeNCrypt")
        from innkeeper.vm.display.rfb import secure

        kinds = secure.kinds(self._password)
        self.send(struct.pack(f">B{len(kinds)}I", len(kinds), *kinds))
        self._step = self._wrap
        return True

    def _wrap(self) -> bool:
        chosen = self._take(4)
        if chosen is None:
            return False
        from innkeeper.vm.display.rfb import secure

        (kind,) = struct.unpack(">I", chosen)
        agreed = kind in secure.kinds(self._password)
        self.send(bytes((agreed,)))
        if not agreed:
            raise Nonsense("there is no such security here")
        assert self._security.tls is not None
        self._tunnel = secure.Tunnel(self._security.tls, self._network, self._hang_up)
        # What has come already is TLS's.
        rest = bytes(self._data)
        self._data.clear()
        if kind == secure.PLAIN:
            self._step = self._plain
        elif kind == secure.VNC:
            self._step = self._challenged
        else:
            self._step = self._unasked
        self._data += self._tunnel.receive(rest)
        return True

    def _challenged(self) -> bool:
        """TLS stands as soon as this can be said."""
        if not self._is_safe():
            return False
        self._begin_security(_VNC)
        return True

    def _unasked(self) -> bool:
        if not self._is_safe():
            return False
        self._begin_security(_NONE)
        return True

    def _is_safe(self) -> bool:
        return self._tunnel is not None and self._tunnel.ready

    def _plain(self) -> bool:
        from innkeeper.vm.display.rfb import secure

        assert self._password is not None
        right = secure.read_plain(self._data, self._password)
        if right is None:
            return False
        if not right:
            self._refuse("the password is wrong")
            return False
        self.send(struct.pack(">I", 0))
        self._done = True
        return True

    def _answer(self) -> bool:
        answer = self._take(_CHALLENGE)
        if answer is None:
            return False
        assert self._password is not None
        if not hmac.compare_digest(answer, des.answer(self._password, self._challenge)):
            self._refuse("the password is wrong")
            return False
        self.send(struct.pack(">I", 0))
        self._done = True
        return True

    def _refuse(self, why: str, *, told: bool = True) -> None:
        """`told`: it waits to hear whether it may, rather than why it may not."""
        reason = struct.pack(">I", len(why)) + why.encode()
        if told:
            reason = struct.pack(">I", 1) + (b"" if self._oldest else reason)
        self.send(reason)
        self._over()

    def _over(self) -> None:
        self._step = lambda: False
        self._hang_up()
