"""Descriptors that come over a control socket, in sets: `add-fd` and what names them.

Spec: QEMU documentation, "QEMU QMP Reference Manual", commands add-fd, remove-fd, query-fdsets.
"""

import os
import re
from collections.abc import Mapping
from typing import Final

from innkeeper.vm.qmp.session import DESCRIPTOR, CommandError, Handler

MOST: Final = 64
_NAME: Final = re.compile(r"/dev/fdset/(\d{1,9})")


class DescriptorSets:
    """One descriptor a set: whoever passes several makes several sets."""

    def __init__(self) -> None:
        self._sets: dict[int, int] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            "add-fd": self._add,
            "query-fdsets": lambda _: [
                {"fdset-id": number, "fds": [{"fd": fd}]} for number, fd in self._sets.items()
            ],
            "remove-fd": self._remove,
        }

    def named(self, filename: str) -> int | None:
        """The set that a name such as /dev/fdset/3 is of; None for other names.

        Raises:
            CommandError: when there is no such set.
        """
        match = _NAME.fullmatch(filename)
        if match is None:
            return None
        return self._known(int(match[1]))

    def take(self, number: int) -> int:
        """The set's descriptor, which is the caller's from here on.

        Raises:
            CommandError: when there is no such set.
        """
        return self._sets.pop(self._known(number))

    def _known(self, number: int) -> int:
        if number not in self._sets:
            raise CommandError(f"File descriptor set {number} was not found")
        return number

    def _add(self, arguments: Mapping[str, object]) -> object:
        fd = arguments[DESCRIPTOR]
        assert isinstance(fd, int)
        try:
            number = self._free(arguments.get("fdset-id"))
        except CommandError:
            os.close(fd)
            raise
        self._sets[number] = fd
        return {"fdset-id": number, "fd": fd}

    def _free(self, wanted: object) -> int:
        """
        Raises:
            CommandError: when there can be no such set, or no other.
        """
        if len(self._sets) >= MOST:
            raise CommandError(f"there are {MOST} file descriptor sets at most")
        if wanted is None:
            return next(free for free in range(MOST) if free not in self._sets)
        assert isinstance(wanted, int)
        if wanted < 0 or wanted in self._sets:
            raise CommandError(f"file descriptor set {wanted} cannot be made: it has one")
        return wanted

    def _remove(self, arguments: Mapping[str, object]) -> None:
        number = arguments["fdset-id"]
        assert isinstance(number, int)
        os.close(self.take(number))
