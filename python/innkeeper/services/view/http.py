"""Just enough of HTTP for one page in a browser of this host. Spec: RFC 9112."""

import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

LONGEST_HEAD: Final = 16 * 1024
# What the page may load and where it may connect: what comes from here, and nothing else.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    fields: dict[str, str]


def parse(head: bytes) -> Request | None:
    """A request's head; None when it is none."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, version = first.split(" ")
    except ValueError:
        return None
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()
    if not version.startswith("HTTP/1."):
        return None
    return Request(method, unquote(path.partition("?")[0]), fields)


def response(status: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        f"Content-Security-Policy: {_POLICY}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def file(root: Path, name: str) -> bytes:
    """The file below `root`, or that there is none."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        return response("404 Not Found", b"there is nothing here\n")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return response("200 OK", path.read_bytes(), kind)
