"""Builds the image `debian` from Debian's archive: kernel, small initrd, root disk.

The kernel is Debian's own, unmodified. The initrd holds the virtio modules that our agent loads.
The root disk is a minimal Debian.
"""

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from innkeeper.images import cpio, kernel
from innkeeper.images.apt import Apt, Archive
from innkeeper.images.bootstrap import Bootstrap, install, write_disk
from innkeeper.images.commands import require, run
from innkeeper.images.manifest import Manifest
from innkeeper.images.store import INITRD, KERNEL, ROOT, Image, Store, digest_file

NAME: Final = "debian"
METAPACKAGE: Final = "linux-image-cloud-amd64"
DISK_SIZE: Final = 4 << 30  # bytes; a sparse file
# Beyond what Debian calls essential: what a person at a shell reaches for first.
PACKAGES: Final = ("ca-certificates", "iproute2", "kmod", "less", "procps", "vim-tiny")
MODULES: Final = (
    "virtio_pci",
    "virtio_balloon",
    "virtio_blk",
    "virtio_console",
    "virtio_mem",
    "virtio_net",
    "virtio_rng",
    "vmw_vsock_virtio_transport",
    "pvpanic_mmio",
)
# The kernel's self-test of its own ciphers is most of a boot's instructions.
COMMAND_LINE: Final = "quiet cryptomgr.notests"
TOOLS: Final = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "setpriv": "util-linux",
    "tar": "tar",
}

Report = Callable[[str, float], None]
"""Takes what is being done now and how much of the whole is behind us, from 0 to 1."""

_MMDEBSTRAP_STEPS: Final = {
    "running apt-get update": 0.2,
    "downloading packages": 0.25,
    "extracting archives": 0.35,
    "installing essential": 0.45,
    "installing remaining": 0.6,
    "cleaning package lists": 0.75,
}

# Changes the root before it becomes a disk. $1: kernel release.
_FINISH: Final = r"""
mkdir -p root/lib/modules
cp -a package/lib/modules/"$1" root/usr/lib/modules/
chown -R 0:0 root/usr/lib/modules
chroot root depmod "$1"
echo debian > root/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' > root/etc/hosts
: > root/etc/resolv.conf
# A guest reaches the archive as its host does.
[ ! -s apt.conf ] || cp apt.conf root/etc/apt/apt.conf.d/90host-proxies
for action in poweroff:USR2 halt:USR2 shutdown:USR2 reboot:TERM; do
    file="root/usr/sbin/${action%:*}"
    printf '#!/bin/sh\nexec kill -%s 1\n' "${action#*:}" > "$file"
    chmod 755 "$file"
done
"""


def build(store: Store, report: Report) -> Image:
    """Builds the image and publishes it in `store` under the name `debian`.

    Raises:
        ImageBuildFailed: when a tool is missing or a step fails.
        HostFailure: when the store cannot be written to.
    """
    require(TOOLS if os.geteuid() == 0 else {**TOOLS, "newuidmap": "uidmap"})
    with store.building() as scratch:
        finished = scratch / "image"
        finished.mkdir()
        report("reading Debian's package lists", 0.0)
        apt = Apt(_made(scratch / "apt"))
        apt.update()
        archives = apt.debian()
        report("fetching Debian's kernel", 0.08)
        release = _unpack_kernel(apt, scratch)
        modules = scratch / "package/lib/modules" / release
        (finished / INITRD).write_bytes(_initrd(modules))
        bzimage = (scratch / "package/boot" / f"vmlinuz-{release}").read_bytes()
        (finished / KERNEL).write_bytes(kernel.bootable(bzimage))
        (scratch / "apt.conf").write_text(apt.proxies())
        _make_root(scratch, archives, report)
        report("writing the root disk", 0.8)
        write_disk(scratch, DISK_SIZE, _FINISH, release)
        (scratch / ROOT).rename(finished / ROOT)
        report("storing the image", 0.95)
        image = store.publish(finished, _manifest(finished, archives, release))
        report("done", 1.0)
        return image


def _unpack_kernel(apt: Apt, scratch: Path) -> str:
    package = apt.dependency(METAPACKAGE)
    archive = apt.download(package, scratch)
    run(["dpkg-deb", "-x", str(archive), str(scratch / "package")])
    return package.removeprefix("linux-image-")


def _initrd(modules: Path) -> bytes:
    order = kernel.module_order(modules, MODULES)
    files = {f"modules/{path.stem}": kernel.read_module(path) for path in order}
    listing = "".join(f"/{name}\n" for name in files)
    return cpio.archive({**files, "modules/order": listing.encode()})


def _make_root(scratch: Path, archives: list[Archive], report: Report) -> None:
    def on_line(line: str) -> None:
        for words, share in _MMDEBSTRAP_STEPS.items():
            if words in line:
                report(line.removeprefix("I: ").rstrip("."), share)

    install(Bootstrap(packages=PACKAGES), archives, scratch, on_line)


def _manifest(finished: Path, archives: list[Archive], release: str) -> Manifest:
    return Manifest(
        name=NAME,
        system=f"Debian {archives[0].suite}",
        kernel_release=release,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command_line=COMMAND_LINE,
        disk_size=DISK_SIZE,
        files={name: digest_file(finished / name) for name in (KERNEL, INITRD, ROOT)},
    )


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
