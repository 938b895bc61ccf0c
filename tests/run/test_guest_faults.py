"""Guests and images when the host's disk fails, at each call that could, while one is made, renamed
or removed: it is what it was, or what it was to be.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny
from tests.run.faults import Faults, left
from tests.unit.images.publishing import publish

from innkeeper.errors import InnkeeperError
from innkeeper.images.store import Store, digest_file
from innkeeper.services import beginnings, control, definition, lifecycle
from innkeeper.services.request import GuestRequest
from innkeeper.vm.detached.registry import registry

# Whoever builds an image tells of the host's errors.
ERRORS = (InnkeeperError, OSError)


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GuestRequest]:
    """What a guest `box` is made of, which is not there yet."""
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    kernel = tiny.kernel(tmp_path / "halt", tiny.HALT)
    yield GuestRequest(kernel=kernel, network=None, name="box")
    for name in registry().names():
        lifecycle.remove(name)
    assert unfinished() == []


def unfinished() -> list[str]:
    """What is no guest, and takes room."""
    return left(Path(registry().directory), ".new", ".gone")


def create(request: GuestRequest) -> None:
    lifecycle.create(request, lambda *_: None)


def test_a_guest_is_made_whole_or_not_at_all(request_of: GuestRequest, faults: Faults) -> None:
    for _ in faults.at_every_call(3, lambda: create(request_of), InnkeeperError):
        assert registry().names() in ([], ["box"])
        if registry().names():
            # It could be started.
            with registry().open("box") as home:
                beginnings.order(home, definition.read(home))
            lifecycle.remove("box")
            assert unfinished() == []


def test_a_guest_has_the_one_name_or_the_other(request_of: GuestRequest, faults: Faults) -> None:
    create(request_of)
    for _ in faults.at_every_call(3, lambda: control.rename("box", "other"), InnkeeperError):
        (name,) = registry().names()
        if name == "other":
            control.rename("other", "box")


def test_a_guest_is_there_or_gone(request_of: GuestRequest, faults: Faults) -> None:
    create(request_of)
    for _ in faults.at_every_call(3, lambda: lifecycle.remove("box"), InnkeeperError):
        if not registry().names():
            create(request_of)


def test_an_image_is_the_old_or_the_new(tmp_path: Path, faults: Faults) -> None:
    store = Store(tmp_path)
    publish(store, "box", b"old")
    for _ in faults.at_every_call(10, lambda: publish(store, "box", b"new"), *ERRORS):
        image = store.find("box")
        content = image.kernel.read_bytes()
        assert content in (b"old", b"new")
        for name, digest in image.manifest.files.items():
            assert digest_file(image.directory / name) == digest
        publish(store, "box", b"old")
        # What was left in between is swept.
        assert left(tmp_path / "building", "") == []
        assert len(left(tmp_path / "images", "")) == 1
    assert content == b"new"
