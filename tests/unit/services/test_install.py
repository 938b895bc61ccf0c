"""Installing: what is refused before anything is fetched."""

from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine.spec import DiskSpec
from innkeeper.services.install import InstallOrder, install
from innkeeper.services.request import GuestRequest


def order(system: str, disk: Path, **others: object) -> InstallOrder:
    spec = DiskSpec(path=disk)
    return InstallOrder(system=system, disk=spec, size=1 << 20, guest=GuestRequest(), **others)  # type: ignore[arg-type]


def refuse(wanted: InstallOrder) -> str:
    with pytest.raises(InvalidInput) as caught:
        install(wanted, lambda step, _share: pytest.fail(f"went on to {step}"))
    return str(caught.value)


def test_a_disk_that_is_there_is_not_installed_over_unasked(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"of value")
    assert "--replace" in refuse(order("debian", disk))
    assert disk.read_bytes() == b"of value"


def test_what_is_wrong_is_said_first(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    assert "'plan9'" in refuse(order("plan9", disk))
    missing = order("debian", disk, preseed=tmp_path / "missing")
    assert "cannot read the answers" in refuse(missing)
    assert not disk.exists()
