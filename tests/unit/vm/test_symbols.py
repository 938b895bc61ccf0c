"""Files of symbols, well made and not."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.errors import InvalidInput
from innkeeper.vm import symbols


def elf(code_flags: int = 4) -> bytes:
    """No section; code; a table of three symbols; their names."""
    names = b"\0start\0data\0" + b"x" * 300 + b"\0"
    table = b"".join(
        struct.pack("<IBBHQQ", *entry)
        for entry in (
            (0, 0, 0, 0, 0, 0),
            (1, 0x12, 0, 1, 0xFFFF_FFFF_8100_0000, 16),
            (7, 0x11, 0, 1, 0xFFFF_FFFF_8200_0000, 8),
            (12, 0x10, 0, 1, 0xFFFF_FFFF_8100_0010, 0),
        )
    )
    sections = [
        (0,) * 10,
        (0, 1, code_flags, 0, 0, 0, 0, 0, 0, 0),
        (0, 2, 0, 0, 64, len(table), 3, 0, 0, 24),
        (0, 3, 0, 0, 64 + len(table), len(names), 0, 0, 0, 0),
    ]
    at = 64 + len(table) + len(names)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + bytes(24)
    header += struct.pack("<Q", at) + bytes(10) + struct.pack("<HHH", 64, len(sections), 0)
    packed = b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)
    return header + table + names + packed


def test_lines_of_a_system_map_and_of_kallsyms(tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text(
        "ffffffff81000000 T _text\n"
        "0000000000000000 A fixed\n"
        "ffffffff81000020 t one\t[module]\n"
        "ffffffff82000000 D data\n"
    )
    assert symbols.read(file) == [(0xFFFF_FFFF_8100_0000, "_text"), (0xFFFF_FFFF_8100_0020, "one")]


def test_functions_of_an_elf(tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(elf())
    assert symbols.read(file) == [
        (0xFFFF_FFFF_8100_0000, "start"),
        (0xFFFF_FFFF_8100_0010, "x" * 200),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world\n",
        b"\xff\xfe\x00\n\n",
        b"fffffffffffffffff T too_long\n",
        b"0000000000000000 T hidden\n",
        b"\x7fELF\x01\x01",
        elf()[:100],
        elf(code_flags=0),
        elf()[:40] + b"\xff" * 24 + elf()[64:],
    ],
)
def test_what_is_no_file_of_symbols_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(InvalidInput):
        symbols.read(file)


def test_a_cut_elf_never_surprises(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for length in range(len(elf())):
        file.write_bytes(elf()[:length])
        with pytest.raises(InvalidInput):
            symbols.read(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=400)
    | st.tuples(st.integers(0, len(elf()) - 1), st.binary(min_size=1, max_size=8)).map(
        lambda change: elf()[: change[0]] + change[1] + elf()[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_are_symbols_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    try:
        found = symbols.read(file)
    except InvalidInput:
        return
    assert all(0 < address < 1 << 64 and name for address, name in found)


def test_an_elf_of_many_symbol_tables_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    content = bytearray(elf())
    table, size, count = struct.unpack_from("<40xQ10xHH", content)
    symbol_table = next(
        at
        for at in range(table, table + count * size, size)
        if struct.unpack_from("<I", content, at + 4) == (2,)
    )
    again = content[symbol_table : symbol_table + size] * 50
    struct.pack_into("<H", content, 60, count + 50)
    assert table + count * size == len(content), "the sections are the file's end"
    file.write_bytes(content + again)
    assert len(symbols.read(file)) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read symbols from .*none: No such file"):
        symbols.read(tmp_path / "none")
