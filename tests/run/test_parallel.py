"""Printers of guests that are saved, gone back to and forked."""

import os
import struct
from pathlib import Path

import pytest
from tests import tiny
from tests.run.house import House

# Waits for a byte at COM1, prints it, and answers with it and the printer's status.
PRINT = b"".join(
    (
        bytes.fromhex("66bafd03 ec a801 74f7 66baf803 ec 88c3 66ba7803 ee"),
        tiny.out_byte(0x37A, 0x0D),
        tiny.out_byte(0x37A, 0x0C),
        bytes.fromhex("88d8 66baf803 ee 66ba7903 ec 66baf803 ee"),
    )
)
PRINT += b"\xeb" + struct.pack("<b", -len(PRINT) - 2)
GOOD, OUT_OF_PAPER = b"\xdf", b"\xf7"


@pytest.fixture
def paper(house: House, tmp_path: Path) -> Path:
    """What the guest `printing` prints to."""
    found = tmp_path / "paper"
    kernel = tiny.kernel(tmp_path / "printing", PRINT)
    house.start("printing", kernel, "--memory", "16M", "--parallel", str(found))
    return found


def printed(house: House, guest: str, byte: bytes) -> bytes:
    """Has the guest print it. What the printer says then."""
    process = house.inn.start("console", guest)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), byte)
        heard = b""
        # What it said before may come again.
        while not (said := heard.rpartition(byte)[2]) or byte not in heard:
            heard += os.read(process.stdout.fileno(), 1)
        return said[:1]
    finally:
        process.kill()
        process.communicate()


def test_what_is_printed_stays_printed(house: House, paper: Path) -> None:
    assert printed(house, "printing", b"a") == GOOD
    house("snapshot", "create", "printing", "before")
    assert printed(house, "printing", b"b") == GOOD
    house("snapshot", "restore", "printing", "before")
    assert printed(house, "printing", b"c") == GOOD
    assert paper.read_bytes() == b"abc"


def test_a_fork_prints_on_nobodys_paper(house: House, paper: Path) -> None:
    assert printed(house, "printing", b"a") == GOOD
    house("fork", "printing", "copy")
    assert printed(house, "copy", b"x") == OUT_OF_PAPER
    assert printed(house, "printing", b"b") == GOOD
    # And none is put in when it is started anew.
    house("stop", "-t", "0", "copy")
    house("start", "copy")
    assert printed(house, "copy", b"y") == OUT_OF_PAPER
    assert paper.read_bytes() == b"ab"
