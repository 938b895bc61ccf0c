"""Debian on a virtio disk, with nothing of ours in the guest."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.boot import packages, roots
from tests.boot.initrd import LOAD, busybox, modules
from tests.boot.kernel_log import troubled
from tests.conftest import PATIENCE, Inn, wait_for

from innkeeper.images import kernel
from innkeeper.images.bootstrap import Bootstrap

# Process 1 of the disk's own: counts its boots, and checks what the one before left.
COUNT = """\
cat > root/sbin/init <<'end'
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
cd /root
[ ! -e sums ] || busybox sha256sum -c sums
busybox dd if=/dev/urandom of=noise bs=64k count=32 status=none
busybox sha256sum noise > sums
echo boot >> boots
busybox echo "boot $(busybox wc -l < boots) of Debian $(busybox cat /etc/debian_version)"
busybox mount -o remount,ro /
busybox poweroff -f
end
chmod 755 root/sbin/init
"""
FILES = roots.Root(
    name="files",
    bootstrap=Bootstrap(variant="extract", packages=("busybox-static", "base-files")),
    change=COUNT,
    size=64 << 20,
)
MOUNT = """
busybox mount -t devtmpfs dev /dev
busybox mount /dev/vda /disk
exec busybox switch_root /disk /sbin/init
"""


def test_what_a_guest_writes_is_there_when_it_boots_again(inn: Inn, tmp_path: Path) -> None:
    disk = Path(shutil.copy(roots.make(FILES) / "root.img", tmp_path))
    package = "linux-image-cloud-amd64"
    image = tmp_path / "vmlinux"
    image.write_bytes(kernel.bootable(packages.file(package, "boot/vmlinuz-*").read_bytes()))
    wanted = ("kernel/drivers/virtio/virtio_pci.ko", "kernel/drivers/block/virtio_blk.ko")
    drivers = modules(package, "kernel/drivers/*virtio*", *wanted)
    places = {"dev/.keep": b"", "disk/.keep": b""}
    initrd = busybox(tmp_path / "initrd", LOAD + MOUNT, files={**drivers, **places})
    said = []
    for _ in range(2):
        result = inn(
            "run",
            *("--kernel", image, "--initrd", initrd, "--disk", disk),
            *("--append", "console=ttyS0 panic=-1 quiet cryptomgr.notests"),
        )
        assert result.returncode == 0, result.stdout[-2000:]
        said.append(result.stdout)
    assert [re.findall(rb"boot (\d) of Debian \d+\.", text) for text in said] == [[b"1"], [b"2"]]
    assert b"noise: OK" in said[1]
    checked = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout


@dataclass(frozen=True)
class Debian:
    """A whole Debian: its own kernel as it is packed, its own initrd, systemd."""

    architecture: str
    kernel: str
    append: str = ""

    def __str__(self) -> str:
        return self.architecture

    @property
    def root(self) -> roots.Root:
        return roots.Root(
            name="systemd",
            bootstrap=Bootstrap(
                architecture=self.architecture,
                packages=("systemd-sysv", "udev", self.kernel),
            ),
            change=SYSTEMD,
            size=2 << 30,
        )


SYSTEMD = """\
chroot root passwd -q -d root
echo guest > root/etc/hostname
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
"""
SYSTEMS = [
    Debian("amd64", "linux-image-cloud-amd64"),
    # Its RSA self-test is three thousand million instructions.
    Debian("i386", "linux-image-686-pae", "cryptomgr.notests"),
]
# The echo of the command has other words where these are.
ASK = b'echo "$(uname -m) is $(systemctl is-system-running --wait)"; systemctl --failed\n'


@pytest.mark.long_guest(reason="installing Debian takes minutes, and booting it to its login one")
@pytest.mark.parametrize("engine", ["interpreter", "translator"])
@pytest.mark.parametrize("debian", SYSTEMS, ids=str)
def test_systemd_comes_to_its_login_and_runs(
    inn: Inn, engine: str, debian: Debian, tmp_path: Path
) -> None:
    made = roots.make(debian.root)
    image = tmp_path / "vmlinux"
    image.write_bytes(kernel.bootable((made / "kernel").read_bytes()))
    with inn.start(
        "run",
        *("--kernel", image, "--initrd", made / "initrd", "--engine", engine),
        *("--disk", f"{made / 'root.img'},temporary"),
        *("--append", f"console=ttyS0 panic=-1 root=/dev/vda rw {debian.append}"),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        keyboard, screen = process.stdin.fileno(), process.stdout.fileno()
        said = wait_for(screen, b"guest login: ")
        os.write(keyboard, b"root\n")
        said += wait_for(screen, b"# ")
        os.write(keyboard, ASK)
        said += wait_for(screen, re.compile(rb"\S+ is \w+\r?\n[^#]*# "))
        os.write(keyboard, b"systemctl poweroff\n")
        rest, _ = process.communicate(timeout=PATIENCE)
        said += rest
    machine = {"amd64": b"x86_64", "i386": b"i686"}[debian.architecture]
    answer = re.search(rb"(\S+) is (\w+)\r?\n([^#]*)# ", said)
    assert answer is not None
    assert answer.groups()[:2] == (machine, b"running"), answer[3]
    assert b"Power down" in rest
    assert process.returncode == 0
    assert troubled(said) == []
