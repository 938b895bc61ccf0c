from dataclasses import replace
from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import ScreenSpec, VncSpec, parse_screen, parse_vnc


@pytest.mark.parametrize(
    ("text", "screen"),
    [
        ("none", None),
        ("vga", ScreenSpec()),
        ("1280x720", ScreenSpec(width=1280, height=720)),
        ("800x600,memory=64M", ScreenSpec(width=800, height=600, memory=64 << 20)),
        ("virtio", ScreenSpec(card="virtio")),
        ("640x480,virtio", ScreenSpec(card="virtio", width=640, height=480)),
        ("vga,rom=bios.bin", replace(ScreenSpec(), rom=Path("bios.bin"))),
    ],
)
def test_displays_as_they_are_written(text: str, screen: ScreenSpec | None) -> None:
    # New guests have a keyboard; what was stored of older ones has none.
    assert parse_screen(text) == (screen and replace(screen, keyboard=True))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("big", "is no display"),
        ("1024", "is no display"),
        ("1023x768", "a multiple of 8"),
        ("99999x99999", "a display has 320x200 to"),
        ("vga,memory=3M", "a power of two"),
        ("3840x2400,memory=16M", "do not fit"),
        ("vga,colour=red", "is nothing of a display"),
    ],
)
def test_what_is_no_display_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        parse_screen(text)


def test_places_for_viewers() -> None:
    assert parse_vnc("127.0.0.1:5901", None) == VncSpec(host="127.0.0.1", port=5901)
    assert parse_vnc("[::1]:0", None) == VncSpec(host="::1", port=0)
    for text in ("5900", ":5900", "host:", "host:70000", "host:x"):
        with pytest.raises(InvalidInput, match="is no place for --vnc"):
            parse_vnc(text, None)
