"""That pictures of guests' screens are compared, and not only looked for."""

from pathlib import Path

import pytest
from PIL import Image
from tests.boot import pictures


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """A grey picture of 100 pixels, kept as "grey"."""
    monkeypatch.setattr(pictures, "KEPT", tmp_path)
    monkeypatch.setattr(pictures, "SEEN", tmp_path / "seen")
    picture = Image.new("RGB", (10, 10), (100, 100, 100))
    picture.save(tmp_path / "grey.png")
    return picture


def test_a_picture_is_like_itself_and_almost_like_itself(kept: Image.Image, tmp_path: Path) -> None:
    assert pictures.differing(kept, "grey") == 0
    kept.putpixel((3, 4), (100, 106, 100))
    assert pictures.differing(kept, "grey") == 0
    assert not (tmp_path / "seen").exists()


def test_other_pixels_are_counted_but_where_they_may_differ(
    kept: Image.Image, tmp_path: Path
) -> None:
    kept.putpixel((3, 4), (100, 100, 200))
    kept.putpixel((9, 9), (0, 100, 100))
    assert pictures.differing(kept, "grey") == 0.02
    assert pictures.differing(kept, "grey", [(3, 4, 4, 5)]) == 0.01
    assert pictures.differing(kept, "grey", [(3, 4, 10, 10)]) == 0
    # For somebody to look at.
    assert (tmp_path / "seen" / "grey.png").exists()


def test_another_size_and_no_picture_are_nothing_alike(kept: Image.Image) -> None:
    assert pictures.differing(kept.resize((10, 11)), "grey") == 1
    assert pictures.differing(kept, "other") == 1
