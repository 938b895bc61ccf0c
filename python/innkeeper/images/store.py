"""Where images live: by content, never written to again.

    HOME/images/DIGEST/{manifest.json, kernel, initrd, root.img}
    HOME/names/NAME                 a symbolic link to ../images/DIGEST
    HOME/guests/NAME/root.qcow2     what a kept guest has written to its disk
    HOME/guests/NAME/image          a symbolic link to the image that it wrote over, which stays
    HOME/building/                  unfinished images; swept by the next build, which holds the lock

HOME is $INNKEEPER_HOME, or innkeeper/ under $XDG_DATA_HOME, or ~/.local/share/innkeeper. DIGEST is
the SHA-256 of the manifest's file digests, so two builds of the same bytes are one image, and a
guest that runs from an image is not disturbed when its name moves on to a newer build.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, ImageNotFound, InvalidInput
from innkeeper.images import manifest
from innkeeper.images.commands import remove_tree
from innkeeper.images.manifest import Manifest

KERNEL: Final = "kernel"
INITRD: Final = "initrd"
ROOT: Final = "root.img"
_BASE: Final = "image"
_CHUNK: Final = 1 << 20
_GUEST_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,62}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A finished image."""

    name: str
    digest: str
    directory: Path
    manifest: Manifest

    @property
    def kernel(self) -> Path:
        return self.directory / KERNEL

    @property
    def initrd(self) -> Path:
        return self.directory / INITRD

    @property
    def root(self) -> Path:
        return self.directory / ROOT

    @property
    def size_on_disk(self) -> int:
        """Bytes that the image really takes; its root disk has holes."""
        return sum(file.stat().st_blocks * 512 for file in self.directory.iterdir())


def check_name(name: str) -> None:
    """
    Raises:
        InvalidInput: when no image can have this name.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name!r} is no image name: lower-case letters, digits, dots and dashes"
        )


def home() -> Path:
    """The store's directory, which need not exist yet."""
    if chosen := os.environ.get("INNKEEPER_HOME"):
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "innkeeper"


