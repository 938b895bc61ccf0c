"""The host's side of a guest's socket device: a socket for those who connect to the guest, and who
connects to whom the guest calls.

As Firecracker has it: a program of the host connects to the socket PATH and says `CONNECT 80`; what
the guest connects to port 80 of the host goes to the socket PATH_80.

A guest's process may be in a jail, from where nobody connects to anything by name. So it asks the
`Switchboard`, which is somewhere else: in the guest's supervisor, or in a thread of the process
that attends to the guest. It connects to sockets of those names and to nothing else, and hands them
over. Loaded by the supervisor: nothing large here.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
import threading

# Number and port; number and error. crates/devices/src/virtio/vsock/outward.rs speaks the same.
_QUESTION = struct.Struct("=II")
_ANSWER = struct.Struct("=Ii")
# Of Linux's AF_VSOCK, the guest's number for its host.
HOST_CID = 2
FIRST_CID = 3
LAST_CID = 0xFFFF_FFFE
_LONGEST_ANSWER = 32


def listen(path: str) -> socket.socket:
    """A socket of the name `path`. One that is left over from a guest that died is replaced.

    Raises:
        OSError: when it cannot be made, or somebody listens there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        old = os.umask(0o077)
        try:
            listener.bind(path)
        finally:
            os.umask(old)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_left_over(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
                return asking.connect_ex(path) == errno.ECONNREFUSED
    return False


def connect(path: str, port: int, timeout: "float | None" = None) -> socket.socket:
    """A connection to `port` of the guest whose socket is `path`, once somebody has accepted.

    Raises:
        ConnectionRefusedError: when nobody does.
        TimeoutError: when the guest says neither in `timeout` seconds.
        OSError: when there is no such socket.
    """
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout)
        found.connect(path)
        found.sendall(b"CONNECT %d\n" % port)
        accepted = _answer_line(found).startswith(b"OK ")
        found.settimeout(None)
    except BaseException:
        found.close()
        raise
    if not accepted:
        found.close()
        said = f"nobody in the guest accepts at port {port}"
        raise ConnectionRefusedError(errno.ECONNREFUSED, said)
    return found


def _answer_line(stream: socket.socket) -> bytes:
    """Byte by byte: what follows the line is the program's."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST_ANSWER:
        byte = stream.recv(1)
        if not byte:
            break
        line += byte
    return line


def remove(path: str) -> None:
    """Removes a socket, and nothing else of that name."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


class Switchboard:
    """Answers a guest's process, which has `theirs`, about the sockets `path`_PORT."""

    def __init__(self, path: str) -> None:
        self.path = path
        kind = socket.SOCK_SEQPACKET
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, kind)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def answer_all(self, most: int) -> bool:
        """Answers what has been asked. False when there may be more, after `most` of them."""
        for _ in range(most):
            try:
                question = self.ours.recv(64, socket.MSG_DONTWAIT)
            except OSError:
                return True
            if len(question) != _QUESTION.size:
                # Gone, or nobody whom we know.
                return True
            self._answer(*_QUESTION.unpack(question))
        return False

    def serve(self) -> None:
        """Answers in a thread, until `theirs` is closed everywhere."""
        threading.Thread(target=self._serve, name="vsock", daemon=True).start()

    def _serve(self) -> None:
        with self.ours, contextlib.suppress(OSError):
            while len(question := self.ours.recv(64)) == _QUESTION.size:
                self._answer(*_QUESTION.unpack(question))

    def _answer(self, number: int, port: int) -> None:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with found, contextlib.suppress(OSError):
            # One whose queue is full refuses, rather than that everybody waits.
            found.setblocking(False)  # noqa: FBT003 - the one argument it has
            error = self._connect(found, port)
            fds = [] if error else [found]
            data = _ANSWER.pack(number, error)
            if fds:
                socket.send_fds(self.ours, [data], [found.fileno()], socket.MSG_DONTWAIT)
            else:
                self.ours.send(data, socket.MSG_DONTWAIT)

    def _connect(self, found: socket.socket, port: int) -> int:
        """By a descriptor, so that no link leads elsewhere: the guest's process may be taken over,
        and has hands in the directory."""
        try:
            fd = os.open(f"{self.path}_{port}", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            return error.errno or errno.ECONNREFUSED
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                return errno.ECONNREFUSED
            return found.connect_ex(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
