"""A guest that comes from another host, seen from its process here.

It finds a document in its directory `saved`, before its jail: by which socket it comes, and into
which files its disks go. Its memory comes into a file without a name, and it begins as that, as a
guest does that was saved. It runs once the source has said that it does not.
"""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, Final, Self

from innkeeper.errors import HostFailure
from innkeeper.guest.recorder import VERSION, Layers
from innkeeper.guest.resumption import Resumption
from innkeeper.vm import inside
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.moving import Incoming
from innkeeper.vm.saved import Beginning, LayerFiles

# What its memory may have beside what it was asked to have: firmware's ROM, and what lies between.
_BESIDE: Final = 64 << 20
# Of the pictures that a GPU keeps and its video memory, above all.
_STATE: Final = 640 << 20
_ABOUT: Final = 1 << 20
_LONGEST: Final = 1 << 20


class Arrival:
    """Owns its descriptors."""

    def __init__(
        self, incoming: Incoming, memory: int, pages: int, index: int, disks: list[tuple[int, int]]
    ) -> None:
        self._incoming = incoming
        self._memory = memory
        self._pages, self._index = pages, index
        self._disks = disks

    @classmethod
    def take(cls, home: Home) -> Self | None:
        """None where nobody comes. Whoever comes, comes once.

        Raises:
            HostFailure: when it cannot be received.
        """
        try:
            saved = inside.open_directory(home.directory, files.SAVED)
        except FileNotFoundError:
            return None
        try:
            if savings.ARRIVAL not in os.listdir(saved):
                return None
            document = json.loads(inside.read(saved, savings.ARRIVAL, _LONGEST))
            os.unlink(savings.ARRIVAL, dir_fd=saved)
            return cls._open(home, saved, document)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HostFailure(f"cannot receive the guest: {error}") from error
        finally:
            os.close(saved)

    @classmethod
    def _open(cls, home: Home, saved: int, document: Mapping[str, Any]) -> Self:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.connect(home.socket_path(f"{files.SAVED}/{savings.ARRIVAL_SOCKET}"))
            incoming = Incoming(channel.fileno())
        if document.get("post_copy"):
            # As long as there is the right to it.
            incoming.allow_post_copy()
        flags = os.O_RDWR | os.O_CLOEXEC
        disks = [
            (os.open(name, flags | os.O_NOFOLLOW, dir_fd=saved), int(size))
            for name, size in document["disks"]
        ]
        pages, index = (os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=saved) for _ in "pi")
        return cls(incoming, int(document["memory"]), pages, index, disks)

    def receive(self) -> Resumption:
        """All of the guest as it was when it stopped there, but for memory that comes later.

        Raises:
            HostFailure: when it does not come whole.
        """
        state, about = self._incoming.receive(
            self._pages,
            self._index,
            self._disks,
            most_memory=self._memory + _BESIDE,
            most_state=_STATE,
            most_about=_ABOUT,
        )
        for disk, _ in self._disks:
            os.close(disk)
        try:
            told = json.loads(about)
        except (ValueError, RecursionError) as error:
            raise HostFailure("the other host says nonsense of the guest") from error
        if not isinstance(told, dict) or told.get("version") != VERSION:
            raise HostFailure("the guest comes from another version of Innkeeper")
        layers = Layers("", [LayerFiles(pages=self._pages, index=self._index)])
        beginning = Beginning(
            state=state, layers=tuple(layers.files), moved=True, late=self._incoming.late
        )
        return Resumption(beginning=beginning, layers=layers, about=told)

    def own(self) -> None:
        """Returns once the guest is ours.

        Raises:
            HostFailure: when it is not.
        """
        self._incoming.ready()

    def began(self) -> None:
        """The guest runs here."""
        self._incoming.running()

    def refuse(self, reason: str) -> None:
        with contextlib.suppress(OSError):
            self._incoming.refuse(reason)
