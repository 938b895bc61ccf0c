"""One client of a control socket: greeting, negotiation, commands.

Spec: QMP specification, "Server Greeting", "Capabilities Negotiation", "Issuing Commands",
"Commands Responses".
"""

import json
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from innkeeper.vm.qmp import schema
from innkeeper.vm.qmp.parser import Malformed, Overrun, Splitter, parse

Handler = Callable[[Mapping[str, object]], object]

# What came with a command that takes a descriptor, among its arguments.
DESCRIPTOR: Final = "descriptor"
_TAKING: Final = ("add-fd", "getfd")
_MOST_DESCRIPTORS: Final = 16
_MEMBERS: Final = frozenset(("execute", "arguments", "id"))


class CommandError(Exception):
    """A command that could not do its work: a sentence for the client."""


class Session:
    """`send` takes whole messages; `hang_up` is called when there is no going on."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        version: Mapping[str, object],
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
    ) -> None:
        self._handlers = handlers
        self._send = send
        self._hang_up = hang_up
        self._splitter = Splitter()
        self._descriptors: deque[int] = deque()
        self.negotiated = False
        self.tell({"QMP": {"version": version, "capabilities": []}})

    def receive(self, data: bytes) -> None:
        try:
            texts = self._splitter.push(data)
        except Overrun as overrun:
            self.tell(_error("GenericError", str(overrun)))
            self._hang_up()
            return
        for text in texts:
            self.tell(self._answer(text))

    def receive_descriptors(self, descriptors: Sequence[int]) -> None:
        """They are this session's, until a command takes them."""
        self._descriptors.extend(descriptors)
        while len(self._descriptors) > _MOST_DESCRIPTORS:
            os.close(self._descriptors.popleft())

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def tell(self, message: Mapping[str, object]) -> None:
        self._send(encode(message))

    def _answer(self, text: bytes) -> dict[str, object]:
        try:
            request = parse(text)
        except Malformed as malformed:
            return _error("GenericError", str(malformed))
        if not isinstance(request, dict):
            return _error("GenericError", "QMP input must be a JSON object")
        answer = self._execute(request)
        return {**answer, "id": request["id"]} if "id" in request else answer

    def _execute(self, request: Mapping[str, object]) -> dict[str, object]:
        for member in request:
            if member not in _MEMBERS:
                return _error("GenericError", f"QMP input member '{member}' is unexpected")
        if "execute" not in request:
            return _error("GenericError", "QMP input lacks member 'execute'")
        command, arguments = request["execute"], request.get("arguments", {})
        if not isinstance(command, str):
            return _error("GenericError", "QMP input member 'execute' must be a string")
        if not isinstance(arguments, dict):
            return _error("GenericError", "QMP input member 'arguments' must be an object")
        if refusal := self._refusal(command):
            return _error("CommandNotFound", refusal)
        return self._run(command, arguments)

    def _refusal(self, command: str) -> str | None:
        if self.negotiated and command == "qmp_capabilities":
            return "Capabilities negotiation is already complete, command ignored"
        if not self.negotiated and command != "qmp_capabilities":
            return "Expecting capabilities negotiation with 'qmp_capabilities'"
        if command not in schema.COMMANDS:
            return f"The command {command} has not been found"
        return None

    def _run(self, command: str, arguments: Mapping[str, object]) -> dict[str, object]:
        try:
            schema.check(command, arguments)
            if command == "qmp_capabilities":
                self.negotiated = True
                return {"return": {}}
            if command in _TAKING:
                arguments = {**arguments, DESCRIPTOR: self._descriptor()}
            found = self._handlers[command](arguments)
        except (schema.Mismatch, CommandError) as error:
            return _error("GenericError", str(error))
        except (ValueError, TypeError, OverflowError, OSError) as error:
            # A value that nothing here can be: its client's mistake, and no end of the guest.
            return _error("GenericError", f"{command} cannot be done: {error!r}")
        except Exception as error:
            # Whatever it is, our own mistake: it shall be found, and cost nobody their guest.
            traceback.print_exc()
            sys.stderr.flush()
            return _error(
                "GenericError", f"{command} failed by a mistake of Innkeeper's: {error!r}"
            )
        return {"return": {} if found is None else found}

    def _descriptor(self) -> int:
        if not self._descriptors:
            raise CommandError("No file descriptor supplied via SCM_RIGHTS")
        return self._descriptors.popleft()


def encode(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


def _error(kind: str, description: str) -> dict[str, object]:
    return {"error": {"class": kind, "desc": description}}
