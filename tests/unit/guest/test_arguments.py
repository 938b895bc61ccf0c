"""Whatever a caller of `Guest` passes that it cannot be is InvalidInput, and nothing else."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper import Guest
from innkeeper.errors import InvalidInput
from innkeeper.guest import arguments
from innkeeper.machine import DiskFormat, DiskSpec

NOTHING_THAT_FITS = [None, 5, 1.5, b"bytes", object(), [], {"a": 1}]


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("image", [*NOTHING_THAT_FITS, "a\0b", "\ud800"]),
        ("memory", [*NOTHING_THAT_FITS, "lots", "", "-5M"]),
        ("cpus", ["2", 2.0, None, True, []]),
        ("engine", [*NOTHING_THAT_FITS, "foo", ""]),
        ("disks", ["disk.img", Path("disk.img"), ["disk.img"], [None], 5, None]),
        ("devices", ["pvpanic", [5], [None], 5, None, ["a\0b"]]),
        ("name", [*NOTHING_THAT_FITS, "a\0b"]),
        ("boot_timeout", ["60", -1, math.nan, True, []]),
    ],
)
def test_arguments_of_a_guest(argument: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(InvalidInput) as refused:
            Guest(**{argument: value})  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "argument", [{"cpus": 0}, {"cpus": 1000}, {"memory": "1M"}, {"name": "a b"}, {"image": "No"}]
)
def test_what_no_guest_can_be_is_refused_on_entering(
    argument: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    with pytest.raises(InvalidInput), Guest(**argument):  # type: ignore[arg-type]
        pass
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (arguments.command, ["uname -a", b"uname", [], [5], ["a\0b"], None, ["\ud800"]]),
        (arguments.variables, [[], {"a": 5}, {5: "a"}, {"a=b": "c"}, {"": "c"}, {"a": "\0"}]),
        (arguments.stdin, [None, 5, ["a"]]),
        (lambda value: arguments.seconds(value, "timeout"), ["1", -0.5, math.nan, []]),
    ],
)
def test_arguments_of_a_command(check: Callable[[object], object], values: list[object]) -> None:
    for value in values:
        with pytest.raises(InvalidInput):
            check(value)


def test_what_fits_is_taken() -> None:
    assert arguments.command(["cat", "caf\udce9"]) == ("cat", "caf\udce9")
    assert arguments.seconds(math.inf, "timeout") == arguments.TIMEOUT_MAX
    assert arguments.seconds(None, "timeout") is None
    assert arguments.stdin("a\udcff") == b"a\xff"
    # As people write them, and as the machine wants them.
    (disk,) = arguments.disks([DiskSpec(path="a.img", format="raw")])  # type: ignore[arg-type]
    assert disk == DiskSpec(path=Path("a.img"), format=DiskFormat.RAW)
