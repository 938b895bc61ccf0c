import string

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.services.screen import parse_keys
from innkeeper.vm.display import keys


def test_codes_of_keys_that_everybody_knows() -> None:
    assert keys.scan_codes("a", down=True) == b"\x1c"
    assert keys.scan_codes("a", down=False) == b"\xf0\x1c"
    assert keys.scan_codes("delete", down=False) == b"\xe0\xf0\x71"
    assert keys.scan_codes("pause", down=False) == b""
    assert keys.scan_codes("nothing", down=True) == b""


def test_every_key_has_codes_of_its_own() -> None:
    alike = {"asterisk", "menu", "sysrq"}
    codes = [keys.scan_codes(name, down=True) for name in keys.NAMES if name not in alike]
    assert len(set(codes)) == len(codes)
    assert all(codes)


def test_what_is_printed_on_a_keyboard_can_be_typed() -> None:
    for character in string.printable.replace("\x0b", "").replace("\x0c", ""):
        held = keys.of_character(character)
        assert held, character
        assert all(name in keys.NAMES for name in held)
    assert keys.of_character("A") == ("shift", "a")
    assert keys.of_character("ß") == ()


def test_keys_of_others() -> None:
    assert keys.of_symbol(0xFF0D) == "ret"
    assert keys.of_symbol(ord("A")) == keys.of_symbol(ord("a")) == "a"
    assert keys.of_symbol(ord("?")) == "slash"
    assert keys.of_symbol(0x0100_20AC) is None
    assert keys.of_number(0x1E) == "a"
    assert keys.of_number(0xD3) == "delete"
    assert keys.of_number(0xFFFF) is None


def test_combinations_as_people_write_them() -> None:
    assert parse_keys("Ctrl-Alt-Del") == ("ctrl", "alt", "delete")
    assert parse_keys("shift+f10") == ("shift", "f10")
    with pytest.raises(InvalidInput, match="there is no key 'any'"):
        parse_keys("any")
