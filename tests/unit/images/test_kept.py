import fcntl
from pathlib import Path

import pytest
from tests.unit.images.publishing import publish

from innkeeper.errors import InvalidInput
from innkeeper.images.boot import KEPT_ROOT
from innkeeper.images.kept import kept_guests, remove_guest
from innkeeper.images.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def keep(store: Store, name: str, written: bytes = b"written") -> Path:
    """A kept guest of the image debian; its disk."""
    disk = store.kept_guest(name, store.find("debian")) / KEPT_ROOT
    disk.write_bytes(written)
    return disk


def test_kept_guests_are_listed_with_what_they_go_on_from(store: Store) -> None:
    assert kept_guests(store) == []
    image = publish(store, "debian", b"one")
    disk = keep(store, "web")
    store.kept_guest("fresh", image)
    fresh, web = kept_guests(store)
    assert (fresh.name, web.name) == ("fresh", "web")
    assert web.image == image
    assert web.changed == disk.stat().st_mtime
    assert not web.running


def test_one_whose_image_was_deleted_by_hand_is_listed_without(store: Store) -> None:
    image = publish(store, "debian", b"one")
    keep(store, "web")
    image.directory.rename(store.directory / "elsewhere")
    (web,) = kept_guests(store)
    assert web.image is None
    remove_guest(store, "web")
    assert kept_guests(store) == []


def test_an_image_without_a_name_is_held_until_its_last_guest_is_removed(store: Store) -> None:
    old = publish(store, "debian", b"old")
    keep(store, "box")
    keep(store, "web")
    assert store.held_images() == []
    publish(store, "debian", b"new")
    assert store.held_images() == [old]
    remove_guest(store, "box")
    assert store.held_images() == [old]
    remove_guest(store, "web")
    assert store.held_images() == []
    assert not old.directory.exists()
    assert store.find("debian").root.read_bytes() == b"new"


def test_a_guest_that_runs_is_not_removed(store: Store) -> None:
    publish(store, "debian", b"one")
    disk = keep(store, "web")
    with disk.open("rb") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        (web,) = kept_guests(store)
        assert web.running
        with pytest.raises(InvalidInput, match="'web' is running"):
            remove_guest(store, "web")
    assert disk.exists()


@pytest.mark.parametrize("name", ["nobody", "..", "a/b", ""])
def test_only_what_is_there_is_removed(store: Store, name: str) -> None:
    publish(store, "debian", b"one")
    with pytest.raises(InvalidInput):
        remove_guest(store, name)
