"""A process that has loaded all that a guest's takes, and is forked for each guest: what they have
in common is then loaded once, and is in the host's memory once.

Nobody needs it. The first guest that is started by itself leaves it behind; it listens in the state
directory, serves its own user in the very circumstances that it was started in (see circumstances),
and ends when nobody has wanted a guest for some time, when what it has loaded is not what is on the
disk any more, or when its socket is gone. It has one thread: a fork copies no other.

    HOME/templates/NAME     its socket; NAME is of the circumstances

A client connects, hears one byte, which says that this template is alive and as wanted, and sends a
request with descriptors: the guest's directory and lock, where to tell how the start goes, and the
file for complaints. It closes its side then. All that hold `ready` are the template, until it has
forked, and the guest's processes: once it is closed without a word, nobody works at that guest.

Siblings have the same addresses in them. Where that matters is told in SECURITY.md.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from innkeeper.vm.detached.circumstances import circumstances, short

DIRECTORY = "templates"
ALIVE = b"+"
BEGUN = b"\n"

# Seconds without a request; between looks at what may have made this superfluous; for a client.
_IDLE = 300.0
_LOOK = 2.0
_PATIENCE = 1.0
_LONGEST = 1 << 23
_DESCRIPTORS = 4
_PEER = struct.Struct("3i")

# Gets the guest's directory and lock, and where to tell how the start went; never returns.
Become = Callable[[int, int, int], None]


class Request:
    """One guest that is wanted. Closes its descriptors."""

    def __init__(self, descriptors: "list[int]", environment: "dict[str, str]") -> None:
        self.home, self.lock, self.ready, self.complaints = self._descriptors = descriptors
        self.environment = environment

    def close(self) -> None:
        for fd in self._descriptors:
            os.close(fd)


def connect(directory: str) -> socket.socket | None:
    """A template for this process's circumstances that waits for a request, where there is one."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(_PATIENCE)
    text = circumstances()
    try:
        with _opened(directory) as place:
            channel.connect(f"{place}/{short(text)}")
        if _peer(channel) == os.geteuid():
            channel.sendall(struct.pack("<I", len(text.encode())) + text.encode())
            if channel.recv(1) == ALIVE:
                return channel
    except OSError:
        # None, or one that is just ending, is stuck, or is another's.
        pass
    channel.close()
    return None


def ask(channel: socket.socket, descriptors: "list[int]") -> None:
    """Whether the template got all of it, is seen by what it does."""
    data = json.dumps(dict(os.environ)).encode()
    with contextlib.suppress(OSError):
        socket.send_fds(channel, [struct.pack("<I", len(data))], descriptors)
        channel.sendall(data)


class Template:
    """This process, for those who come after. `directory` is the templates'."""

    def __init__(self, directory: str, become: Become) -> None:
        self._become = become
        self._circumstances = circumstances()
        self._environment = dict(os.environ)
        self._loaded = _loaded()
        # Whoever is forked has a parent, and needs no other.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        gc.collect()
        # What a collector does not look at, it does not write to either.
        gc.freeze()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.makedirs(directory, 0o700, exist_ok=True)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = short(self._circumstances)
        self._socket = self._listen()

    def serve(self) -> None:
        """Until it is not needed any more."""
        last = time.monotonic()
        while self._is_current() and time.monotonic() < last + _IDLE:
            if select.select([self._listener], [], [], _LOOK)[0]:
                # Who has gone by then is not worth a word.
                with contextlib.suppress(OSError, ValueError, struct.error):
                    channel, _ = self._listener.accept()
                    with channel:
                        self._hear(channel)
                last = time.monotonic()
        if self._is_there():
            os.unlink(self._name, dir_fd=self._directory)

    def fork(self, request: Request) -> None:
        """A guest's first process. `request` is closed here."""
        try:
            if os.fork() == 0:
                self._begin(request)
        finally:
            request.close()

    def _begin(self, request: Request) -> None:
        """In the new process."""
        try:
            os.setsid()
            os.write(request.ready, BEGUN)
            self._listener.close()
            os.close(self._directory)
            os.dup2(request.complaints, 2)
            os.close(request.complaints)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.umask(0o077)
            self._adopt(request.environment)
            self._become(request.home, request.lock, request.ready)
        # Whatever it is: a fork must not go on as its parent.
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def _adopt(self, environment: "dict[str, str]") -> None:
        """Most of it is what this process has."""
        for name in self._environment.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment.items() - self._environment.items())

    def _hear(self, channel: socket.socket) -> None:
        if _peer(channel) != os.geteuid() or not self._is_current():
            return
        channel.settimeout(_PATIENCE)
        (length,) = struct.unpack("<I", _exactly(channel, 4))
        if length > _LONGEST or _exactly(channel, length).decode() != self._circumstances:
            return
        channel.sendall(ALIVE)
        head, descriptors, _, _ = socket.recv_fds(channel, 4, _DESCRIPTORS)
        try:
            (length,) = struct.unpack("<I", head)
            environment = json.loads(_exactly(channel, length if length <= _LONGEST else 0))
            request = Request(descriptors, environment)
        except BaseException:
            for fd in descriptors:
                os.close(fd)
            raise
        # A fork's descriptors are its guest's alone.
        channel.close()
        self.fork(request)

    def _listen(self) -> tuple[int, int]:
        """Takes the name over from whoever has it, who sees that and ends. Which file that is."""
        fresh = f".{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=self._directory)
        self._listener.bind(f"/proc/self/fd/{self._directory}/{fresh}")
        self._listener.listen(64)
        self._sweep()
        os.replace(fresh, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        return self._found()

    def _sweep(self) -> None:
        """What was left by those that were killed."""
        for name in os.listdir(self._directory):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                other.settimeout(0)
                try:
                    other.connect(f"/proc/self/fd/{self._directory}/{name}")
                except ConnectionRefusedError:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=self._directory)
                except OSError:
                    pass

    def _is_current(self) -> bool:
        return (
            self._is_there()
            and circumstances() == self._circumstances
            and all(_identity(path) == known for path, known in self._loaded.items())
        )

    def _is_there(self) -> bool:
        try:
            return self._found() == self._socket
        except OSError:
            return False

    def _found(self) -> tuple[int, int]:
        status = os.stat(self._name, dir_fd=self._directory)
        return status.st_dev, status.st_ino


def _loaded() -> "dict[str, tuple[int, int, int] | None]":
    """The files of our modules, and what they are now."""
    ours = (module for name, module in sys.modules.items() if name.startswith("innkeeper"))
    paths = [getattr(module, "__file__", None) for module in ours]
    return {path: _identity(path) for path in paths if path is not None}


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _exactly(channel: socket.socket, count: int) -> bytes:
    """
    Raises:
        ConnectionError: when the other side has closed before.
        OSError: when it keeps us waiting.
    """
    data = bytearray()
    while len(data) < count:
        received = channel.recv(min(count - len(data), 1 << 16))
        if not received:
            raise ConnectionError
        data += received
    return bytes(data)


def _peer(channel: socket.socket) -> int:
    """The other side's user. Spec: unix(7), `SO_PEERCRED`."""
    data = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[str]:
    """A short path of it, whatever its own: a socket's address has room for 107 bytes."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
