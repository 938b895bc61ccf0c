"""All guests of one user, by name.

    HOME/guests/NAME/     one guest, see home.py; a kept guest's disk is in there as well
    HOME/guests/.lock     held for the moment in which a name comes, goes or changes
    HOME/guests/.new-…    a guest that is being made; .gone-… one that is being removed

HOME is the image store's. It is not under XDG_RUNTIME_DIR, although sockets are in it: that is set
in some of a person's sessions and not in others, and all of them shall see the same guests.
A name is a directory's, so it is given to one guest, at once and whole, by the kernel.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator

from innkeeper.errors import GuestNotFound, HostFailure, InvalidInput, NameInUse
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_UNFINISHED = (".new-", ".gone-")


def check_name(name: str) -> None:
    """
    Raises:
        InvalidInput: when no guest can have this name.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} is no guest name: letters, digits and dashes, at most 63")


class Registry:
    """`directory` holds the guests; it need not be there yet."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Of those that are defined, whether they run or not.

        Raises:
            HostFailure: when they cannot be listed.
        """
        try:
            found = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostFailure(f"cannot use {self.directory}: {error.strerror}") from error
        return sorted(
            name
            for name in found
            if _NAME.fullmatch(name)
            and os.path.exists(os.path.join(self.directory, name, files.DEFINITION))
        )

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Home]:
        """
        Raises:
            InvalidInput: when no guest can have that name.
            GuestNotFound: when none has.
        """
        check_name(name)
        try:
            home = Home.open(os.path.join(self.directory, name))
        except OSError as error:
            raise GuestNotFound(f"there is no guest {name!r}") from error
        with home:
            if home.read(files.DEFINITION) is None:
                raise GuestNotFound(f"there is no guest {name!r}")
            yield home

    def create(self, name: str, fill: Callable[[Home], None]) -> None:
        """Makes a guest of what `fill` puts into its directory. It appears whole or not at all.

        Raises:
            NameInUse: when there is a guest of that name, be it only a kept disk.
            HostFailure: when it cannot be written.
        """
        check_name(name)
        with self._changing():
            self._refuse_taken(name)
            fresh = self._path(_aside("new"))
            os.mkdir(fresh, 0o700)
            with Home.open(fresh) as home:
                fill(home)
            os.rename(fresh, self._path(name))

    def rename(self, old: str, new: str) -> None:
        """
        Raises:
            GuestNotFound, NameInUse, HostFailure.
        """
        check_name(new)
        with self.open(old), self._changing():
            self._refuse_taken(new)
            try:
                os.rename(self._path(old), self._path(new))
            except FileNotFoundError as error:
                raise GuestNotFound(f"there is no guest {old!r}") from error

    def remove(self, home: Home) -> None:
        """Deletes a guest whose lock the caller holds, with all that it has written.

        Raises:
            HostFailure: when something of it cannot be deleted.
        """
        with self._changing():
            gone = self._path(_aside("gone"))
            os.rename(home.path, gone)
            _remove(gone)

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _refuse_taken(self, name: str) -> None:
        if not os.path.lexists(self._path(name)):
            return
        if os.path.exists(os.path.join(self._path(name), files.DEFINITION)):
            raise NameInUse(f"there is a guest {name!r} already; inn rm {name} removes it")
        raise NameInUse(f"there is a kept guest {name!r}; inn guest rm {name} removes it")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """While nobody else changes names. Sweeps what a killed process has left unfinished."""
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            lock = os.open(self._path(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for name in os.listdir(self.directory):
                    if name.startswith(_UNFINISHED):
                        _remove(self._path(name), ignore_errors=True)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise HostFailure(f"cannot use {self.directory}: {error.strerror}") from error


def _aside(why: str) -> str:
    """A name beside those of guests, which nobody has."""
    return f".{why}-{os.urandom(8).hex()}"


def _remove(directory: str, *, ignore_errors: bool = False) -> None:
    # Most who look for a guest remove none, and shutil loads what packs archives.
    from shutil import rmtree

    rmtree(directory, ignore_errors=ignore_errors)


def registry() -> Registry:
    """This user's."""
    return Registry(os.path.join(home(), "guests"))


def home() -> str:
    """As `innkeeper.images.store.home`, which is a test's to hold."""
    if chosen := os.environ.get("INNKEEPER_HOME"):
        return os.path.abspath(chosen)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(os.path.abspath(data), "innkeeper")
