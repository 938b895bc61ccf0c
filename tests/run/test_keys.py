"""Keys that are pressed for a guest, as its keyboard controller tells them."""

from pathlib import Path

import pytest
from tests import tiny
from tests.run.house import House, wait

# Waits for a byte of the keyboard's, and says it without its highest bit, and 20h more.
KEYS = bytes.fromhex("e464 a801 74fa e460 247f 0420 66baf803 ee ebed")
# Of the first set of scan codes. Spec: IBM PS/2 Technical Reference, "Keyboard Scan Codes, Set 1".
A, B, LEFT_CONTROL, LEFT_ALT = (chr(code + 0x20) for code in (0x1E, 0x30, 0x1D, 0x38))


@pytest.fixture
def desk(house: House, tmp_path: Path) -> House:
    kernel = tiny.kernel(tmp_path / "keys", KEYS)
    house.start("desk", kernel, "--network", "none", "--display", "vga")
    return house


def test_keys_go_down_and_up_one_combination_after_another(desk: House) -> None:
    desk("sendkey", "desk", "a", "ctrl-alt-b")
    said = wait(lambda: desk("logs", "desk"), lambda text: len(text) >= 8)
    assert said[:5] == A + A + LEFT_CONTROL + LEFT_ALT + B
    assert sorted(said[5:8]) == sorted(LEFT_CONTROL + LEFT_ALT + B)
    desk("type", "desk", "ab")
    said = wait(lambda: desk("logs", "desk"), lambda text: len(text) >= 12)
    assert said[8:12] == A + A + B + B


def test_what_is_no_key_is_not_pressed(desk: House) -> None:
    assert "'nokey'" in desk.refuses("sendkey", "desk", "a", "nokey", status=2)
    assert desk("logs", "desk").strip() == ""
    desk("stop", "--timeout", "0", "desk")
    assert "is not running" in desk.refuses("sendkey", "desk", "a")
    assert "no guest 'nobody'" in desk.refuses("sendkey", "nobody", "a")
