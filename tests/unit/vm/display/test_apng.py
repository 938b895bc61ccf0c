"""Moving pictures of ours, as Pillow reads them."""

import io

import pytest
from PIL import Image

from innkeeper.vm.display.apng import Animation

RED, BLUE = b"\xff\0\0", b"\0\0\xff"


def test_pictures_come_one_after_the_other() -> None:
    file = io.BytesIO()
    animation = Animation(file, 4, 3)
    assert not animation.started
    animation.picture((0, 0, 4, 3), RED * 12, 0)
    animation.picture((1, 2, 2, 1), BLUE * 2, 250)
    animation.picture((0, 0, 1, 1), BLUE, 1 << 20)
    animation.close()
    with Image.open(io.BytesIO(file.getvalue())) as found:
        assert (found.size, found.n_frames) == ((4, 3), 3)  # type: ignore[attr-defined]
        seen, delays = [], []
        for number in range(3):
            found.seek(number)
            seen.append(found.convert("RGB").tobytes())
            delays.append(found.info["duration"])
    assert seen[0] == RED * 12
    assert seen[1] == RED * 9 + BLUE * 2 + RED
    assert seen[2] == BLUE + RED * 8 + BLUE * 2 + RED
    assert delays[:2] == [250, 0xFFFF]


def test_the_first_picture_is_whole() -> None:
    with pytest.raises(ValueError, match="whole"):
        Animation(io.BytesIO(), 4, 3).picture((0, 0, 1, 1), RED, 0)


def test_one_picture_is_a_picture() -> None:
    file = io.BytesIO()
    animation = Animation(file, 1, 1)
    animation.picture((0, 0, 1, 1), RED, 0)
    animation.close()
    with Image.open(io.BytesIO(file.getvalue())) as found:
        assert found.convert("RGB").tobytes() == RED
