"""The other commands: what they print for people, and for programs."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.conftest import Inn

import innkeeper
from innkeeper.images import Image, Store


@pytest.fixture
def empty(inn: Inn, tmp_path: Path) -> Inn:
    """`inn` of a user who has no image yet."""
    return Inn({**inn.environment, "INNKEEPER_HOME": str(tmp_path / "home")})


def test_version(inn: Inn) -> None:
    expected = f"innkeeper {innkeeper.__version__}\n".encode()
    assert inn("version").stdout == expected
    assert inn("--version").stdout == expected


def test_help_names_every_option_of_run(inn: Inn) -> None:
    words = inn("run", "--help").stdout.decode()
    for option in ("cpus", "memory", "engine", "disk", "name", "console", "timeout", "keep"):
        assert f"--{option}" in words


def test_doctor_chooses_one_engine_and_says_why(inn: Inn) -> None:
    result = inn("doctor", "--json")
    diagnosis = json.loads(result.stdout)
    assert result.returncode == 0
    engines = {engine["name"]: engine for engine in diagnosis["engines"]}
    assert set(engines) == {"kvm", "translator", "interpreter"}
    (chosen,) = [engine for engine in engines.values() if engine["chosen"]]
    assert chosen["usable"]
    assert all(engine["reason"] for engine in engines.values())
    assert "runs guests here" in inn("doctor").stdout.decode()


def test_doctor_measures_what_can_run(inn: Inn) -> None:
    engines = json.loads(inn("doctor", "--json").stdout)["engines"]
    assert {engine["name"] for engine in engines if engine["speed"]} == {
        engine["name"]
        for engine in engines
        # The loop that measures is 32-bit code, which the translator leaves to the interpreter.
        if engine["usable"] and engine["name"] != "translator"
    }


def test_an_empty_store_lists_nothing(empty: Inn) -> None:
    for noun in ("image", "guest"):
        assert json.loads(empty(noun, "ls", "--json").stdout) == []
        result = empty(noun, "ls")
        assert (result.returncode, result.stdout) == (0, b"")
        assert b"inn run debian" in result.stderr


@pytest.mark.parametrize("command", ["rm", "inspect", "build"])
@pytest.mark.parametrize(("name", "status"), [("nothing", 1), ("..", 2), ("NO", 2)])
def test_images_that_are_not_there_and_cannot_be(
    empty: Inn, command: str, name: str, status: int
) -> None:
    result = empty("image", command, name)
    assert result.returncode == status
    assert re.fullmatch(rb"inn: .*\n", result.stderr)


def test_the_image_is_listed_and_inspected(inn: Inn, debian: Image) -> None:
    (listed,) = [
        image
        for image in json.loads(inn("image", "ls", "--json").stdout)
        if image["name"] == debian.name
    ]
    assert listed == json.loads(inn("image", "inspect", "debian").stdout)
    assert listed["digest"] == debian.digest
    assert listed["system"].startswith("Debian")
    assert debian.digest[:12] in inn("image", "ls").stdout.decode()


def test_what_keeps_an_image_is_listed_and_removed(
    empty: Inn, debian: Image, tmp_path: Path
) -> None:
    store = Store(tmp_path / "home")
    (store.directory / "names").mkdir(parents=True)
    (store.directory / "images").mkdir()
    shutil.copytree(debian.directory, store.directory / "images" / "0123", copy_function=os.link)
    (store.directory / "names" / "debian").symlink_to("../images/0123")
    store.kept_guest("web", store.find("debian"))

    removed = empty("image", "rm", "debian")
    assert removed.returncode == 0
    assert b"kept guests: web" in removed.stderr
    (image,) = json.loads(empty("image", "ls", "--json").stdout)
    assert (image["name"], image["guests"]) == (None, ["web"])
    (guest,) = json.loads(empty("guest", "ls", "--json").stdout)
    assert (guest["name"], guest["image"], guest["state"]) == ("web", "debian", "off")
    assert "web" in empty("guest", "ls").stdout.decode()

    assert json.loads(empty("guest", "rm", "web", "--json").stdout) == guest
    assert json.loads(empty("image", "ls", "--json").stdout) == []
    again = empty("guest", "rm", "web")
    assert (again.returncode, again.stdout) == (1, b"")


def test_a_store_that_cannot_be_written_is_one_sentence(inn: Inn, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    blocked = Inn({**inn.environment, "INNKEEPER_HOME": str(file)})
    result = blocked("image", "build", "debian")
    assert result.returncode == 1
    assert re.fullmatch(rb"inn: cannot use .*\n", result.stderr)


def test_output_that_nobody_reads_is_no_traceback(inn: Inn) -> None:
    with inn.start("doctor", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_completion_knows_the_images(inn: Inn) -> None:
    environment = {
        **inn.environment,
        "_INN_COMPLETE": "complete_bash",
        "COMP_WORDS": "inn run deb",
        "COMP_CWORD": "2",
    }
    assert Inn(environment)().stdout.split() == [b"debian"]
