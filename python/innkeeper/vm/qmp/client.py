"""The other end of a control socket, as `inn` and the SDK use it."""

import json
import socket
import time
from typing import Final, Self

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError
from innkeeper.vm.detached.home import CONTROL, Home

_PATIENCE: Final = 30.0
_LARGEST: Final = 16 << 20


class CommandRefused(InnkeeperError):
    """The guest's process did not do what it was told; the text is its own."""

    code = "command_refused"


class Client:
    """Connects at once.

    Raises:
        GuestNotRunning: when nobody answers.
    """

    def __init__(self, home: Home, patience: float = _PATIENCE) -> None:
        self._home = home
        self._bytes = bytearray()
        self._patience = patience
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(home.socket_path(CONTROL))
        except OSError as error:
            self._socket.close()
            raise GuestNotRunning(f"the guest {home.name!r} is not running") from error
        try:
            self._receive(time.monotonic() + patience)
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def give(self, name: str, descriptor: int) -> None:
        """Hands a descriptor to the guest's process, which calls it by this name.

        Raises:
            CommandRefused, GuestNotRunning, HostFailure: as `execute`.
        """
        self.execute("getfd", descriptor=descriptor, fdname=name)

    def pass_file(self, fd: int) -> int:
        """Hands a descriptor over, which stays the caller's as well; the number of its set.

        Raises:
            CommandRefused, GuestNotRunning, HostFailure: as `execute`.
        """
        told = self.execute("add-fd", descriptor=fd)
        assert isinstance(told, dict)
        return int(told["fdset-id"])

    def execute(
        self, command: str, *, descriptor: int | None = None, **arguments: object
    ) -> object:
        """What the command returns; `descriptor` is handed over with it.

        Raises:
            CommandRefused: when it could not do its work.
            GuestNotRunning: when the guest's process has gone.
            HostFailure: when it does not answer in time, whatever else it says.
        """
        until = time.monotonic() + self._patience
        request = json.dumps({"execute": command, "arguments": arguments})
        self._socket.settimeout(self._patience)
        try:
            data = request.encode() + b"\n"
            if descriptor is not None:
                # Whatever follows, the first byte has it.
                sent = socket.send_fds(self._socket, [data], [descriptor])
                data = data[sent:]
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost() from error
        while time.monotonic() < until:
            answer = self._receive(until)
            if "return" in answer:
                return answer["return"]
            if isinstance(refused := answer.get("error"), dict):
                raise CommandRefused(str(refused.get("desc")))
        raise self._silent()

    def _receive(self, until: float) -> dict[str, object]:
        while (end := self._bytes.find(b"\n")) < 0:
            if (left := until - time.monotonic()) <= 0:
                raise self._silent()
            try:
                self._socket.settimeout(left)
                data = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise self._silent() from error
            except OSError as error:
                raise self._lost() from error
            if not data or len(self._bytes) > _LARGEST:
                raise self._lost()
            self._bytes += data
        line = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise self._lost() from error
        if not isinstance(message, dict):
            raise self._lost()
        return message

    def _lost(self) -> GuestNotRunning:
        return GuestNotRunning(f"the guest {self._home.name!r} has ended")

    def _silent(self) -> HostFailure:
        return HostFailure(f"the guest {self._home.name!r} does not answer")
