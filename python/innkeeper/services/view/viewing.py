"""A guest's page, from its making to its end."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure
from innkeeper.services.view.server import PageServer
from innkeeper.vm.detached.home import CONSOLE, VNC
from innkeeper.vm.detached.registry import registry

_HERE: Final = Path(__file__).parent
_ASSETS: Final = _HERE / "assets"
# Seconds between looks whether the guest has ended.
_LOOK: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`port` 0 is any."""

    port: int = 0


def view(name: str, wanted: View, ready: Callable[[str], None]) -> None:
    """Serves the guest's page until the guest ends. `ready` is told its address.

    Raises:
        GuestNotFound, GuestNotRunning.
        HostFailure: when the page is not built, or the port is taken.
    """
    if not (_ASSETS / "made").exists():
        raise HostFailure("the page of inn view is not built; run scripts/viewer")
    with registry().open(name) as home:
        if not home.is_taken():
            raise GuestNotRunning(f"the guest {name!r} is not running")
        has_screen = Path(home.socket_path(VNC)).exists()
        sockets = {"console": home.socket_path(CONSOLE)}
        if has_screen:
            sockets["screen"] = home.socket_path(VNC)
        with tempfile.TemporaryDirectory(prefix="innkeeper-view-") as folder:
            root = Path(folder)
            _write_page(root, name, has_screen=has_screen)
            files = {"": root, "novnc": _ASSETS / "novnc", "xterm": _ASSETS / "xterm"}
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_serve(PageServer(files, sockets), wanted.port, home.is_taken, ready))


def _write_page(root: Path, name: str, *, has_screen: bool) -> None:
    page = (_HERE / "page.html").read_text()
    (root / "index.html").write_text(page.replace("{{name}}", escape(name)))
    shutil.copy(_HERE / "page.js", root / "page.js")
    (root / "guest.json").write_text(json.dumps({"name": name, "screen": has_screen}))


async def _serve(
    page: PageServer, port: int, runs: Callable[[], bool], ready: Callable[[str], None]
) -> None:
    try:
        server = await page.start(port)
    except OSError as error:
        raise HostFailure(f"cannot listen at port {port}: {error.strerror}") from error
    async with server:
        ready(page.url)
        # Nobody tells when a lock is let go.
        while runs():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
