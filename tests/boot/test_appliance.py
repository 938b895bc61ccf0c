"""A machine of another hypervisor boots here: its boot sector, from a vmdk in an OVA."""

import subprocess
from pathlib import Path

import pytest
from tests.boot.test_firmware import boot_sector, seabios
from tests.conftest import Inn
from tests.run.test_appliance import machine, pack

from innkeeper.services.ovf import writing
from innkeeper.services.ovf.descriptor import Drive


@pytest.mark.parametrize("bus", ["ide", "virtio"])
def test_an_imported_machine_boots(tmp_path: Path, bus: str) -> None:
    inn = Inn({**Inn().environment, "INNKEEPER_HOME": str(tmp_path / "home")})
    vmdk = tmp_path / "disk.vmdk"
    options = ["-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run(["qemu-img", "convert", *options, boot_sector(tmp_path), vmdk], check=True)
    data = vmdk.read_bytes()
    box = machine(Drive(file=vmdk.name, capacity=1 << 20, ide=bus == "ide"), name="box")
    pack(tmp_path / "box.ova", {"box.ovf": writing.write(box, [len(data)]), vmdk.name: data})
    made = inn("import", tmp_path / "box.ova", "--firmware", seabios(), "--network", "none")
    assert (made.returncode, made.stdout) == (0, b"box\n")
    assert (b"needs a driver" in made.stderr) == (bus == "virtio")
    try:
        assert inn("start", "box").returncode == 0
        assert inn("wait", "box").returncode == 0
        assert b"by the port" in inn("logs", "box").stdout
        # Its disk is a guest's as any: a snapshot has it.
        assert inn("snapshot", "create", "box", "first").returncode == 0
    finally:
        inn("rm", "--force", "box")
