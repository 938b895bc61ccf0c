"""One guest's directory, held by a descriptor, so that a rename disturbs nobody who works in it.

    guest.json        what it is; written by whoever defines it
    order.json        what its next or present run is made of; by whoever starts it
    supervisor.json   which processes it has; by their parent. supervisor.pid tells systemd
    share.json        by which group of the host's it is kept to its share, while it runs
    saved/            what it begins as when it was saved before, see savings.py
    snapshots/NAME/   what it was, see innkeeper.services.snapshots
    moved.json        where it went, or may have: see innkeeper.services.migration.fence
    arrived.json      by which migration it came, if it did
    brought/          files that came along with it
    seed.img          what cloud-init is told, where it was asked for; ssh_key is for it
    known_hosts       who the guest was when inn ssh came to it first
    tpm/              what its TPM keeps without power, where it has one
    vnc.pem           key and certificate that its screen is shown with, where it asks for TLS
    lock              held by supervisor and guest's process, for as long as one of them lives
    run/              all that the guest's process may write to:
        run.json          how the run stands
        ending.json       how the last run ended
        console.log       what its serial port said, and console.log.1 what it said before
        control, console, agent, vnc    its sockets
        vsock, vsock_PORT           those of its socket device
        root.qcow2        what the guest has written to its disk

What decides about processes and about files of the host is outside of `run`: a guest that has taken
over its process can tell lies about itself there, and about nothing else.

Files are replaced as a whole, each has one writer at a time, and who reads one finds the old or the
new. Whether a guest runs is told by the lock alone, which the kernel lets go when the last holder
dies, of whatever. Locks are those of open file descriptions: they pass to children, and can be
looked at without being taken. Spec: fcntl(2), "Open file description locks".
"""

import contextlib
import errno
import fcntl
import json
import os
import struct

DEFINITION = "guest.json"
ORDER = "order.json"
SUPERVISOR = "supervisor.json"
SUPERVISOR_PID = "supervisor.pid"
SHARE = "share.json"
MOVED = "moved.json"
ARRIVED = "arrived.json"
SEED = "seed.img"
SAVED = "saved"
SNAPSHOTS = "snapshots"
LOCK = "lock"
OWN = "run"
RUN = "run/run.json"
WHOLE = "run/whole.json"
ENDING = "run/ending.json"
LOG = "run/console.log"
OLD_LOG = "run/console.log.1"
CONTROL = "run/control"
CONSOLE = "run/console"
AGENT = "run/agent"
VSOCK = "run/vsock"
VNC = "run/vnc"
TPM = "tpm"
VNC_CERTIFICATE = "vnc.pem"
AGENT_CALLS = f"{VSOCK}_1023"  # where the agent calls by vsock
SOCKETS = (CONTROL, CONSOLE, AGENT, VSOCK, AGENT_CALLS, VNC)

_LARGEST = 1 << 20
# struct flock on x86-64: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


class Home:
    """Closes `directory`, a descriptor, in the end. `lock` is one that somebody else closes: where
    this process may not see the directories above, it tells what the guest is called.
    """

    def __init__(self, directory: int, lock: "int | None" = None) -> None:
        self.directory = directory
        self._lock = lock

    @classmethod
    def open(cls, path: str) -> "Home":
        """
        Raises:
            OSError: when there is no such directory.
        """
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        os.close(self.directory)

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """Where it is now."""
        found = os.readlink(f"/proc/self/fd/{self.directory}")
        if self._lock is None:
            return found
        # A guest's process has the directories above by their names of before.
        name = os.path.dirname(os.readlink(f"/proc/self/fd/{self._lock}"))
        return os.path.join(os.path.dirname(found), os.path.basename(name))

    @property
    def name(self) -> str:
        """The guest's name, which is that of its directory."""
        return os.path.basename(self.path)

    def socket_path(self, name: str) -> str:
        """A path that is short enough for a socket's address, wherever the directory is."""
        return f"/proc/self/fd/{self.directory}/{name}"

    def read(self, name: str) -> "dict[str, object] | None":
        """A document; None when there is none that makes sense: a host may have crashed."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.directory)
        except OSError:
            return None
        with open(fd, "rb") as file:
            data = file.read(_LARGEST + 1)
        try:
            found = json.loads(data) if len(data) <= _LARGEST else None
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, name: str, document: "dict[str, object]", *, lasting: bool = False) -> None:
        """Replaces a document. One that is `lasting` is on the disk before this returns.

        Raises:
            OSError: when it cannot be written; the old one is still there.
        """
        self.write_bytes(name, json.dumps(document).encode() + b"\n", lasting=lasting)

    def write_bytes(self, name: str, data: bytes, *, lasting: bool = False) -> None:
        """As `write`, of any file."""
        place, _, base = name.rpartition("/")
        fresh = f"{place}/.{base}.new" if place else f".{base}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(fresh, flags, 0o600, dir_fd=self.directory)
        with open(fd, "wb") as file:
            file.write(data)
            if lasting:
                file.flush()
                os.fsync(fd)
        os.replace(fresh, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        if lasting:
            directory = os.open(place or ".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.directory)

    def make_own(self) -> None:
        """Makes what the guest's process may write to, where it is not there yet.

        Raises:
            OSError: when it cannot be made.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(OWN, 0o700, dir_fd=self.directory)

    def take(self) -> int | None:
        """The lock, as a descriptor for children to inherit; None when somebody has it.

        Raises:
            FileNotFoundError: when the guest has been removed meanwhile.
        """
        fd = self._open_lock()
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            raise
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "the guest has been removed")
        return fd

    def is_taken(self) -> bool:
        """Whether somebody has the lock. Looking does not take it, not even for a moment."""
        try:
            fd = os.open(LOCK, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
        except OSError:
            return False
        try:
            asked = _FLOCK.pack(fcntl.F_RDLCK, 0, 0, 0, 0)
            found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
        finally:
            os.close(fd)
        kind, *_ = _FLOCK.unpack(found)
        return bool(kind != fcntl.F_UNLCK)

    def _open_lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(LOCK, flags, 0o600, dir_fd=self.directory)


def came_whole(home: Home) -> bool:
    """Whether all of a guest is here. Of one that comes from another host it is once that one has
    let go of it, which its process here writes down; before, nobody may start it.
    """
    arrived = home.read(ARRIVED)
    return arrived is None or (home.read(WHOLE) or {}).get("migration") == arrived["migration"]


def release(lock: int) -> None:
    """Closes what `Home.take` gave. The lock is let go when the last who inherited it has ended."""
    os.close(lock)
