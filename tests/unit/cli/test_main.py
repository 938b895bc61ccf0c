"""What a person mistypes is answered by one sentence and exit status 2; help needs no command."""

import sys
from pathlib import Path

import pytest

from innkeeper.cli.main import main
from innkeeper.services import listing


def inn(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["inn", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nosuch"], "no such command 'nosuch'"),
        (["run", "--nosuch"], "no such option: --nosuch"),
        (["run", "debian", "--cpus", "two"], "invalid value for '--cpus': not a whole number"),
        (["run", "../x"], "'../x' is no image name"),
        (["run", "debian", "--name", ""], "'' is no guest name"),
        (["run", "--kernel", "/no\n\x1b[2J"], "cannot open kernel /no\\n\\x1b[2J"),
        (["run", "debian", "--engine", "steam"], "'--engine': 'steam' is not one of"),
        (["run", "debian", "--memory"], "'--memory' requires an argument"),
        (["image", "rm"], "missing argument 'NAME'"),
        (["logs", "--tail", "-1", "x"], "it has to be greater than or equal to 0"),
        (["run"], "name an image to run"),
        (["run", "debian", "--cpuset", "5000"], "inn: the guest is to run on processor 5000"),
        (["run", "debian", "--memory", "abc"], "'abc' is not a size"),
    ],
)
def test_mistyped(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert inn(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("inn: ")
    assert printed.err.count("\n") == 1
    assert sentence in printed.err


def test_version_needs_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inn(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("innkeeper ")


@pytest.mark.parametrize("arguments", [[], ["image"], ["guest"]])
def test_a_group_without_a_command_prints_its_help(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inn(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert "Commands" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ["--cpus", "0"],
        ["--memory", "1M"],
        ["--name", "a b", "--keep"],
        ["--disk", "/no/such/disk"],
    ],
)
def test_what_no_guest_can_be_is_refused_before_an_image_is_built(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    assert inn(monkeypatch, "run", "debian", *wrong, "--", "true") == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["image"], ["image", "ls"], ["image", "rm"], ["guest", "rm"], ["doctor"]],
)
def test_help_speaks_of_no_types_of_python(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inn(monkeypatch, *command, "--help") == 0
    said = capsys.readouterr().out
    assert "bool" not in said
    assert "str>" not in said
    assert "str]" not in said


def test_what_nobody_foresaw_of_the_host_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, said in (
        (PermissionError(13, "Permission denied", "/x"), "cannot use /x: Permission denied"),
        (OSError(28, "No space left on device"), "the host refuses: No space left on device"),
    ):

        def refuse(*, refused: OSError = error, **_: object) -> None:
            raise refused

        monkeypatch.setattr(listing, "listed", refuse)
        assert inn(monkeypatch, "ps") == 1
        assert capsys.readouterr().err == f"inn: {said}\n"


@pytest.mark.parametrize("command", [[], ["run"], ["image"], ["image", "ls"]])
def test_h_is_short_for_help(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inn(monkeypatch, *command, "-h") == 0
    short = capsys.readouterr().out
    assert inn(monkeypatch, *command, "--help") == 0
    assert capsys.readouterr().out == short
