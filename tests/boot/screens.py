"""What a guest of firmware shows: as text by the font that the VGA's BIOS has, and as a picture."""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from PIL import Image
from tests.boot import packages
from tests.boot.pictures import Box, differing
from tests.boot.test_firmware import seabios
from tests.run.house import House, wait

GUEST: Final = "seen"
# Of all pixels: a cursor blinks.
_ALIKE: Final = 0.0005
_GLYPH_LINES: Final = 16
# By which the font is found among the BIOS' code.
_LETTER_A: Final = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")
# Of a cell that shows no character of the font, as the one under the cursor.
_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"


class Screen:
    """The screen and the keyboard of the guest `GUEST`. Pictures are put into `directory`."""

    def __init__(self, house: House, directory: Path) -> None:
        self._house = house
        self._path = directory / "screen.png"

    def picture(self) -> Image.Image:
        self._house("screenshot", GUEST, self._path)
        with Image.open(self._path) as picture:
            return picture.convert("RGB")

    def lines(self) -> list[str]:
        """The text on it; none while it shows graphics."""
        return read(self.picture())

    def shows(self, *words: str | re.Pattern[str]) -> list[str]:
        """Waits until each of them is in a line, and returns all lines."""
        found: list[str] = wait(self.lines, lambda lines: all(_has(lines, word) for word in words))
        return found

    def loses(self, word: str) -> None:
        """Waits until it is in no line."""
        wait(self.lines, lambda lines: not _has(lines, word))

    def looks_like(self, name: str, but: Iterable[Box] = ()) -> None:
        """Waits until it does: see `pictures`."""
        wait(lambda: differing(self.picture(), name, but), lambda share: share < _ALIKE)

    def differs_from(self, name: str) -> None:
        """Waits until it no longer looks like that."""
        wait(lambda: differing(self.picture(), name), lambda share: share > _ALIKE)

    def becomes(self, width: int, height: int) -> None:
        """Waits until it has this size."""
        wait(lambda: self.picture().size, lambda size: size == (width, height))

    def ends(self) -> None:
        """Waits until the guest has switched itself off."""
        ended = self._house.wait_for_state(GUEST, "exited")
        assert ended["status"] == 0, ended

    def press(self, *keys: str) -> None:
        self._house("sendkey", GUEST, *keys)

    def enter(self, text: str) -> None:
        """Types it, and the key Enter."""
        self._house("type", GUEST, "--enter", text)


@contextmanager
def booted(
    directory: Path, engine: str, *options: str | Path, network: str = "none"
) -> Iterator[Screen]:
    """A guest of SeaBIOS with a VGA that boots what `options` say, of a home in `directory`."""
    house = House(directory / "home")
    house(
        *("run", "--detach", "--name", GUEST, "--engine", engine),
        *("--memory", "64M", "--network", network),
        *("--firmware", seabios(), "--display", f"vga,rom={vga_bios()}", *options),
    )
    try:
        yield Screen(house, directory)
    finally:
        house("rm", "--force", GUEST)
        # No template waits for guests of this home.
        shutil.rmtree(house.home / "templates", ignore_errors=True)


def _has(lines: list[str], word: str | re.Pattern[str]) -> bool:
    pattern = re.compile(re.escape(word)) if isinstance(word, str) else word
    return any(pattern.search(line) for line in lines)


def vga_bios() -> Path:
    return packages.file("seabios", "usr/share/seabios/vgabios-stdvga.bin")


def read(picture: Image.Image) -> list[str]:
    """The lines of a text mode of 80 columns, without what is blank at their ends."""
    dots = {720: 9, 640: 8}.get(picture.width)
    if dots is None or picture.height not in (400, 480):
        return []
    return [
        "".join(
            _character(picture.crop((left, top, left + 8, top + _GLYPH_LINES)))
            for left in range(0, picture.width, dots)
        ).rstrip()
        for top in range(0, picture.height, _GLYPH_LINES)
    ]


def _character(cell: Image.Image) -> str:
    colours = cell.getcolors(2)
    if colours is None:
        return _UNKNOWN
    if len(colours) == 1:
        return " "
    # Which of the two is the character's is not to be told by looking.
    characters = _characters()
    pixels = cell.tobytes()
    for _, colour in colours:
        bits = bytes(
            sum(
                (pixels[3 * (8 * y + x) :][:3] == bytes(colour)) << 7 - x  # type: ignore[arg-type]
                for x in range(8)
            )
            for y in range(_GLYPH_LINES)
        )
        if bits in characters:
            return characters[bits]
    return _UNKNOWN


@cache
def _characters() -> dict[bytes, str]:
    """By their pictures, a byte a line. Those of the same picture are the first of them."""
    code = vga_bios().read_bytes()
    font = code[code.index(_LETTER_A) - ord("A") * _GLYPH_LINES :]
    printable = range(ord(" "), 256)
    return {
        font[number * _GLYPH_LINES :][:_GLYPH_LINES]: bytes([number]).decode("cp437")
        for number in reversed(printable)
    }
