import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("512", 512 << 20),
        ("2G", 2 << 30),
        ("1.5g", 3 << 29),
        ("65536K", 64 << 20),
        ("512MiB", 512 << 20),
        (" 1 GB ", 1 << 30),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1G", "1e9", "lots", "0x10M", "1.G", "5P", "1 2G"])
def test_what_is_no_size_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a size"):
        parse_size(text)


def test_half_a_byte_is_refused() -> None:
    with pytest.raises(InvalidInput, match="whole number of bytes"):
        parse_size("0.0001K")


@given(st.integers(0, 1 << 30))
def test_whole_numbers_of_kibibytes_come_back(kibibytes: int) -> None:
    assert parse_size(f"{kibibytes}K") == kibibytes << 10


def test_sizes_are_shown_in_their_unit() -> None:
    assert format_size(512) == "512 bytes"
    assert format_size(512 << 20) == "512 MiB"
    assert format_size(3 << 29) == "1.5 GiB"
