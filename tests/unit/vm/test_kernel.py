import struct
from pathlib import Path

import pytest

from innkeeper.vm.kernel import OF_MULTIBOOT, devices

MULTIBOOT = struct.pack("<III", 0x1BADB002, 0, 0x1_0000_0000 - 0x1BADB002)


def test_only_multiboot_kernels_get_devices_that_nobody_asked_for(tmp_path: Path) -> None:
    kernel = tmp_path / "k"
    kernel.write_bytes(MULTIBOOT)
    assert devices(kernel, ()) == OF_MULTIBOOT
    kernel.write_bytes(b"something else")
    assert devices(kernel, ()) == ()
    assert devices(tmp_path, ()) == ()
    assert devices(tmp_path / "missing", ()) == ()


def test_what_is_asked_for_is_had_once_and_nothing_else(tmp_path: Path) -> None:
    kernel = tmp_path / "k"
    kernel.write_bytes(MULTIBOOT)
    assert devices(kernel, ("none",)) == ()
    asked = ("isa-debug-exit", "my:create", "isa-debug-exit")
    assert devices(kernel, asked) == ("isa-debug-exit", "my:create")


def test_one_that_may_not_be_looked_at_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert devices(tmp_path / "k", ()) == ()
