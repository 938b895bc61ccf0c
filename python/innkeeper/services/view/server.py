"""Serves the page, and joins its WebSockets to the guest's sockets.

Whoever knows the token may do with the guest what its owner may, so it is in every path, and as
long as nobody guesses. Names of hosts other than this one are refused, and so are pages of others:
neither a page in the same browser nor a name that leads here gets in.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from innkeeper.services.view import http, websocket

HOST: Final = "127.0.0.1"
MOST: Final = 32  # connections at a time
_CHUNK: Final = 64 * 1024
# Seconds in which a request has to come.
_PATIENCE: Final = 10.0


class PageServer:
    """`files` are directories by the first word of a path, `sockets` Unix sockets likewise."""

    def __init__(self, files: Mapping[str, Path], sockets: Mapping[str, str]) -> None:
        self._files = files
        self._sockets = sockets
        self._token = secrets.token_urlsafe(24)
        # How many more may come.
        self.room = MOST
        self._port = 0

    async def start(self, port: int) -> asyncio.Server:
        """
        Raises:
            OSError: when the port is taken.
        """
        server = await asyncio.start_server(self._come, HOST, port, limit=http.LONGEST_HEAD)
        self._port = server.sockets[0].getsockname()[1]
        return server

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/{self._token}/"

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.room == 0:
            writer.close()
            return
        self.room -= 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._serve(reader, writer)
        finally:
            self.room += 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            writer.write(http.response("431 Request Header Fields Too Large", b""))
            return
        request = http.parse(head)
        if request is None or request.method != "GET":
            writer.write(http.response("400 Bad Request", b"this is no request for a page\n"))
        elif not self._is_ours(request):
            writer.write(http.response("403 Forbidden", b"inn view printed another address\n"))
        else:
            _, _, first, *rest = f"{request.path}/".split("/")
            if first in self._sockets and "sec-websocket-key" in request.fields:
                await self._bridge(request, self._sockets[first], reader, writer)
                return
            root = self._files.get(first if rest[:-1] else "")
            name = "/".join(rest[:-1]) if rest[:-1] else first or "index.html"
            missing = http.response("404 Not Found", b"there is nothing here\n")
            writer.write(missing if root is None else http.file(root, name))
        await writer.drain()

    def _is_ours(self, request: http.Request) -> bool:
        hosts = {f"{name}:{self._port}" for name in (HOST, "localhost")}
        origin = request.fields.get("origin")
        if request.fields.get("host") not in hosts:
            return False
        if origin is not None and origin.removeprefix("http://") not in hosts:
            return False
        token = request.path.removeprefix("/").partition("/")[0]
        return secrets.compare_digest(token.encode(), self._token.encode())

    async def _bridge(
        self,
        request: http.Request,
        path: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            theirs, ours = await asyncio.open_unix_connection(path)
        except OSError:
            writer.write(http.response("503 Service Unavailable", b"the guest does not run\n"))
            await writer.drain()
            return
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {websocket.accept(request.fields['sec-websocket-key'])}",
        ]
        if "binary" in request.fields.get("sec-websocket-protocol", ""):
            lines.append("Sec-WebSocket-Protocol: binary")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        both = (
            asyncio.create_task(_from_browser(reader, ours, writer)),
            asyncio.create_task(_to_browser(theirs, writer)),
        )
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            ours.close()


async def _from_browser(
    reader: asyncio.StreamReader, guest: asyncio.StreamWriter, browser: asyncio.StreamWriter
) -> None:
    data = bytearray()
    while chunk := await reader.read(_CHUNK):
        data += chunk
        try:
            while (found := websocket.take(data)) is not None:
                kind, body = found
                if kind == websocket.CLOSE:
                    browser.write(websocket.frame(websocket.CLOSE, body[:2]))
                    return
                if kind == websocket.PING:
                    browser.write(websocket.frame(websocket.PONG, body[:125]))
                elif kind != websocket.PONG:
                    guest.write(body)
        except websocket.Broken:
            return
        await guest.drain()


async def _to_browser(guest: asyncio.StreamReader, browser: asyncio.StreamWriter) -> None:
    while chunk := await guest.read(_CHUNK):
        browser.write(websocket.frame(websocket.BINARY, chunk))
        # A browser that does not read holds the guest's server up, which bounds what waits.
        await browser.drain()
    browser.write(websocket.frame(websocket.CLOSE, b""))
    with contextlib.suppress(OSError):
        await browser.drain()
