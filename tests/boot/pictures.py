"""Pictures of screens, compared with those in tests/boot/pictures, which somebody has looked at.

What was seen where one differs, or is not there yet, is left in build/pictures under the same name:
after a look at it, it can take the other's place.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageDraw

KEPT: Final = Path(__file__).parent / "pictures"
SEEN: Final = Path(__file__).parents[2] / "build" / "pictures"
# Of a colour's 256 shades: what rounding makes, and no more.
_SHADES: Final = 8
Box = tuple[int, int, int, int]


def differing(picture: Image.Image, name: str, but: Iterable[Box] = ()) -> float:
    """The share of pixels that are not as in the picture `name`, 1 where there is none of its size.

    The boxes `but` (left, top, right, bottom) have what may differ, such as clocks.
    """
    kept = KEPT / f"{name}.png"
    share = 1.0
    if kept.exists():
        with Image.open(kept) as file:
            wanted = file.convert("RGB")
        if wanted.size == picture.size:
            share = _share(picture, wanted, but)
    if share > 0:
        SEEN.mkdir(parents=True, exist_ok=True)
        picture.quantize(256).save(SEEN / f"{name}.png", optimize=True)
    return share


def _share(picture: Image.Image, wanted: Image.Image, but: Iterable[Box]) -> float:
    difference = ImageChops.difference(picture, wanted)
    # The largest of the three colours' differences.
    red, green, blue = difference.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    draw = ImageDraw.Draw(largest)
    for left, top, right, bottom in but:
        draw.rectangle((left, top, right - 1, bottom - 1), fill=0)
    other = sum(largest.histogram()[_SHADES + 1 :])
    return other / (largest.width * largest.height)
