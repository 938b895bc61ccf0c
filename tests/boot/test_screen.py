"""What Debian's kernels show, booted without firmware, and what is typed to them."""

import shutil
import socket
import struct
import subprocess
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from tests.boot import packages
from tests.boot.initrd import LOAD, busybox, modules
from tests.conftest import INN, PATIENCE
from tests.run.house import House, wait

from innkeeper.images import kernel

# A shell on the screen, whose words the serial port hears as well.
SHELL = """\
busybox mkdir -p /dev
busybox mount -t devtmpfs dev /dev
busybox cat /proc/fb
busybox printf '\\033[2J\\033[H\\033[44m\\033[2J' > /dev/tty1
busybox echo painted
read line < /dev/tty1
busybox echo "read: $line"
busybox sleep 1000
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home")
    yield made
    if names := made("ps", "-aq").split():
        made("rm", "--force", *names)
    assert made.processes() == set()
    # No template waits for guests of this home.
    shutil.rmtree(made.home / "templates", ignore_errors=True)


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a picture of ours."""
    width, height = struct.unpack_from(">II", png, 16)
    (length,) = struct.unpack_from(">I", png, png.index(b"IDAT") - 4)
    data = png[png.index(b"IDAT") + 4 :][:length]
    raw = zlib.decompress(data)
    pitch = 3 * width + 1
    return width, height, [raw[y * pitch + 1 : (y + 1) * pitch] for y in range(height)]


def start(
    house: House,
    tmp_path: Path,
    package: str,
    driver: str,
    *options: str,
    script: str = SHELL,
) -> None:
    image = packages.file(package, "boot/vmlinuz-*")
    elf = tmp_path / "vmlinux"
    elf.write_bytes(kernel.bootable(image.read_bytes()))
    names = [f"kernel/drivers/gpu/drm/{driver}.ko*", "kernel/drivers/virtio/virtio_pci.ko*"]
    files = modules(package, "kernel/drivers/*", *names) if driver else None
    initrd = busybox(tmp_path / "initrd", (LOAD if driver else "") + script, files=files)
    words = "console=tty0 console=ttyS0 cryptomgr.notests"
    card = "virtio" if driver.startswith("virtio") else "vga"
    display = ("--display", f"{card},800x600", *options)
    house.start("seen", elf, "--initrd", str(initrd), *display, "--append", words)


def log(house: House, wanted: str) -> str:
    """What the guest has said, once that is in it."""
    return str(wait(lambda: house("logs", "seen"), lambda said: wanted in said))


@pytest.mark.parametrize(
    ("package", "driver", "name"),
    [
        ("linux-image-cloud-amd64", "", "EFI VGA"),
        ("linux-image-amd64", "tiny/bochs", "bochs-drm"),
        ("linux-image-amd64", "virtio/virtio-gpu", "virtio_gpudrmfb"),
    ],
)
def test_a_kernel_has_its_console_on_the_screen(
    house: House, tmp_path: Path, package: str, driver: str, name: str
) -> None:
    start(house, tmp_path, package, driver)
    assert name in log(house, "painted")
    picture = tmp_path / "picture.png"
    house("screenshot", "seen", picture)
    width, height, rows = pixels(picture.read_bytes())
    assert (width, height) == (800, 600)
    # Blue, as the console was painted.
    assert rows[300][300:303] == b"\0\0\xaa"
    house("type", "seen", "--enter", "It types: 100%!")
    log(house, "read: It types: 100%!")
    film = tmp_path / "film.png"
    house("record", "seen", film, "--seconds", "0")
    with Image.open(film) as moving:
        assert moving.size == (800, 600)
        # As the console was painted.
        assert moving.convert("RGB").getpixel((100, 300)) == (0, 0, 0xAA)


# Says which size its monitor likes, whenever that is another.
MONITOR = """\
busybox mkdir -p /dev /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t sysfs sys /sys
size=
while true; do
  # The console's own look knows of no sizes beyond its frame buffer's.
  busybox echo detect > /sys/class/drm/card0-Virtual-1/status
  read now < /sys/class/drm/card0-Virtual-1/modes
  [ "$now" = "$size" ] || busybox echo "likes $now"
  size=$now
  busybox usleep 200000
done
"""


def test_the_monitor_becomes_as_large_as_a_viewer_wishes(house: House, tmp_path: Path) -> None:
    start(house, tmp_path, "linux-image-amd64", "virtio/virtio-gpu", script=MONITOR)
    log(house, "likes 800x600")
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.settimeout(PATIENCE)
        viewer.connect(str(house.home / "guests" / "seen" / "run" / "vnc"))
        # A greeting without security, and a wish.
        viewer.sendall(b"RFB 003.008\n\1\1" + struct.pack(">BxHHBx", 251, 1152, 720, 0))
        log(house, "likes 1152x720")


