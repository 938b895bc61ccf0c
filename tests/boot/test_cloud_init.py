"""Seeds for cloud-init: in a guest of ours as a disk, and read by Debian's own cloud-init."""

import subprocess
from pathlib import Path

import pytest
from tests.boot import roots
from tests.boot.homes import furnish
from tests.conftest import Inn, wait_for

from innkeeper.images import Image, kernel
from innkeeper.images.bootstrap import Bootstrap

MARK = "user-data has run"
USER_DATA = f"""\
#cloud-config
runcmd:
  - - sh
    - -c
    - echo {MARK} as $(hostname) for $(cut -d' ' -f3 /root/.ssh/authorized_keys) >/dev/ttyS0
"""
SYSTEM = """\
echo image > root/etc/hostname
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
"""
PACKAGES = (
    *("systemd-sysv", "udev", "linux-image-cloud-amd64"),
    *("cloud-init", "openssh-server", "netplan.io"),
)
ROOT = roots.Root(
    name="cloud-init", bootstrap=Bootstrap(packages=PACKAGES), change=SYSTEM, size=3 << 30
)
# vdb: the root is the first disk, and the seed behind all others.
LOOK = "modprobe isofs && mount -o ro /dev/vdb /mnt && hostname && cat /mnt/user-data"


@pytest.fixture
def home(inn: Inn, debian: Image, tmp_path: Path) -> Inn:
    furnish(tmp_path / "home", debian)
    return Inn({**inn.environment, "INNKEEPER_HOME": str(tmp_path / "home")})


def test_a_guest_has_the_seed_as_its_last_disk(inn: Inn, debian: Image, tmp_path: Path) -> None:
    data = tmp_path / "user-data"
    data.write_text(USER_DATA)
    options = ["--user-data", data, "--hostname", "other"]
    result = inn("run", "debian", *options, "--", "sh", "-c", LOOK)
    assert result.stdout.decode() == f"other\n{USER_DATA}", result.stderr


def test_a_guest_that_stays_keeps_its_seed_and_its_key(home: Inn, tmp_path: Path) -> None:
    data = tmp_path / "user-data"
    data.write_text(USER_DATA)
    made = home("run", "--detach", "--name", "web", "--user-data", data, "debian")
    assert made.returncode == 0, made.stderr
    data.unlink()
    try:
        seen = []
        for _ in range(2):
            # In its jail, before and after it has begun anew.
            script = f"{LOOK} /mnt/meta-data"
            result = home("exec", "web", "sh", "-c", script)
            seen.append(result.stdout.decode())
            assert home("restart", "web").returncode == 0
        assert seen[0] == seen[1]
        assert USER_DATA in seen[0]
        key = tmp_path / "home" / "guests" / "web" / "ssh_key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.with_suffix(".pub").read_text().strip() in seen[0]
    finally:
        home("rm", "--force", "web")


@pytest.mark.long_guest(reason="installing Debian with cloud-init takes minutes, booting it one")
def test_cloud_init_does_what_the_seed_says(inn: Inn, tmp_path: Path) -> None:
    made = roots.make(ROOT)
    image = tmp_path / "vmlinux"
    image.write_bytes(kernel.bootable((made / "kernel").read_bytes()))
    data = tmp_path / "user-data"
    data.write_text(USER_DATA)
    key = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", key], check=True
    )
    with inn.start(
        "run",
        *("--kernel", image, "--initrd", made / "initrd", "--memory", "1G"),
        *("--disk", f"{made / 'root.img'},temporary", "--user-data", data),
        *("--ssh-key", key.with_suffix(".pub"), "--hostname", "cloudy"),
        *("--append", "console=ttyS0 panic=-1 root=/dev/vda rw cryptomgr.notests"),
    ) as process:
        assert process.stdout is not None
        try:
            wait_for(process.stdout.fileno(), f"{MARK} as cloudy for me".encode())
        finally:
            process.terminate()
