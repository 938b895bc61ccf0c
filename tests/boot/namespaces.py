"""Network namespaces of a test's own: nothing of the machine's network is seen or changed."""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import INN, PATIENCE

_numbers = itertools.count()


@dataclass(frozen=True)
class Namespace:
    """A host's network, as far as the programs in it can see."""

    name: str

    def command(self, *words: str | Path) -> list[str]:
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=check,
        )

    def ip(self, words: str) -> str:
        return self.run("ip", *words.split(), check=True).stdout

    def inn(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(INN, *words)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"inn-test-{os.getpid()}-{next(_numbers)}")
    subprocess.run(["ip", "netns", "add", made.name], check=True, timeout=PATIENCE)
    try:
        made.ip("link set lo up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=True, timeout=PATIENCE)


def needs_namespaces() -> None:
    """Skips where nobody may make what a bridge needs."""
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            pytest.skip(f"the host has no {tool}")
    tried = subprocess.run(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link add name probe type bridge && nft add table inet t",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"no bridge can be made in a namespace here: {tried.stderr.strip()}")
