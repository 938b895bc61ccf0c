"""Names of a guest kernel's functions, out of a file: for profiles.

Either a System.map, which is also what a guest's own /proc/kallsyms is (lines of an address, a
letter and a name), or an ELF file with a symbol table.
Spec: System V ABI, "ELF Header", "Section Header" and "Symbol Table"; nm(1) for the letters.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput

Symbol = tuple[int, str]

_LARGEST: Final = 2 << 30
_LONGEST_NAME: Final = 200
# Code, and weak symbols that have a value.
_CODE_LETTERS: Final = "tTwW"
_ELF: Final = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_HEADER: Final = struct.Struct("<40xQ10xHHH")  # where sections are, their size, number, names
# Name, type, flags, address, offset, size, link, info, alignment, size of an entry.
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size
_SHT_SYMTAB: Final = 2
_SHF_EXECINSTR: Final = 4
_KINDS: Final = (0, 2)  # without a type, as entry code often is; functions


def read(path: Path) -> list[Symbol]:
    """
    Raises:
        InvalidInput: when the file cannot be read, or has no names in it.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidInput(f"{path} is too large to be a file of symbols")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidInput(f"cannot read symbols from {path}: {reason}") from error
    try:
        found = list(_of_elf(data) if data.startswith(b"\x7fELF") else _of_lines(data))
    except (struct.error, ValueError, OverflowError) as error:
        raise InvalidInput(f"{path} is no file of symbols: {error}") from error
    if not found:
        raise InvalidInput(
            f"{path} has no symbols of code in it; "
            "/proc/kallsyms shows a guest's addresses to its root alone"
        )
    return found


def _of_lines(data: bytes) -> Iterator[Symbol]:
    for line in data.splitlines():
        words = line.split(maxsplit=3)
        if len(words) < 3 or len(words[1]) != 1:
            raise ValueError("its lines are not an address, a letter and a name")
        address = int(words[0], 16)
        if address >> 64:
            raise ValueError("an address has more than 64 bits")
        if address and words[1].decode("latin-1") in _CODE_LETTERS:
            yield address, _name(words[2])


def _of_elf(data: bytes) -> Iterator[Symbol]:
    if not data.startswith(_ELF):
        raise ValueError("it is not a little-endian ELF of 64 bits")
    table, size, count, _ = _HEADER.unpack_from(data)
    sections = [_SECTION.unpack_from(data, table + index * size) for index in range(count)]
    code = [bool(section[2] & _SHF_EXECINSTR) for section in sections]
    for section in sections:
        _, kind, _, _, offset, length, link, _, _, _ = section
        if kind != _SHT_SYMTAB or link >= count:
            continue
        names = data[sections[link][4] : sections[link][4] + sections[link][5]]
        symbols = data[offset : offset + length // _SYMBOL.size * _SYMBOL.size]
        for name, info, _, where, value, _ in _SYMBOL.iter_unpack(symbols):
            if info & 15 in _KINDS and value and where < count and code[where]:
                text = names[name : name + _LONGEST_NAME].partition(b"\0")[0]
                if text:
                    yield value, _name(text)
        # There is but one, and a file that says otherwise would be read over and over.
        return


def _name(raw: bytes) -> str:
    return raw[:_LONGEST_NAME].decode("ascii", "replace")
