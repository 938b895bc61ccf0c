"""What every test may ask for: `inn` as a process, and the Debian image."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

from innkeeper.images import Image, Store, ensure

INN = Path(sys.executable).with_name("inn")
# Far above what anything takes: a test that hangs fails by this, none passes because of it.
PATIENCE = 300.0


@dataclass(frozen=True)
class Inn:
    """Runs the command line as a user does."""

    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [INN, *arguments],
            input=stdin,
            capture_output=True,
            timeout=PATIENCE,
            env=self.environment,
            check=False,
        )

    def start(
        self, *arguments: str | Path, stdin: int = subprocess.PIPE, **options: object
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [INN, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            **options,
        )


def wait_for(fd: int, words: bytes | re.Pattern[bytes], patience: float = PATIENCE) -> bytes:
    """Reads `fd` until `words` appear, and returns all that was read."""
    pattern = re.compile(re.escape(words)) if isinstance(words, bytes) else words
    deadline = time.monotonic() + patience
    seen = b""
    while not pattern.search(seen):
        left = deadline - time.monotonic()
        assert left > 0, f"no {words!r} in {seen!r}"
        if select.select([fd], [], [], left)[0]:
            data = os.read(fd, 1 << 16)
            assert data, f"no {words!r} in {seen!r}"
            seen += data
    return seen


# Machines that run tests have much else to do: no example is too slow.
settings.register_profile("usual", deadline=None)
settings.load_profile("usual")
# For a long search: --hypothesis-profile=long.
settings.register_profile("long", max_examples=200_000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-guests", action="store_true", help="boot also the guests that take long"
    )

    parser.addoption(
        "--cycles", type=int, default=3, help="how often a guest is started and stopped for leaks"
    )
    parser.addoption(
        "--hostile-rounds", type=int, default=2, help="how often hostile guests do their worst"
    )
    parser.addoption("--hostile-seed", type=int, default=1, help="what their numbers are made from")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long_guest(reason): boots only with --all-guests")


def pytest_sessionstart() -> None:
    # nohup and background shells have us ignore signals; what we start would inherit that, and the
    # tests send these. One that we handle, if only by doing nothing, is unhandled in our children.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("long_guest")
    if mark is not None and not item.config.getoption("--all-guests"):
        pytest.skip(f"{mark.kwargs['reason']}; see --all-guests")


@pytest.fixture(scope="session")
def inn() -> Inn:
    return Inn()


@pytest.fixture(scope="session")
def cycles(request: pytest.FixtureRequest) -> int:
    """How often tests that look for leaks start and stop a guest."""
    return int(request.config.getoption("--cycles"))


@pytest.fixture(scope="session")
def debian() -> Image:
    """The image in this user's store, built if it is not there yet."""
    return ensure(Store(), "debian", lambda _step, _share: None)
