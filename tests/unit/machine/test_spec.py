from dataclasses import replace
from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine.spec import MIB, DiskSpec, MachineSpec, Overlay, validate


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    return MachineSpec(kernel=kernel)


def test_a_plain_spec_is_accepted(spec: MachineSpec) -> None:
    validate(spec)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"memory": MIB}, "of memory, not 1 MiB"),
        ({"memory": 1 << 50}, "of memory, not"),
        ({"memory": 64 * MIB + 1}, "pages of 4 KiB"),
        ({"vcpus": 0}, "CPUs, not 0"),
        ({"vcpus": 1000}, "CPUs, not 1000"),
        ({"command_line": "x" * 3000}, "longer than"),
        ({"command_line": "a\0b"}, "zero byte"),
        ({"command_line": "a\udcff"}, "command line is not UTF-8"),
        ({"cpu_model": "a\udcff"}, "CPU model is not UTF-8"),
        ({"kernel": Path("/no/such/kernel")}, "cannot open kernel"),
        ({"kernel": Path("/")}, "is a directory"),
        ({"initrds": (Path("/dev/null"),)}, "is not a file"),
        ({"disks": (DiskSpec(path=Path("/tmp")),)}, "is a directory"),
        ({"disks": (DiskSpec(path=Path("/dev/null")),)}, "neither a file nor a block device"),
        ({"disks": (DiskSpec(path=Path("/x" * 3000)),)}, "cannot open disk"),
        ({"disks": (DiskSpec(path=Path("a\0b")),)}, "cannot open disk"),
    ],
)
def test_what_no_machine_can_be_is_refused(
    spec: MachineSpec, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        validate(replace(spec, **change))  # type: ignore[arg-type]


def test_an_empty_kernel_is_refused_as_such(spec: MachineSpec) -> None:
    spec.kernel.write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"is an empty file$"):
        validate(spec)


def test_an_initrd_must_fit_into_memory(spec: MachineSpec, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(65 * MIB)
    with pytest.raises(InvalidInput, match="more than the guest's memory"):
        validate(replace(spec, initrds=(initrd,), memory=64 * MIB))


def test_only_a_kept_overlay_has_a_path(spec: MachineSpec) -> None:
    disk = DiskSpec(path=spec.kernel, overlay=Overlay.KEEP)
    with pytest.raises(InvalidInput, match="together with its path"):
        validate(replace(spec, disks=(disk,)))
