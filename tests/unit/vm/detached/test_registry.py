"""Names of guests: given to one, at once, and whatever was left unfinished is swept."""

import threading
from pathlib import Path

import pytest

from innkeeper.errors import GuestNotFound, HostFailure, InvalidInput, NameInUse
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import Registry


def fill(home: Home) -> None:
    home.write(files.DEFINITION, {"name": "x"})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "guests"))


def test_a_guest_is_made_found_renamed_and_removed(registry: Registry) -> None:
    assert registry.names() == []
    registry.create("b", fill)
    registry.create("a", fill)
    assert registry.names() == ["a", "b"]
    registry.rename("a", "c")
    with registry.open("c") as home:
        assert home.name == "c"
        registry.remove(home)
    assert registry.names() == ["b"]
    assert [each.name for each in Path(registry.directory).iterdir() if each.is_dir()] == ["b"]


def test_names_are_given_once(registry: Registry) -> None:
    registry.create("a", fill)
    registry.create("b", fill)
    with pytest.raises(NameInUse):
        registry.create("a", fill)
    with pytest.raises(NameInUse):
        registry.rename("b", "a")
    # A kept disk has its name as well.
    (Path(registry.directory) / "kept").mkdir()
    with pytest.raises(NameInUse):
        registry.create("kept", fill)
    assert registry.names() == ["a", "b"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".new-1", "-a", "a-", "a" * 64, "ä", "a b"])
def test_names_that_are_none(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidInput):
        registry.create(name, fill)
    with pytest.raises(InvalidInput), registry.open(name):
        pass


def test_who_is_not_there_is_told(registry: Registry) -> None:
    with pytest.raises(GuestNotFound), registry.open("a"):
        pass
    with pytest.raises(GuestNotFound):
        registry.rename("a", "b")


def test_of_many_who_want_one_name_one_gets_it(registry: Registry) -> None:
    got: list[int] = []

    def want(number: int) -> None:
        try:
            registry.create("a", fill)
        except NameInUse:
            return
        got.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_what_fails_in_the_middle_leaves_nothing(registry: Registry) -> None:
    def fail(home: Home) -> None:
        fill(home)
        raise OSError(28, "No space left on device")

    with pytest.raises(HostFailure, match="No space left"):
        registry.create("a", fail)
    assert registry.names() == []
    registry.create("b", fill)
    assert [each.name for each in Path(registry.directory).iterdir() if each.is_dir()] == ["b"]


def test_a_directory_that_cannot_be_written_is_a_sentence() -> None:
    with pytest.raises(HostFailure, match="cannot use /proc/nowhere"):
        Registry("/proc/nowhere").create("a", fill)
