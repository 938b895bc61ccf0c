"""A floppy disk with SYSLINUX: a menu, what it finds of the machine, and what it starts.

Its modules are 32-bit code that calls the BIOS all the time: for the screen, the keyboard, disks
and memory, from real mode and back.
"""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.boot import floppies, packages
from tests.boot.screens import Screen, booted
from tests.boot.test_firmware import ENGINES, boot_sector

LONG = pytest.mark.long_guest(reason="a floppy disk's menu is seen by another test as well")
MENU = """\
UI menu.c32
PROMPT 0
MENU TITLE Innkeeper
LABEL hdt
 MENU LABEL Hardware Detection Tool
 COM32 hdt.c32
LABEL inner
 MENU LABEL A floppy disk in memory
 LINUX memdisk
 INITRD inner.gz
LABEL ipxe
 MENU LABEL iPXE
 LINUX ipxe.krn
"""
# How many PCI devices there are, in HDT's menu.
NUMBER = (135, 48, 162, 64)
MODULES = ("menu", "hdt", "ldlinux", "libcom32", "libgpl", "libmenu", "libutil")


@contextmanager
def menu(directory: Path, engine: str) -> Iterator[Screen]:
    """The guest that shows it."""
    said = "DEFAULT none\nPROMPT 1\nSAY The disk in memory says this.\n"
    inner = floppies.syslinux(directory / "inner.img", said, "ldlinux").read_bytes()
    files = {
        "memdisk": floppies.memdisk(),
        "inner.gz": gzip.compress(inner),
        "ipxe.krn": packages.file("ipxe", "boot/ipxe.lkrn").read_bytes(),
    }
    outer = floppies.syslinux(directory / "outer.img", MENU, *MODULES, files=files)
    disk = f"{boot_sector(directory)},bus=ide"
    options = ("--floppy", outer, "--boot", "floppy", "--disk", disk)
    with booted(directory, engine, *options, network="user,model=e1000") as screen:
        screen.shows("Innkeeper", "Press [Tab] to edit options")
        yield screen


@LONG
def test_the_menu_is_drawn(tmp_path: Path) -> None:
    with menu(tmp_path, "translator") as screen:
        screen.looks_like("syslinux-menu")


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_hdt_finds_the_machine(engine: str, tmp_path: Path) -> None:
    with menu(tmp_path, engine) as screen:
        screen.press("ret")
        screen.shows("Hardware Detection Tool 0.5", "PCI Devices(", "Disks      ( 1)")
        # By SMBIOS, whose entry point systems before 2015 know.
        screen.shows("Bios                >", "System              >")
        screen.looks_like("hdt-menu", [NUMBER])
        screen.press("down", "down", "ret")
        screen.shows("64 MB detected", "e820", "e801")
        screen.press("down", "ret")
        screen.shows(re.compile("Size +: 64 MB"), re.compile("Device Loc. +: DIMM 0"))
        # One by one: what comes right after such a key is a part of it for SYSLINUX.
        for word in ("Device Loc", "64 MB detected"):
            screen.press("esc")
            screen.loses(word)
        screen.press("down", "ret")
        screen.shows("Main Processors (1 logical", re.compile("Model +: Innkeeper Virtual CPU"))


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_memdisk_boots_a_disk_in_memory(engine: str, tmp_path: Path) -> None:
    with menu(tmp_path, engine) as screen:
        screen.press("down", "ret")
        screen.shows("The disk in memory says this.", "boot:")


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_ipxe_is_started_as_a_kernel(engine: str, tmp_path: Path) -> None:
    with menu(tmp_path, engine) as screen:
        screen.press("down", "down", "ret")
        screen.shows("Press Ctrl-B for the iPXE command line")
        screen.press("ctrl-b")
        screen.shows("iPXE>")
        screen.enter("dhcp && show ip")
        screen.shows("net0.dhcp/ip:ipv4 = 10.0.2.15")


GRAPHICAL = """\
UI vesamenu.c32
PROMPT 0
MENU TITLE Innkeeper
LABEL off
 MENU LABEL Switch off
 COM32 poweroff.c32
LABEL reset
 MENU LABEL Start anew
 COM32 reboot.c32
"""


@LONG
@pytest.mark.parametrize("engine", ENGINES)
def test_a_graphical_menu_resets_and_switches_off(engine: str, tmp_path: Path) -> None:
    modules = ("vesamenu", "reboot", "poweroff", "ldlinux", "libcom32", "libutil")
    disk = floppies.syslinux(tmp_path / "disk.img", GRAPHICAL, *modules)
    with booted(tmp_path, engine, "--floppy", disk, "--boot", "floppy") as screen:
        screen.looks_like("syslinux-graphics")
        screen.press("down")
        screen.differs_from("syslinux-graphics")
        screen.press("ret")
        # The first line is chosen again, as in the beginning.
        screen.looks_like("syslinux-graphics")
        screen.press("ret")
        screen.ends()
