"""Where viewers find a guest's screen."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine.screen import ScreenSpec, VncSpec
from innkeeper.vm.detached.home import VNC, VNC_CERTIFICATE, Home

if TYPE_CHECKING:
    import ssl

# What VNC's authentication takes of a password; it ignores the rest.
LONGEST: Final = 8
# What goes through TLS may be longer.
_LONGEST_BY_TLS: Final = 256


@dataclass(frozen=True, slots=True)
class Security:
    """What a listener's clients need: the password, and TLS with this guest's certificate."""

    password: bytes | None = None
    tls: "ssl.SSLContext | None" = None


Listener = tuple[str | socket.socket, Security]


def listen(home: Home, screen: ScreenSpec) -> list[Listener]:
    """Sockets, each with what it asks for: the guest's own, and the one of `--vnc`.

    Raises:
        InvalidInput: when the password's file is not one.
        HostFailure: when the place is taken, or none.
    """
    # Who may open the guest's directory may do all with it.
    found: list[Listener] = [(home.socket_path(VNC), Security())]
    if screen.vnc is not None:
        password = None if screen.vnc.password is None else _password(screen.vnc)
        tls = None
        if screen.vnc.tls:
            # Most guests' processes do without it.
            from innkeeper.vm.display.rfb import secure

            tls = secure.context(Path(home.path) / VNC_CERTIFICATE)
        found.append((_listen(screen.vnc), Security(password, tls)))
    return found


def _listen(vnc: VncSpec) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            vnc.host, vnc.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise HostFailure(f"cannot listen at {vnc.host}:{vnc.port}: {error.strerror}") from error
    return listener


def _password(vnc: VncSpec) -> bytes:
    assert vnc.password is not None
    try:
        with vnc.password.open("rb") as file:
            password = file.readline(512).rstrip(b"\r\n")
    except OSError as error:
        name = os.fspath(vnc.password)
        raise InvalidInput(f"cannot read the password in {name}: {error.strerror}") from error
    longest = _LONGEST_BY_TLS if vnc.tls else LONGEST
    if not 1 <= len(password) <= longest:
        without = "" if vnc.tls else " without TLS"
        raise InvalidInput(f"a VNC password{without} has 1 to {longest} bytes, not {len(password)}")
    return password
