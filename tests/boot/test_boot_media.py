"""What boots from discs and floppy disks of others by SeaBIOS, as its screen shows it."""

import re
import shutil
from pathlib import Path

import pytest
from tests.boot import fat, packages
from tests.boot.screens import Screen, booted
from tests.boot.test_firmware import ENGINES, boot_sector
from tests.run.house import wait

from innkeeper.machine import CardModel

# The line with GRUB's version, in the text mode and in that of 800 to 600.
TITLE = (0, 16, 720, 32)
LARGE_TITLE = (0, 24, 800, 48)
# What nothing else of the game looks like.
TIP = re.compile(" +_")


@pytest.mark.long_guest(reason="it tests memory for seconds")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variant", ["x64", "ia32"])
def test_memtest_boots_from_its_disc(engine: str, variant: str, tmp_path: Path) -> None:
    disc = packages.file("memtest86+", f"usr/lib/memtest86+/memtest86+{variant}.iso")
    with booted(tmp_path, engine, "--cdrom", disc) as screen:
        # The first test is over, which the screen does not show on a fast machine.
        lines = screen.shows("Memtest86+ v", re.compile(r"Test #[1-9] "), "Errors: 0")
    assert any("Innkeeper Virtual CPU" in line for line in lines)
    assert any(re.match(r"Memory  : +64MB ", line) for line in lines)


@pytest.mark.long_guest(reason="its menu is waited for on the serial line as well")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("medium", ["cd", "fd0"])
def test_grub_reads_its_medium_and_a_disk(engine: str, medium: str, tmp_path: Path) -> None:
    options = ("--disk", f"{boot_sector(tmp_path)},bus=ide", "--boot", "floppy,cd")
    with booted(tmp_path, engine, *rescue(medium, tmp_path), *options) as screen:
        menu(screen)
        screen.looks_like("grub-menu", [TITLE])
        screen.press("c")
        screen.shows("grub>")
        screen.enter("ls")
        screen.shows(f"({medium})", "(hd0)")
        screen.enter("hexdump (hd0)+1 -s 496 -n 16")
        screen.shows("55 aa")


@pytest.mark.long_guest(reason="GRUB's menu is waited for elsewhere as well")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_bios_hears_a_keyboard_by_usb(engine: str, tmp_path: Path) -> None:
    # It gets keys from that one alone, once it has a driver for it, as it says in `test_firmware`.
    options = (*rescue("cd", tmp_path), "--usb-controller", "uhci")
    with booted(tmp_path, engine, *options) as screen:
        menu(screen)
        screen.press("c")
        screen.shows("grub>")
        screen.enter("echo Typed (by) USB")
        screen.shows(re.compile("^Typed .by. USB"))


@pytest.mark.long_guest(reason="it reads many small files of a disc")
@pytest.mark.parametrize("engine", ENGINES)
def test_grub_draws_its_menu_in_a_mode_of_vbe(engine: str, tmp_path: Path) -> None:
    with booted(tmp_path, engine, *rescue("cd", tmp_path)) as screen:
        menu(screen)
        screen.press("c")
        screen.shows("grub>")
        screen.enter("insmod all_video; loadfont unicode; terminal_output gfxterm")
        screen.becomes(800, 600)
        screen.press("esc")
        screen.looks_like("grub-graphics", [LARGE_TITLE])


def rescue(medium: str, directory: Path) -> tuple[str | Path, ...]:
    """GRUB on that medium."""
    where = "usr/lib/grub-rescue/grub-rescue"
    if medium == "cd":
        return ("--cdrom", packages.file("grub-rescue-pc", f"{where}-cdrom.iso"))
    disk = packages.file("grub-rescue-pc", f"{where}-floppy.img")
    return ("--floppy", shutil.copy(disk, directory))


def menu(screen: Screen) -> None:
    """That of GRUB, whose clock has been stopped by a key."""
    screen.shows("GNU GRUB  version 2", "executed automatically")
    screen.press("up")
    screen.loses("executed automatically")


@pytest.mark.long_guest(reason="GRUB's menu is waited for elsewhere as well")
@pytest.mark.parametrize("engine", ENGINES)
def test_invaders_are_fled_by_the_keyboard(engine: str, tmp_path: Path) -> None:
    game = packages.file("grub-invaders", "boot/invaders.exec").read_bytes()
    disk = tmp_path / "disk.img"
    disk.write_bytes(fat.disk({"invaders.exe": game}))
    options = ("--disk", f"{disk},bus=ide", "--boot", "cd")
    with booted(tmp_path, engine, *rescue("cd", tmp_path), *options) as screen:
        menu(screen)
        screen.press("c")
        screen.shows("grub>")
        screen.enter("multiboot (hd0)/invaders.exe; boot")
        screen.shows("-*-", TIP)
        at = ship(screen)
        for key, way in (("right", 1), ("left", -1)):
            screen.press(key)
            at = wait(lambda: ship(screen), lambda now, at=at, way=way: (now - at) * way > 0)


def ship(screen: Screen) -> int:
    """The column of its tip."""
    found = (TIP.fullmatch(line) for line in reversed(screen.lines()))
    return next(tip.end() for tip in found if tip)


@pytest.mark.long_guest(reason="of the cards, each has its driver in iPXE")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", list(CardModel))
def test_ipxe_boots_from_its_disc_and_loads_by_tftp(
    engine: str, model: CardModel, tmp_path: Path
) -> None:
    served = tmp_path / "tftp"
    served.mkdir()
    (served / "boot.ipxe").write_text("#!ipxe\necho by TFTP\nprompt\n")
    network = f"user,model={model},tftp={served},bootfile=boot.ipxe"
    disc = packages.file("ipxe", "usr/lib/ipxe/ipxe.iso")
    options = ("--cdrom", disc, "--boot", "cd")
    with booted(tmp_path, engine, *options, network=network) as screen:
        screen.shows("iPXE ISO boot image", "Next server: 10.0.2.2", re.compile("^by TFTP$"))
