"""How folders are written, and what is refused."""

from pathlib import Path, PurePosixPath

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import FolderSpec, parse_folder
from innkeeper.machine.folder import MAXIMUM_FOLDERS, mount_words, validate_folders


def test_folders_as_people_write_them() -> None:
    src = FolderSpec(path=Path("src"), target=PurePosixPath("/src"), tag="inn0")
    assert parse_folder("src:/src", 0) == src
    assert parse_folder("./src:/src:rw", 0) == src
    assert parse_folder("/a:/b c:ro,uid=1000", 3) == FolderSpec(
        path=Path("/a"), target=PurePosixPath("/b c"), tag="inn3", read_only=True, owner=1000
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "src",
        "src:",
        ":/src",
        "src:src",
        "src:/",
        "src:/a/../b",
        "src:/a:rx",
        "a:/b:ro:ro",
        "::",
    ],
)
def test_what_names_no_folder(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_folder(text, 0)


def test_what_the_host_has_not_got_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, words in (("none", "does not exist"), ("file", "no directory")):
        with pytest.raises(InvalidInput, match=words):
            validate_folders([parse_folder(f"{tmp_path}/{name}:/src", 0)])
    folders = [parse_folder(f"{tmp_path}:/{index}", index) for index in range(MAXIMUM_FOLDERS + 1)]
    validate_folders(folders[1:])
    with pytest.raises(InvalidInput, match="at most"):
        validate_folders(folders)
    with pytest.raises(InvalidInput, match="both be at /1"):
        validate_folders([folders[1], parse_folder(f"{tmp_path}:/1", 2)])
    with pytest.raises(InvalidInput, match="no user"):
        validate_folders([parse_folder(f"{tmp_path}:/1:uid=4294967295", 0)])


def test_what_the_agent_reads_has_no_spaces() -> None:
    folders = [parse_folder("a:/b c/ä:ro", 0), parse_folder("a:/d", 1)]
    assert mount_words(folders) == [
        "innkeeper.folder=inn0:/b%20c/%C3%A4:ro",
        "innkeeper.folder=inn1:/d",
    ]
