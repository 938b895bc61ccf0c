"""The host's own mirror, as an installer in a guest is told of it."""

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt

_PROXY: Final = re.compile(r'Acquire::(?P<protocol>https?)::Proxy "(?P<url>[^"]*)";')


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """`host` may have a port; `directory` begins with a slash, and `proxy` may be empty. `release`
    is the number of Debian's release, empty for one that has none yet. `security` is where updates
    of security are, if they are taken: empty where the installer is to know by itself. `updates`
    says whether others are taken.
    """

    protocol: str
    host: str
    directory: str
    suite: str
    proxy: str = ""
    release: str = ""
    security: str | None = None
    updates: bool = False


def mirror_of(apt: Apt, release: str | None) -> Mirror:
    """That of Debian's `release` which the host's apt has, or which it has first, with the proxy
    that it takes there, and the updates that the host takes.

    Raises:
        ImageBuildFailed: when it has none that an installer can use.
    """
    archive, *others = apt.debian(release)
    updates = {other.suite.removeprefix(f"{archive.suite}-"): other.uri for other in others}
    return replace(
        parse_mirror(archive.uri, archive.suite, apt.proxies()),
        release=release or archive.release,
        security=_security(updates["security"]) if "security" in updates else None,
        updates="updates" in updates,
    )


def _security(uri: str) -> str:
    """An installer can be told the host and no more: what is elsewhere there, it cannot use."""
    parts = urlsplit(uri)
    told = parts.scheme == "http" and parts.path.rstrip("/") == "/debian-security"
    return parts.netloc.rpartition("@")[2] if told else ""


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
