"""Debian's packages through the host's own apt: its mirrors, proxies, keys and certificates.

The lists and downloads go to a private directory, so that nothing of the host changes and no
privilege is needed.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.commands import run

MIRROR_VARIABLE: Final = "INNKEEPER_DEBIAN_MIRROR"
DEFAULT_SUITE: Final = "stable"
_PROXY: Final = re.compile(
    r"(?P<name>Acquire::https?::Proxy(?:::[\w.-]+)?) "
    r"(?P<value>(?!\w+://(?:[^/]*@)?(?:localhost|127\.|\[::1\]))[^\s\";]+)"
)
_TARGET: Final = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)|$(VERSION)"


@dataclass(frozen=True, slots=True)
class Archive:
    """One line of a sources.list. `version` is what the archive says of itself, such as 13.2; what
    is not released yet has none.
    """

    uri: str
    suite: str
    component: str
    version: str = ""

    @property
    def release(self) -> str:
        """The number of Debian's release, or an empty text."""
        return self.version.partition(".")[0]

    @property
    def line(self) -> str:
        return f"deb {self.uri} {self.suite} {self.component}"


class Apt:
    """apt with its own state under `directory`, for packages of any architecture. They are the
    host's archives unless others are named.
    """

    def __init__(
        self, directory: Path, architecture: str = "amd64", archives: Iterable[Archive] = ()
    ) -> None:
        for part in ("lists/partial", "archives/partial"):
            (directory / part).mkdir(parents=True)
        self._options = [
            f"-oDir::State={directory}",
            f"-oDir::State::lists={directory}/lists",
            "-oDir::State::status=/dev/null",
            f"-oDir::Cache={directory}",
            f"-oDir::Cache::archives={directory}/archives",
            "-oDebug::NoLocking=1",
            "-oAPT::Sandbox::User=",
            f"-oAPT::Architecture={architecture}",
            f"-oAPT::Architectures={architecture}",
            "-oAcquire::Languages=none",
            "-q",
        ]
        lines = [archive.line for archive in archives]
        if not lines and (mirror := os.environ.get(MIRROR_VARIABLE)):
            lines = [Archive(mirror, DEFAULT_SUITE, "main").line]
        if lines:
            sources = directory / "sources.list"
            sources.write_text("".join(f"{line}\n" for line in lines))
            self._options += [f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-"]

    def update(self) -> None:
        run(["apt-get", *self._options, "update"])

    def debian(self, release: str | None = None) -> list[Archive]:
        """Debian's own archives among the host's, those of one release: of the number `release`, or
        the first that the host names. That release's own archive comes first.

        Raises:
            ImageBuildFailed: when the host knows no Debian mirror, or none of that release.
        """
        targets = run(
            ["apt-get", *self._options, "indextargets", "--format", _TARGET, "Created-By: Packages"]
        )
        fields = [line.split("|") for line in targets.splitlines()]
        found = [
            Archive(uri, codename, component, version)
            for origin, codename, component, uri, version in fields
            if origin == "Debian"
        ]
        return of_one_release(found, release)

    def proxies(self) -> str:
        """The host's own settings of proxies, as a file of apt's configuration. Those on the host's
        loopback are left out: a guest's loopback is another.
        """
        dump = run(["apt-config", *self._options, "dump", "--format", "%F %v%n"])
        return proxy_settings(dump)

    def dependency(self, package: str) -> str:
        """The first package that `package` depends on: how a metapackage names its newest."""
        options = ["--no-recommends", "--no-suggests", "--important"]
        lines = run(["apt-cache", *self._options, "depends", *options, package])
        found = _after(lines.splitlines(), "Depends:")
        if found is None:
            raise ImageBuildFailed(f"package {package} is not in the archive")
        return found

    def download(self, package: str, directory: Path) -> Path:
        run(["apt-get", *self._options, "download", package], cwd=directory)
        return next(directory.glob(f"{package}_*.deb"))


def of_one_release(archives: list[Archive], release: str | None) -> list[Archive]:
    """Those of `main` that belong to `release`, or to the first release that is among them, with
    its updates behind it.
    """
    releases = [archive for archive in archives if "-" not in archive.suite]
    if not releases:
        raise ImageBuildFailed(
            f"this host's apt knows no Debian mirror; name one in {MIRROR_VARIABLE}"
        )
    wanted = [archive for archive in releases if release in (None, archive.release)]
    # It may become that one.
    wanted = wanted or [archive for archive in releases if not archive.release]
    if not wanted:
        there = ", ".join(sorted({archive.release or archive.suite for archive in releases}))
        raise ImageBuildFailed(
            f"this host's apt knows no mirror of Debian {release}, but of {there}"
        )
    suite = wanted[0].suite
    found = [a for a in archives if a.suite.split("-")[0] == suite and a.component == "main"]
    return sorted(found, key=lambda archive: archive.suite != suite)


def proxy_settings(dump: str) -> str:
    """The lines of `apt-config dump` that name proxies, as apt reads them."""
    found = (_PROXY.fullmatch(line) for line in dump.splitlines())
    return "".join(f'{line["name"]} "{line["value"]}";\n' for line in found if line)


def _after(lines: Iterable[str], word: str) -> str | None:
    return next((rest.split()[0] for line in lines if (rest := line.partition(word)[2])), None)
