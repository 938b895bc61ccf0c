"""What happened to this user's guests, a line of JSON each, for `inn events`.

Whoever does a thing writes it down, by one append, which the kernel does not mix with another's.
The file is replaced when it is long, and whoever follows it goes on in the new one.
"""

import contextlib
import json
import os
import time

from innkeeper.vm.detached.home import Home

# In the directory that holds all guests, by a name that no guest can have. It is a directory, which
# is all that a guest's process may write to beside its own.
DIRECTORY = ".events"
NAME = "events.jsonl"
OLD = "events.jsonl.1"
_LONGEST = 1 << 20


def tell(home: Home, event: str, **details: object) -> None:
    """Never fails: a full disk must not end a guest."""
    line = {"time": time.time(), "event": event, "guest": home.name, **details}
    try:
        directory = open_directory(home)
    except OSError:
        return
    try:
        _append(directory, json.dumps(line).encode() + b"\n")
    except OSError:
        pass
    finally:
        os.close(directory)


def open_directory(home: Home) -> int:
    """Where the journal is; made when it is not there yet.

    Raises:
        OSError: when it can be neither opened nor made.
    """
    name = f"../{DIRECTORY}"
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=home.directory)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=home.directory)
        return os.open(name, flags, dir_fd=home.directory)


def _append(directory: int, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    fd = os.open(NAME, flags, 0o600, dir_fd=directory)
    try:
        os.write(fd, line)
        if os.fstat(fd).st_size > _LONGEST:
            # Two who find it long at once: the second renames a short one, and no line is lost.
            os.replace(NAME, OLD, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(fd)
