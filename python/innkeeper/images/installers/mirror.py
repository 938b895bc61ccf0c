"""The host's own mirror, as an installer in a guest is told of it."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt

_PROXY: Final = re.compile(r'Acquire::(?P<protocol>https?)::Proxy "(?P<url>[^"]*)";')


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """`host` may have a port; `directory` begins with a slash, and `proxy` may be empty."""

    protocol: str
    host: str
    directory: str
    suite: str
    proxy: str = ""


def mirror_of(apt: Apt) -> Mirror:
    """That of Debian which the host's apt has first, with the proxy that it takes there.

    Raises:
        ImageBuildFailed: when it has none that an installer can use.
    """
    archive = apt.debian()[0]
    return parse_mirror(archive.uri, archive.suite, apt.proxies())


def parse_mirror(uri: str, suite: str, proxies: str) -> Mirror:
    """`proxies` are lines of apt's configuration."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageBuildFailed(
            f"an installer needs a mirror by HTTP, and this host's apt has {parts.scheme or uri!r}"
        )
    found = (_PROXY.fullmatch(line) for line in proxies.splitlines())
    proxy = next((m["url"] for m in found if m and m["protocol"] == parts.scheme), "")
    return Mirror(
        protocol=parts.scheme,
        host=parts.netloc.rpartition("@")[2],
        directory=parts.path.rstrip("/") or "/",
        suite=suite,
        proxy="" if proxy == "DIRECT" else proxy,
    )
