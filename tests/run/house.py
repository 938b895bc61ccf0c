"""`inn` with a home of its own, for tests of guests that stay."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE, Inn


class House:
    """`inn` with a home of its own, and all the processes that it has started."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.inn = Inn({**os.environ, "INNKEEPER_HOME": str(home), **environment})

    def __call__(self, *words: str | Path, status: int = 0, stdin: bytes = b"") -> str:
        done = self.inn(*words, stdin=stdin)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout.decode()

    def refuses(self, *words: str | Path, status: int = 1) -> str:
        done = self.inn(*words)
        said = done.stderr.decode()
        assert (done.returncode, said.count("\n"), said[:5]) == (status, 1, "inn: "), said
        return said

    def start(self, name: str, kernel: Path, *options: str) -> dict[str, Any]:
        assert self("run", "--detach", "--name", name, "--kernel", kernel, *options) == f"{name}\n"
        return self.inspect(name)

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("inspect", name, "--json"))
        return found

    def states(self) -> dict[str, str]:
        return {guest["name"]: guest["state"] for guest in json.loads(self("ps", "-a", "--json"))}

    def wait_for_state(self, name: str, state: str) -> dict[str, Any]:
        found: dict[str, Any] = wait(lambda: self.inspect(name), lambda it: it["state"] == state)
        return found

    def processes(self) -> set[int]:
        """Those that work in this home."""
        found = set()
        for entry in Path("/proc").iterdir():
            try:
                where = (entry / "cwd").readlink()
            except OSError:
                continue
            if where.is_relative_to(self.home):
                found.add(int(entry.name))
        return found


def wait(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - any
    deadline = time.monotonic() + PATIENCE
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found
