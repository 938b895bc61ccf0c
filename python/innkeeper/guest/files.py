"""Files to and from a guest, as tar archives through the standard streams of its own tar(1).

As `docker cp` has it: a directory or file goes into a directory that is there, and becomes what is
named where there is none; the content of a directory `SRC/.` goes without it.
"""

import contextlib
import io
import os
import posixpath
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

from innkeeper.errors import InnkeeperError, InvalidInput
from innkeeper.guest.archive import Pieces, Unpacker, members
from innkeeper.guest.commands import Commands
from innkeeper.guest.process import Output, Process

Progress = Callable[[int], None]
"""Takes how many bytes have gone so far."""

_PIECE: Final = 1 << 16
_BLOCK: Final = 512
# What and how large: d, f or nothing, and bytes. Its argument is the path.
_LOOK: Final = """
if [ -d "$1" ]; then echo d; elif [ -e "$1" ] || [ -L "$1" ]; then echo f; else echo -; fi
du -sb -- "$1" 2>/dev/null | cut -f1
"""


class CopyFailed(InnkeeperError):
    """The guest or the host could not take or give a file."""

    code = "copy_failed"


def look(guest: Commands, path: str) -> tuple[str, int]:
    """`d` for a directory, `f` for what else there is, `-` for nothing; and its size in bytes."""
    with guest.start(["sh", "-c", _LOOK, "sh", path]) as looking:
        looking.end_input()
        said = b""
        for piece in looking.stdout:
            said += piece
            if len(said) > _PIECE:
                raise CopyFailed(f"the guest does not say what {path} is")
    words = said.decode(errors="replace").split()
    kind = words[0] if words and words[0] in ("d", "f") else "-"
    size = words[1] if len(words) > 1 and words[1].isdigit() and len(words[1]) < 16 else "0"
    return kind, int(size)


def size_of(source: Path) -> int:
    """Bytes of all files, as far as they can be looked at."""
    total = 0
    for directory, _, names in os.walk(source):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(directory, name)).st_size
    with contextlib.suppress(OSError):
        total += 0 if source.is_dir() else source.stat().st_size
    return total


def send(guest: Commands, path: str, target: str, progress: Progress) -> list[str]:
    """Copies a file or directory of the host into the guest, where it belongs to root; the names of
    what is left out, which are devices and the like.

    Raises:
        InvalidInput: when there is no such file, or no directory to put it in.
        CopyFailed: when it could not be read here or written there.
        GuestNotRunning.
    """
    source = Path(path)
    # Path itself forgets the dot at the end.
    inside = os.path.basename(path) in (".", "..") or source.name == ""  # noqa: PTH119
    if not os.path.lexists(source):
        raise InvalidInput(f"there is no {source}")
    if not (source.is_symlink() or source.is_file() or source.is_dir()):
        raise InvalidInput(f"{source} is no file and no directory")
    kind, _ = look(guest, target)
    directory, name = _place(kind, target, "" if inside else source.name)
    if kind == "f" and source.is_dir():
        raise InvalidInput(f"{target} is no directory in the guest")
    if kind == "-" and look(guest, directory)[0] != "d":
        raise InvalidInput(f"there is no directory {directory} in the guest")
    left_out: list[str] = []
    _unpack_there(guest, directory, _archive(source, name or ".", progress, left_out))
    return left_out


def send_archive(guest: Commands, pieces: Iterator[bytes], target: str) -> None:
    """Unpacks a tar archive below a directory of the guest.

    Raises:
        InvalidInput, CopyFailed, GuestNotRunning.
    """
    if look(guest, target)[0] != "d":
        raise InvalidInput(f"there is no directory {target} in the guest")
    _unpack_there(guest, target, pieces)


def receive(guest: Commands, source: str, path: str, progress: Progress) -> list[str]:
    """Copies a file or directory of the guest to the host; the names of what is left out, which are
    devices and the like. No permission to be another user comes along, and no link is followed.

    Raises:
        InvalidInput: when the guest has no such file, or there is no directory to put it in.
        CopyFailed, BadArchive, GuestNotRunning.
    """
    target = Path(path)
    inside = posixpath.basename(source) == "."
    kind, _ = look(guest, source)
    name = posixpath.basename(posixpath.normpath(source))
    there = "d" if target.is_dir() else "f" if os.path.lexists(target) else "-"
    directory, first = _place(there, path, "" if inside else name)
    if there == "f" and kind == "d":
        raise InvalidInput(f"{target} is no directory")
    try:
        if inside:
            Path(directory, first).mkdir(exist_ok=True)
            directory, first = str(Path(directory, first)), ""
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"cannot copy to {directory}: {error.strerror}") from error
    unpacker = Unpacker(root, os.fsencode(first))
    done = 0

    def counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done
        for piece in pieces:
            done += len(piece)
            progress(done)
            yield piece

    try:
        with contextlib.closing(receive_archive(guest, source)) as pieces:
            for member, content in members(Pieces(counted(pieces)).read):
                unpacker.unpack(member, content)
            for _ in pieces:
                pass
        unpacker.finish()
    except OSError as error:
        raise CopyFailed(f"cannot write {error.filename or directory}: {error.strerror}") from error
    finally:
        os.close(root)
    if kind == "f" and unpacker.left_out:
        raise InvalidInput(f"{source} in the guest is no file and no directory")
    return unpacker.left_out


