"""The door of a host for guests that come by TLS: only whom it trusts gets in."""

import contextlib
import os
import select
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.services.migration import identity, receiving
from innkeeper.services.migration.line import Line

# Who is attended to at a time, strangers among them. Who comes then comes again.
_MOST: Final = 64
# Told of what happens, in words.
Report = Callable[[str], None]


def serve(
    address: str, shared: tuple[Path, ...], report: Report, *, ready: Callable[[int], Any]
) -> None:
    """Until SIGTERM or Ctrl-C. `ready` hears of the port.

    Raises:
        InvalidInput, HostFailure: when that address cannot be had.
    """
    host, port = identity.parse_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_MOST)
    except OSError as error:
        raise HostFailure(f"cannot listen at {address}: {error.strerror}") from error
    room = threading.Semaphore(_MOST)
    stop, stopped = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(stopped, b"."))
    with listener:
        ready(listener.getsockname()[1])
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while all(descriptor != stop for descriptor, _ in poll.poll()):
            with contextlib.suppress(OSError):
                connection, peer = listener.accept()
                if not room.acquire(blocking=False):
                    # Nobody waits for strangers: neither others, nor who wants this to end.
                    connection.close()
                    continue
                threading.Thread(
                    target=_attend,
                    args=(connection, str(peer[0]), shared, report, room),
                    daemon=True,
                ).start()


def _attend(
    connection: socket.socket,
    peer: str,
    shared: tuple[Path, ...],
    report: Report,
    room: threading.Semaphore,
) -> None:
    try:
        # Whom we trust may have changed since the last one.
        line = Line.secured(connection, identity.context(server=True), server=True)
        with line:
            known = identity.peer(line.certificate)
            if known is None:
                report(f"{peer}: nobody that is trusted")
                return
            name = receiving.serve(line, shared)
            if name is not None:
                report(f"{known.name}: the guest {name} is here")
    except InnkeeperError as error:
        report(f"{peer}: {error}")
    except (ssl.SSLError, OSError) as error:
        report(f"{peer}: nobody that is trusted, or no TLS 1.3: {error}")
    finally:
        connection.close()
        room.release()
