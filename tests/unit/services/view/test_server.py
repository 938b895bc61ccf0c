import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.services.view.test_websocket import masked

from innkeeper.services.view import websocket
from innkeeper.services.view.server import MOST, PageServer

Check = Callable[[PageServer, str], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data.upper())
    writer.close()


def serve(folder: Path, check: Check) -> None:
    """Runs `check` with a page, which has a file and a socket that shouts."""
    (folder / "files").mkdir()
    (folder / "files" / "index.html").write_text("<p>page</p>")
    (folder / "secret").write_text("secret")

    async def run() -> None:
        guest = await asyncio.start_unix_server(echo, folder / "socket")
        page = PageServer({"": folder / "files"}, {"screen": str(folder / "socket")})
        async with guest, await page.start(0):
            await check(page, page.url.split("/")[3])

    asyncio.run(run())


async def ask(page: PageServer, head: str) -> bytes:
    host = page.url.split("/")[2]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(head.replace("HOST", host).replace("\n", "\r\n").encode())
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def test_the_page_comes_to_who_knows_where(tmp_path: Path) -> None:
    async def check(page: PageServer, token: str) -> None:
        answer = await ask(page, f"GET /{token}/ HTTP/1.1\nHost: HOST\n\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"<p>page</p>")
        assert b"Content-Security-Policy: default-src 'none'" in answer

    serve(tmp_path, check)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /guess/ HTTP/1.1\nHost: HOST\n\n", 403),
        ("GET / HTTP/1.1\nHost: HOST\n\n", 403),
        ("GET /TOKEN/ HTTP/1.1\nHost: evil.example\n\n", 403),
        ("GET /TOKEN/ HTTP/1.1\n\n", 403),
        ("GET /TOKEN/ HTTP/1.1\nHost: HOST\nOrigin: http://evil.example\n\n", 403),
        ("GET /TOKEN/../secret HTTP/1.1\nHost: HOST\n\n", 404),
        ("GET /TOKEN/%2e%2e/secret HTTP/1.1\nHost: HOST\n\n", 404),
        ("GET /TOKEN/none HTTP/1.1\nHost: HOST\n\n", 404),
        ("POST /TOKEN/ HTTP/1.1\nHost: HOST\n\n", 400),
        ("\x16\x03\x01\n\n", 400),
        ("GET /" + "x" * 20_000 + " HTTP/1.1\n\n", 431),
    ],
)
def test_nobody_else_gets_anything(tmp_path: Path, head: str, status: int) -> None:
    async def check(page: PageServer, token: str) -> None:
        answer = await ask(page, head.replace("TOKEN", token))
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"secret" not in answer

    serve(tmp_path, check)


UPGRADE = (
    "GET /{}/screen HTTP/1.1\nHost: HOST\nOrigin: http://HOST\nUpgrade: websocket\n"
    "Sec-WebSocket-Key: x\n\n"
)


def test_a_websocket_leads_to_the_guests_socket(tmp_path: Path) -> None:
    async def check(page: PageServer, token: str) -> None:
        host = page.url.split("/")[2]
        reader, writer = await asyncio.open_connection(*host.split(":"))
        head = UPGRADE.format(token).replace("HOST", host).replace("\n", "\r\n")
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(masked(websocket.BINARY, b"hello") + masked(websocket.PING, b"you"))
        wanted = [
            websocket.frame(websocket.BINARY, b"HELLO"),
            websocket.frame(websocket.PONG, b"you"),
        ]
        found = await reader.readexactly(sum(map(len, wanted)))
        assert found in (wanted[0] + wanted[1], wanted[1] + wanted[0])
        writer.write(masked(websocket.CLOSE, b"\x03\xe8"))
        assert await reader.read() == websocket.frame(websocket.CLOSE, b"\x03\xe8")
        await close(writer)

    serve(tmp_path, check)


def test_a_guest_that_has_gone_is_said_to_have(tmp_path: Path) -> None:
    async def check(page: PageServer, token: str) -> None:
        (tmp_path / "socket").unlink()
        assert (await ask(page, UPGRADE.format(token))).startswith(b"HTTP/1.1 503")

    serve(tmp_path, check)


def test_only_so_many_are_served_at_a_time(tmp_path: Path) -> None:
    async def check(page: PageServer, token: str) -> None:
        host = page.url.split("/")[2].split(":")
        silent = [await asyncio.open_connection(*host) for _ in range(MOST)]
        while page.room:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        assert await ask(page, f"GET /{token}/ HTTP/1.1\nHost: HOST\n\n") == b""
        for _, writer in silent:
            await close(writer)

    serve(tmp_path, check)