def receive_archive(guest: Commands, source: str) -> Generator[bytes, None, None]:
    """A file or directory of the guest as a tar archive, in pieces.

    Raises:
        InvalidInput, CopyFailed, GuestNotRunning.
    """
    if look(guest, source)[0] == "-":
        raise InvalidInput(f"there is no {source} in the guest")
    if posixpath.basename(source) == ".":
        directory, name = posixpath.normpath(source), "."
    else:
        whole = posixpath.normpath(source)
        directory, name = posixpath.dirname(whole) or ".", posixpath.basename(whole) or "."
    argv = ["tar", "-C", directory, "-cf", "-", "--", f"./{name}"]
    with _tar(guest, argv, f"read {source}") as tar:
        tar.end_input()
        yield from tar.stdout


def _place(kind: str, target: str, name: str) -> tuple[str, str]:
    """The directory that is unpacked in, and what becomes of the first part of names there."""
    if kind == "d":
        return target, name
    if target.endswith("/") and kind == "-":
        raise InvalidInput(f"there is no directory {target}")
    directory, base = posixpath.split(target.rstrip("/"))
    return directory or ".", base


def _unpack_there(guest: Commands, directory: str, pieces: Iterator[bytes]) -> None:
    argv = ["tar", "-C", directory, "--no-same-owner", "-xpf", "-"]
    with _tar(guest, argv, f"write {directory}") as tar:
        for piece in pieces:
            tar.write(piece)
        tar.end_input()
        for _ in tar.stdout:
            pass


@contextlib.contextmanager
def _tar(guest: Commands, argv: list[str], what: str) -> Iterator[Process]:
    """Runs it to its end.

    Raises:
        CopyFailed: when it could not do `what`.
    """
    complaints: list[bytes] = []

    def hear(stderr: Output) -> None:
        # To its end: who writes more than anybody reads stands still.
        for piece in stderr:
            if not complaints:
                complaints.append(piece[:1000])

    with guest.start(argv) as tar:
        hearing = threading.Thread(target=hear, args=(tar.stderr,), name="stderr", daemon=True)
        hearing.start()
        yield tar
        status = tar.wait()
        hearing.join()
    if status:
        raise CopyFailed(f"the guest could not {what}: {_sentence(complaints)}")


def _sentence(complaints: list[bytes]) -> str:
    lines = b"".join(complaints).decode(errors="replace").strip().splitlines()
    # A guest's words: nothing that a terminal would act upon.
    return "".join(each for each in (lines or ["no message"])[0] if each.isprintable())


def _archive(source: Path, name: str, progress: Progress, left_out: list[str]) -> Iterator[bytes]:
    """A file or a directory, whose names begin with `name`, as a tar archive."""
    done = 0
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        for path, inner in _walk(source, name):
            # A file of several names is sent as several: their first may not be part of this.
            tar.inodes.clear()  # type: ignore[attr-defined]
            try:
                info = tar.gettarinfo(path, inner)
            except OSError as error:
                raise CopyFailed(f"cannot read {path}: {error.strerror}") from error
            if info is None or not (info.isreg() or info.isdir() or info.issym()):
                left_out.append(str(path))
                continue
            # The folder's owner is nobody whom the guest knows.
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
            if not info.isreg():
                continue
            for piece in _content(path, info.size):
                done += len(piece)
                progress(done)
                yield piece
            yield bytes(-info.size % _BLOCK)
    yield bytes(2 * _BLOCK)


def _content(path: Path, size: int) -> Iterator[bytes]:
    """As many bytes as the header says, whatever becomes of the file meanwhile."""
    left = size
    try:
        with path.open("rb") as file:
            while left:
                piece = file.read(min(left, _PIECE)) or bytes(min(left, _PIECE))
                left -= len(piece)
                yield piece
    except OSError as error:
        raise CopyFailed(f"cannot read {path}: {error.strerror}") from error


def _walk(source: Path, name: str) -> Iterator[tuple[Path, str]]:
    yield source, name
    if source.is_dir() and not (source.is_symlink() and name != "."):
        try:
            below = sorted(os.scandir(source), key=lambda entry: entry.name)
        except OSError as error:
            raise CopyFailed(f"cannot read {source}: {error.strerror}") from error
        for entry in below:
            path = Path(entry.path)
            inner = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(path, inner)
            else:
                yield path, inner
