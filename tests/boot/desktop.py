"""A graphical Debian: Xorg, a light window manager, a terminal, out of packages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.boot import packages, roots
from tests.boot.initrd import LOAD, busybox, modules

from innkeeper.images import kernel
from innkeeper.images.bootstrap import Bootstrap

KERNEL: Final = "linux-image-amd64"
_MIB: Final = 1 << 20
_PACKAGES: Final = (
    "fonts-dejavu-core",
    "icewm",
    "udev",
    "x11-utils",
    "x11-xserver-utils",
    "xclip",
    "xfonts-base",
    "xserver-xorg-core",
    "xserver-xorg-input-libinput",
    "xterm",
)
# Process 1, which comes by the initrd: devices by udev, which Xorg asks for its keyboard and mouse,
# and a session. A monitor that becomes another is followed, as desktops do.
_INIT: Final = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DISPLAY=:0 LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
cd /root
Xorg :0 -nolisten tcp -noreset vt1 -logfile /tmp/Xorg.log >/dev/null 2>&1 &
until xset q >/dev/null 2>&1; do sleep 0.1; done
xset s off -dpms
xsetroot -solid '#336699'
xev -root -event randr | grep --line-buffered XRROutputChange | while read -r _; do
    xrandr --output Virtual-1 --preferred
    echo "screen: $(xdpyinfo | sed -n 's/ *dimensions: *//p')" > /dev/ttyS0
done &
icewm --no-configure --notify >/dev/null 2>&1 &
[ -x /root/session ] && /root/session &
xterm -geometry 80x20+60+60 -fa DejaVuSansMono -fs 11 -bg white -fg black &
until xprop -root _NET_CLIENT_LIST | grep -q 0x; do sleep 0.1; done
echo "the desktop is there" > /dev/ttyS0
while read -r line; do echo "console: $line"; done < /dev/ttyS0 > /dev/ttyS0
while true; do sleep 1000; done
"""
_SWITCH: Final = """\
busybox mkdir -p /root
busybox mount -t devtmpfs dev /dev
busybox mount -t ext4 /dev/vda /root || busybox sh
busybox mount --move /dev /root/dev
busybox umount /proc
busybox cp /desktop /root/sbin/desktop
busybox chmod 755 /root/sbin/desktop
exec busybox switch_root /root /sbin/desktop
"""
_MODULES: Final = (
    "virtio/virtio_pci",
    "virtio/virtio_input",
    "block/virtio_blk",
    "input/evdev",
    "gpu/drm/virtio/virtio-gpu",
    "gpu/drm/tiny/bochs",
)


def root() -> Path:
    """The disk, which guests need a copy of or an overlay over."""
    recipe = roots.Root("desktop", Bootstrap(packages=_PACKAGES), ":", 900 * _MIB)
    return roots.make(recipe) / "root.img"


def start(directory: Path, *options: str) -> Sequence[str | Path]:
    """What `inn run` is given for such a guest; kernel and initrd are put into `directory`."""
    elf = directory / "vmlinux"
    elf.write_bytes(kernel.bootable(packages.file(KERNEL, "boot/vmlinuz-*").read_bytes()))
    drivers = [f"kernel/drivers/{name}.ko*" for name in _MODULES]
    files = modules(
        KERNEL, "kernel/*", *drivers, "kernel/crypto/crc32c_generic.ko*", "kernel/fs/ext4/ext4.ko*"
    )
    files = {**files, "desktop": _INIT.encode()}
    initrd = busybox(directory / "initrd", f"busybox mkdir -p /dev\n{LOAD}{_SWITCH}", files=files)
    words = "console=ttyS0 cryptomgr.notests quiet"
    disk = f"{root()},temporary"
    return (elf, "--initrd", initrd, "--append", words, "--disk", disk, *options)