@pytest.mark.parametrize("program", ["vncdo", "gvnccapture"])
def test_viewers_of_others_see_the_screen(house: House, tmp_path: Path, program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    # The programs count displays from here on.
    port = max(port, 5900)
    start(house, tmp_path, "linux-image-cloud-amd64", "", "--vnc", f"127.0.0.1:{port}")
    log(house, "painted")
    picture = tmp_path / "picture.png"
    commands = {
        "vncdo": [INN.with_name("vncdo"), "-s", f"127.0.0.1::{port}"],
        "gvnccapture": ["gvnccapture", "-q", f"127.0.0.1:{port - 5900}", picture],
    }
    words = ["type", "By VNC?", "key", "enter", "capture", picture]
    words = words if program == "vncdo" else []
    subprocess.run([*commands[program], *words], check=True, timeout=PATIENCE)
    house("screenshot", "seen", tmp_path / "ours.png")
    theirs = Image.open(picture).convert("RGB")
    ours = Image.open(tmp_path / "ours.png").convert("RGB")
    assert theirs.size == ours.size == (800, 600)
    # Where no cursor blinks.
    lower = (0, 100, 800, 600)
    assert ImageChops.difference(theirs.crop(lower), ours.crop(lower)).getbbox() is None
    if program == "vncdo":
        log(house, "read: By VNC?")


def test_a_password_keeps_others_out(house: House, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (tmp_path / "password").write_text("secret\n")
    options = ("--vnc", f"127.0.0.1:{port}", "--vnc-password", str(tmp_path / "password"))
    start(house, tmp_path, "linux-image-cloud-amd64", "", *options)
    viewer = [INN.with_name("vncdo"), "-s", f"127.0.0.1::{port}", "-p"]
    picture = tmp_path / "picture.png"
    subprocess.run([*viewer, "secret", "capture", picture], check=True, timeout=PATIENCE)
    picture.unlink()
    subprocess.run([*viewer, "guess", "capture", picture], check=False, timeout=PATIENCE)
    assert not picture.exists()


def test_the_page_shows_screen_and_console(house: House, tmp_path: Path) -> None:
    start(house, tmp_path, "linux-image-cloud-amd64", "")
    log(house, "painted")
    with house.inn.start("view", "seen", "--no-browser") as view:
        assert view.stdout is not None
        url = view.stdout.readline().decode().strip()
        for name, part in (("", b"<title>seen - Innkeeper"), ("novnc/core/rfb.js", b"class RFB")):
            with urllib.request.urlopen(url + name, timeout=PATIENCE) as answer:
                assert part in answer.read()
        _, _, host, token, _ = url.split("/")
        with socket.create_connection(host.split(":"), timeout=PATIENCE) as browser:
            head = f"GET /{token}/screen HTTP/1.1\r\nHost: {host}\r\nSec-WebSocket-Key: x\r\n\r\n"
            browser.sendall(head.encode())
            seen = b""
            while b"RFB 003.008\n" not in seen:
                seen += browser.recv(1)
        house("kill", "seen")
        # It ends with its guest.
        assert view.wait(timeout=PATIENCE) == 0


# Prints, of a movement along one axis, what the tablet says: 3 is the axis x.
TABLET = """\
busybox mkdir -p /dev /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t sysfs sys /sys
for each in /sys/class/input/event*; do
  busybox grep -q tablet $each/device/name && event=${each##*/}
done
busybox echo ready
busybox dd if=/dev/input/$event bs=24 count=2 2>/dev/null | busybox od -A n -v -w24 -t d4
busybox sleep 1000
"""


def test_the_pointer_is_where_the_viewers_is(house: House, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    package = "linux-image-amd64"
    image = packages.file(package, "boot/vmlinuz-*")
    elf = tmp_path / "vmlinux"
    elf.write_bytes(kernel.bootable(image.read_bytes()))
    wanted = ("virtio/virtio_pci", "virtio/virtio_input", "input/evdev")
    names = [f"kernel/drivers/{name}.ko*" for name in wanted]
    files = modules(package, "kernel/drivers/*", *names)
    initrd = busybox(tmp_path / "initrd", LOAD + TABLET, files=files)
    words = "console=ttyS0 cryptomgr.notests"
    options = ("--display", "800x600", "--vnc", f"127.0.0.1:{port}", "--append", words)
    house.start("seen", elf, "--initrd", str(initrd), *options)
    log(house, "ready")
    viewer = [INN.with_name("vncdo"), "-s", f"127.0.0.1::{port}", "move", "799", "0"]
    subprocess.run(viewer, check=True, timeout=PATIENCE)
    log(house, f"{3:>12}{0x7FFF:>12}")
