from pathlib import Path

import pytest
from tests.unit.images.publishing import publish

from innkeeper.errors import HostFailure, ImageNotFound, InvalidInput
from innkeeper.images.store import Store, digest_file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_what_was_published_is_found_listed_and_read_only(store: Store) -> None:
    image = publish(store, "debian", b"one")
    assert store.find("debian") == image
    assert store.images() == [image]
    assert image.root.read_bytes() == b"one"
    assert image.root.stat().st_mode & 0o222 == 0


def test_the_same_content_is_one_image(store: Store) -> None:
    assert publish(store, "a", b"same").directory == publish(store, "b", b"same").directory
    store.remove("a")
    assert store.find("b").root.read_bytes() == b"same"


def test_a_new_build_moves_the_name_and_sweeps_the_old(store: Store) -> None:
    old = publish(store, "debian", b"old")
    with old.root.open("rb") as running:
        new = publish(store, "debian", b"new")
        assert not old.directory.exists()
        assert running.read() == b"old"
    assert store.find("debian").digest == new.digest


def test_removing_forgets_name_and_files(store: Store) -> None:
    image = publish(store, "debian", b"x")
    store.remove("debian")
    assert not image.directory.exists()
    with pytest.raises(ImageNotFound):
        store.find("debian")


def test_what_a_killed_builder_left_is_swept_by_the_next(store: Store) -> None:
    left = store.directory / "building" / "image-dead"
    left.mkdir(parents=True)
    (left / "root.img").write_bytes(b"half")
    publish(store, "debian", b"x")
    assert not left.exists()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "Debian", ".hidden", "x" * 64, "a\0b"])
def test_names_cannot_leave_the_store(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput):
        store.find(name)


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x"])
def test_kept_guests_cannot_leave_the_store(store: Store, name: str) -> None:
    image = publish(store, "debian", b"x")
    with pytest.raises(InvalidInput):
        store.kept_guest(name, image)
    with pytest.raises(InvalidInput):
        store.kept_image(name, "debian")


def test_a_kept_guest_keeps_its_image_over_new_builds_and_removal(store: Store) -> None:
    old = publish(store, "debian", b"old")
    assert store.kept_image("web", "debian") is None
    directory = store.kept_guest("web", old)
    new = publish(store, "debian", b"new")
    assert store.kept_image("web", "debian") == old
    assert store.kept_guest("web", old) == directory
    store.remove("debian")
    assert old.root.read_bytes() == b"old"
    assert not new.directory.exists()

    (directory / "image").unlink()
    publish(store, "debian", b"newer")
    assert not old.directory.exists()


def test_a_kept_guest_is_of_the_image_that_it_began_with(store: Store) -> None:
    store.kept_guest("web", publish(store, "debian", b"debian"))
    publish(store, "other", b"other")
    with pytest.raises(InvalidInput, match="one of debian, not of other"):
        store.kept_image("web", "other")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', '{"format": 1, "name": "x"}'])
def test_a_damaged_manifest_is_one_sentence(store: Store, text: str) -> None:
    image = publish(store, "debian", b"x")
    manifest = image.directory / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(text)
    with pytest.raises(HostFailure, match=r"manifest\.json"):
        store.find("debian")


def test_a_digest_does_not_depend_on_holes(tmp_path: Path) -> None:
    full, sparse = tmp_path / "full", tmp_path / "sparse"
    content = bytes(3 << 20) + b"data" + bytes(1 << 20)
    full.write_bytes(content)
    with sparse.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"data")
        file.truncate(len(content))
    assert digest_file(full) == digest_file(sparse)
    full.write_bytes(content + b"\0")
    assert digest_file(full) != digest_file(sparse)
