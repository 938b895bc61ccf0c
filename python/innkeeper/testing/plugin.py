"""The pytest plugin: a fixture `guest`, which is a machine of the test's own.

    def test_the_package_installs(guest):
        assert guest.run(["dpkg", "-i", "/root/ours.deb"]).returncode == 0

    @pytest.mark.guest(image="debian", memory="1G", network="none")
    def test_without_a_network(guest): ...

`guest` boots for each test and is gone after it; `shared_guest` boots once for all that ask for
it; `make_guest(**options)` makes as many as a test wants. Options are those of `innkeeper.Guest`.
What a failed test's guests said last on their consoles is in its report.

Every pytest of this environment loads this module, so it loads nothing of Innkeeper before a
machine is asked for.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from innkeeper.sdk.guest import Guest

_CONSOLE_LINES: Final = 40
_MADE: Final = pytest.StashKey[list["Guest"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("innkeeper", "machines for tests, by Innkeeper")
    group.addoption("--guest-image", metavar="IMAGE", help="image of guests that name none")
    group.addoption("--guest-engine", metavar="ENGINE", help="engine of guests that name none")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "guest(**options): what the fixture guest is, as the arguments of innkeeper.Guest",
    )


@pytest.fixture
def make_guest(request: pytest.FixtureRequest) -> Iterator[Callable[..., "Guest"]]:
    """Boots a machine with these options, and returns it ready. It is gone after the test."""
    with ExitStack() as machines:

        def make(**options: Any) -> "Guest":  # noqa: ANN401 - as Guest has them
            return machines.enter_context(_guest(request, options))

        yield make


@pytest.fixture
def guest(request: pytest.FixtureRequest, make_guest: Callable[..., "Guest"]) -> "Guest":
    """A machine of the test's own, as its mark `guest` says."""
    options: dict[str, Any] = {}
    # The closest comes first, and has the last word.
    for mark in reversed(list(request.node.iter_markers("guest"))):
        if mark.args:
            pytest.fail("the mark guest takes options by name, such as memory='1G'", pytrace=False)
        options |= mark.kwargs
    return make_guest(**options)


@pytest.fixture(scope="session")
def shared_guest(request: pytest.FixtureRequest) -> Iterator["Guest"]:
    """One machine for all tests that ask for it, each of which finds what the others left."""
    with _guest(request, {}) as machine:
        yield machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failed test's report what its guests said last."""
    report = yield
    if report.failed:
        for stash in (item.stash, item.session.stash):
            for machine in stash.get(_MADE, []):
                last = machine.console_log.splitlines()[-_CONSOLE_LINES:]
                if last:
                    report.sections.append((f"console of {machine.name}", "\n".join(last)))
    return report


def _guest(request: pytest.FixtureRequest, options: dict[str, Any]) -> "Guest":
    from innkeeper.sdk.guest import Guest

    for name in ("image", "engine"):
        chosen = request.config.getoption(f"guest_{name}")
        if chosen is not None:
            options.setdefault(name, chosen)
    machine = Guest(**options)
    request.node.stash.setdefault(_MADE, []).append(machine)
    return machine
