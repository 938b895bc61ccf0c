from pathlib import Path
from threading import TIMEOUT_MAX

import pytest

from innkeeper.cli.durations import parse_duration
from innkeeper.cli.values import parse_cdrom, parse_disk
from innkeeper.errors import InvalidInput
from innkeeper.machine import DiskFormat, DiskSpec, Overlay
from innkeeper.machine.firmware import CdBus
from innkeeper.machine.spec import DiskBus


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("a.img", DiskSpec(path=Path("a.img"))),
        ("a.img,ro", DiskSpec(path=Path("a.img"), read_only=True)),
        (
            "a.img,temporary,format=qcow2",
            DiskSpec(path=Path("a.img"), overlay=Overlay.TEMPORARY, format=DiskFormat.QCOW2),
        ),
        ("a.img,bus=sata", DiskSpec(path=Path("a.img"), bus=DiskBus.SATA)),
        ("a.img,bus=usb,ro", DiskSpec(path=Path("a.img"), bus=DiskBus.USB, read_only=True)),
        ("a,,b.img,ro", DiskSpec(path=Path("a,b.img"), read_only=True)),
    ],
)
def test_disks_as_they_are_written(text: str, disk: DiskSpec) -> None:
    assert parse_disk(text) == disk


@pytest.mark.parametrize("text", ["a.img,rw", "a.img,format=probe", "a.img,"])
def test_unknown_disk_options_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is none of"):
        parse_disk(text)


def test_a_disc_has_a_drive_on_one_of_two_buses() -> None:
    assert parse_cdrom("a,b.iso") == (Path("a,b.iso"), CdBus.IDE)
    assert parse_cdrom("a.iso,bus=sata") == (Path("a.iso"), CdBus.SATA)
    with pytest.raises(InvalidInput, match="on the bus ide or sata"):
        parse_cdrom("a.iso,bus=virtio")


@pytest.mark.parametrize("text", ["", ",ro"])
def test_a_disk_has_a_path(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no disk"):
        parse_disk(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("5m", 300), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_no_duration_is_longer_than_a_clock_can_wait() -> None:
    assert parse_duration("999999999h") == TIMEOUT_MAX


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "1d", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a time"):
        parse_duration(text)
