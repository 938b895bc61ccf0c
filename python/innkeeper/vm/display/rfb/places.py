"""Where viewers find a guest's screen."""

import os
import socket
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine.screen import ScreenSpec, VncSpec
from innkeeper.vm.detached.home import VNC, Home

# What VNC's authentication takes of a password; it ignores the rest.
LONGEST: Final = 8

Listener = tuple[str | socket.socket, bytes | None]


def listen(home: Home, screen: ScreenSpec) -> list[Listener]:
    """Sockets, each with the password that it asks for: the guest's own, and the one of `--vnc`.

    Raises:
        InvalidInput: when the password's file is not one.
        HostFailure: when the place is taken, or none.
    """
    # Who may open the guest's directory may do all with it.
    found: list[Listener] = [(home.socket_path(VNC), None)]
    if screen.vnc is not None:
        password = None if screen.vnc.password is None else _password(screen.vnc)
        found.append((_listen(screen.vnc), password))
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
            password = file.readline(256).rstrip(b"\r\n")
    except OSError as error:
        name = os.fspath(vnc.password)
        raise InvalidInput(f"cannot read the password in {name}: {error.strerror}") from error
    if not 1 <= len(password) <= LONGEST:
        raise InvalidInput(f"a VNC password has 1 to {LONGEST} bytes, not {len(password)}")
    return password