class Store:
    """The images of one user."""

    def __init__(self, directory: Path | None = None) -> None:
        self._home = (directory or home()).absolute()

    @property
    def directory(self) -> Path:
        return self._home

    def names(self) -> list[str]:
        """
        Raises:
            HostFailure: when they cannot be listed.
        """
        try:
            return sorted(entry.name for entry in (self._home / "names").iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostFailure(f"cannot use {self._home}: {error.strerror}") from error

    def images(self) -> list[Image]:
        return [self.find(name) for name in self.names()]

    def held_images(self) -> list[Image]:
        """Those that have lost their name to a newer build or by removal, but not a kept guest."""
        named = {image.directory for image in self.images()}
        bases = [self.base(guest) for guest in self.guests()]
        held = {image.directory: image for image in bases if image is not None}
        return [image for directory, image in sorted(held.items()) if directory not in named]

    def find(self, name: str) -> Image:
        """
        Raises:
            InvalidInput: when `name` cannot be an image's.
            ImageNotFound: when there is none.
        """
        link = self._link(name)
        try:
            directory = link.resolve(strict=True)
        except OSError as error:
            raise ImageNotFound(f"there is no image {name!r} in {self._home}") from error
        found = manifest.read(directory)
        return Image(name=name, digest=directory.name, directory=directory, manifest=found)

    def remove(self, name: str) -> None:
        """Forgets `name`, and deletes its image when no other name and no kept guest has it.

        Guests that run from it keep their open files.
        """
        self.find(name)
        with self.locked():
            self._link(name).unlink(missing_ok=True)
            self.sweep_images()

    @property
    def guests_directory(self) -> Path:
        """Where each guest that stays has a directory of its name."""
        return self._home / "guests"

    def hold_image(self, directory: Path, image: Image) -> None:
        """Keeps `image` for the guest whose directory this is, or will be.

        Raises:
            OSError: when the link cannot be made.
        """
        self.hold(directory, image.digest)

    def hold(self, directory: Path, digest: str) -> None:
        """Likewise, the image of this digest, which is there."""
        (directory / _BASE).symlink_to(Path("..") / ".." / "images" / digest)

    def has(self, digest: str) -> bool:
        """Whether the image of this digest is there."""
        return _DIGEST.fullmatch(digest) is not None and (self._home / "images" / digest).is_dir()

    def guests(self) -> list[str]:
        """The names of kept guests."""
        directories = self.guests_directory.glob("*")
        return sorted(each.name for each in directories if (each / _BASE).is_symlink())

    def base(self, guest: str) -> Image | None:
        """The image that a kept guest has written over, or nothing when it is gone."""
        try:
            directory = (self.guest_directory(guest) / _BASE).resolve(strict=True)
        except OSError:
            return None
        found = manifest.read(directory)
        return Image(name=found.name, digest=directory.name, directory=directory, manifest=found)

    def kept_guest(self, name: str, image: Image) -> Path:
        """Where the guest `name` keeps what it writes over `image`; made when it is new."""
        directory = self.guest_directory(name)
        link = directory / _BASE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                self.hold_image(directory, image)
        except OSError as error:
            raise HostFailure(f"cannot make {directory}: {error.strerror}") from error
        return directory

    def kept_image(self, name: str, wanted: str) -> Image | None:
        """The image that the kept guest `name` goes on from, or nothing when it is new.

        What it wrote fits over no other image, not even over a newer one of the same name.

        Raises:
            InvalidInput: when it is not one of those that were named `wanted`.
        """
        if not (self.guest_directory(name) / _BASE).is_symlink():
            return None
        found = self.base(name)
        if found is None:
            raise ImageNotFound(f"the image of the kept guest {name!r} is gone")
        # The same bytes may have been built under two names.
        if found.name != wanted and self._link(wanted).resolve() != found.directory:
            raise InvalidInput(f"the kept guest {name!r} is one of {found.name}, not of {wanted}")
        return replace(found, name=wanted)

    @contextmanager
    def building(self) -> Iterator[Path]:
        """An empty directory to build in, while nobody else builds; deleted afterwards."""
        with self.locked():
            unfinished = self._home / "building"
            # Holding the lock, whatever lies there was left by a builder that was killed.
            remove_tree(unfinished)
            unfinished.mkdir(exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix="image-", dir=unfinished))
            # The first process inside a chroot may be another user: it must be able to pass here.
            scratch.chmod(0o755)
            try:
                yield scratch
            finally:
                remove_tree(scratch)

    def publish(self, directory: Path, contents: Manifest) -> Image:
        """Moves a directory from `building` into the store and points its name to it."""
        contents.write(directory)
        digest = _digest(contents)
        target = self._home / "images" / digest
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            for file in directory.iterdir():
                file.chmod(0o444)
            directory.rename(target)
        self._point(contents.name, target)
        self.sweep_images()
        return self.find(contents.name)

    def call(self, image: Image, name: str) -> Image:
        """Gives `image` another name. The caller has the lock."""
        self._point(name, image.directory)
        self.sweep_images()
        return self.find(name)

    def by_digest(self, digest: str) -> Image | None:
        """The image of this content, whatever it is called here."""
        directory = self._home / "images" / digest
        if _DIGEST.fullmatch(digest) is None or not directory.is_dir():
            return None
        found = manifest.read(directory)
        return Image(name=found.name, digest=digest, directory=directory, manifest=found)

    def adopt(self, directory: Path) -> Image:
        """Moves a directory with an image's files and its manifest into the store, without a name:
        for a guest that is about to hold it. The caller has the lock, and the files are its own.

        Raises:
            HostFailure: when the files are not those of the manifest.
            OSError: when they cannot be moved.
        """
        contents = manifest.read(directory)
        for name, digest in contents.files.items():
            if Path(name).name != name or digest_file(directory / name) != digest:
                raise HostFailure(f"{directory / name} is not what its manifest says")
        digest = _digest(contents)
        target = self._home / "images" / digest
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            for file in directory.iterdir():
                file.chmod(0o444)
            directory.rename(target)
        return Image(name=contents.name, digest=digest, directory=target, manifest=contents)

    def _link(self, name: str) -> Path:
        check_name(name)
        return self._home / "names" / name

    def _point(self, name: str, target: Path) -> None:
        link = self._link(name)
        link.parent.mkdir(exist_ok=True)
        fresh = link.with_name(f".{name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("..") / "images" / target.name)
        fresh.rename(link)

    def guest_directory(self, name: str) -> Path:
        """Where a kept guest of this name is, if there is one."""
        if _GUEST_NAME.fullmatch(name) is None:
            raise InvalidInput(f"{name!r} is no guest name: letters, digits and dashes")
        return self.guests_directory / name

    def sweep_images(self) -> None:
        used = {self._link(name).resolve() for name in self.names()}
        used |= {link.resolve() for link in self.guests_directory.glob(f"*/{_BASE}")}
        images = self._home / "images"
        # Behind a link lies another store: what nobody here uses may be in use there.
        ours = images.is_dir() and not images.is_symlink()
        found = list(images.resolve().iterdir()) if ours else []
        for directory in found:
            # A link is somebody's who keeps an image elsewhere.
            if directory not in used and not directory.is_symlink():
                # What is left of it, should this end here, is not taken for an image that is there.
                gone = directory.with_name(f".gone-{secrets.token_hex(8)}")
                with contextlib.suppress(OSError):
                    directory.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = f"cannot use {self._home} as image store: {error.strerror}"
            raise HostFailure(reason) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def digest_file(path: Path) -> str:
    """SHA-256 over the file's size and those of its mebibytes that are not all zero, with their
    numbers: the same for every file of the same content, and quick where a disk has holes."""
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    position = 0
    with path.open("rb") as file:
        while (position := _next_data(file.fileno(), position)) < size:
            position -= position % _CHUNK
            chunk = os.pread(file.fileno(), _CHUNK, position)
            if chunk.count(0) != len(chunk):
                digest.update((position // _CHUNK).to_bytes(8, "little") + chunk)
            position += _CHUNK
    return digest.hexdigest()


def _next_data(fd: int, position: int) -> int:
    try:
        return os.lseek(fd, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return os.fstat(fd).st_size
        raise


def _digest(contents: Manifest) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(contents.files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
