"""Keys by their names in QEMU's protocol (QKeyCode), and their scan codes.

Spec: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboard", scan code set 2;
QEMU's ui.json, "QKeyCode", for the names.
"""

from typing import Final

# Set 2; 0x100 and more have E0 before them.
CODES: Final[dict[str, int]] = {
    "esc": 0x76, "f1": 0x05, "f2": 0x06, "f3": 0x04, "f4": 0x0C, "f5": 0x03, "f6": 0x0B,
    "f7": 0x83, "f8": 0x0A, "f9": 0x01, "f10": 0x09, "f11": 0x78, "f12": 0x07,
    "grave_accent": 0x0E, "1": 0x16, "2": 0x1E, "3": 0x26, "4": 0x25, "5": 0x2E, "6": 0x36,
    "7": 0x3D, "8": 0x3E, "9": 0x46, "0": 0x45, "minus": 0x4E, "equal": 0x55, "backspace": 0x66,
    "tab": 0x0D, "q": 0x15, "w": 0x1D, "e": 0x24, "r": 0x2D, "t": 0x2C, "y": 0x35, "u": 0x3C,
    "i": 0x43, "o": 0x44, "p": 0x4D, "bracket_left": 0x54, "bracket_right": 0x5B,
    "backslash": 0x5D, "caps_lock": 0x58, "a": 0x1C, "s": 0x1B, "d": 0x23, "f": 0x2B, "g": 0x34,
    "h": 0x33, "j": 0x3B, "k": 0x42, "l": 0x4B, "semicolon": 0x4C, "apostrophe": 0x52,
    "ret": 0x5A, "shift": 0x12, "z": 0x1A, "x": 0x22, "c": 0x21, "v": 0x2A, "b": 0x32, "n": 0x31,
    "m": 0x3A, "comma": 0x41, "dot": 0x49, "slash": 0x4A, "shift_r": 0x59, "ctrl": 0x14,
    "alt": 0x11, "spc": 0x29, "less": 0x61, "scroll_lock": 0x7E, "num_lock": 0x77,
    "asterisk": 0x7C, "kp_multiply": 0x7C, "kp_subtract": 0x7B, "kp_add": 0x79,
    "kp_decimal": 0x71, "kp_0": 0x70, "kp_1": 0x69, "kp_2": 0x72, "kp_3": 0x7A, "kp_4": 0x6B,
    "kp_5": 0x73, "kp_6": 0x74, "kp_7": 0x6C, "kp_8": 0x75, "kp_9": 0x7D, "ro": 0x51,
    "yen": 0x6A, "henkan": 0x64, "muhenkan": 0x67, "katakanahiragana": 0x13,
    "kp_divide": 0x14A, "kp_enter": 0x15A, "ctrl_r": 0x114, "alt_r": 0x111, "meta_l": 0x11F,
    "meta_r": 0x127, "menu": 0x12F, "compose": 0x12F, "insert": 0x170, "delete": 0x171,
    "home": 0x16C, "end": 0x169, "pgup": 0x17D, "pgdn": 0x17A, "up": 0x175, "down": 0x172,
    "left": 0x16B, "right": 0x174, "power": 0x137, "sleep": 0x13F, "wake": 0x15E,
    "volumeup": 0x132, "volumedown": 0x121, "audiomute": 0x123,
}  # fmt: skip
# Keys whose codes have no rule.
_PRINT: Final = bytes((0xE0, 0x12, 0xE0, 0x7C)), bytes((0xE0, 0xF0, 0x7C, 0xE0, 0xF0, 0x12))
_PAUSE: Final = bytes((0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77)), b""
_OTHERS: Final = {"print": _PRINT, "sysrq": _PRINT, "pause": _PAUSE}

NAMES: Final = (*CODES, *_OTHERS)

# Set 1, as QEMU's extended key events count keys; 0x80 and more have E0 before them.
_SET_1: Final = {
    0x01: "esc", **{0x3B + n: f"f{n + 1}" for n in range(10)}, 0x57: "f11", 0x58: "f12",
    0x29: "grave_accent", **{0x02 + n: "1234567890"[n] for n in range(10)}, 0x0C: "minus",
    0x0D: "equal", 0x0E: "backspace", 0x0F: "tab",
    **{0x10 + n: "qwertyuiop"[n] for n in range(10)}, 0x1A: "bracket_left",
    0x1B: "bracket_right", 0x1C: "ret", 0x1D: "ctrl",
    **{0x1E + n: "asdfghjkl"[n] for n in range(9)},
    0x27: "semicolon", 0x28: "apostrophe", 0x2A: "shift", 0x2B: "backslash",
    **{0x2C + n: "zxcvbnm"[n] for n in range(7)}, 0x33: "comma", 0x34: "dot", 0x35: "slash",
    0x36: "shift_r", 0x37: "kp_multiply", 0x38: "alt", 0x39: "spc", 0x3A: "caps_lock",
    0x45: "num_lock", 0x46: "scroll_lock", 0x47: "kp_7", 0x48: "kp_8", 0x49: "kp_9",
    0x4A: "kp_subtract", 0x4B: "kp_4", 0x4C: "kp_5", 0x4D: "kp_6", 0x4E: "kp_add", 0x4F: "kp_1",
    0x50: "kp_2", 0x51: "kp_3", 0x52: "kp_0", 0x53: "kp_decimal", 0x54: "sysrq", 0x56: "less",
    0x70: "katakanahiragana", 0x73: "ro", 0x79: "henkan", 0x7B: "muhenkan", 0x7D: "yen",
    0x9C: "kp_enter", 0x9D: "ctrl_r", 0xA0: "audiomute", 0xAE: "volumedown", 0xB0: "volumeup",
    0xB5: "kp_divide", 0xB7: "print", 0xB8: "alt_r", 0xC6: "pause", 0xC7: "home", 0xC8: "up",
    0xC9: "pgup", 0xCB: "left", 0xCD: "right", 0xCF: "end", 0xD0: "down", 0xD1: "pgdn",
    0xD2: "insert", 0xD3: "delete", 0xDB: "meta_l", 0xDC: "meta_r", 0xDD: "menu", 0xDE: "power",
    0xDF: "sleep", 0xE3: "wake",
}  # fmt: skip

# What a key of an American keyboard writes, alone and with shift.
_WRITES: Final = {
    **{letter: (letter, letter.upper()) for letter in "abcdefghijklmnopqrstuvwxyz"},
    **{digit: (digit, shifted) for digit, shifted in zip("1234567890", "!@#$%^&*()", strict=True)},
    "grave_accent": ("`", "~"), "minus": ("-", "_"), "equal": ("=", "+"),
    "bracket_left": ("[", "{"), "bracket_right": ("]", "}"), "backslash": ("\\", "|"),
    "semicolon": (";", ":"), "apostrophe": ("'", '"'), "comma": (",", "<"), "dot": (".", ">"),
    "slash": ("/", "?"), "spc": (" ", " "), "ret": ("\n", "\n"), "tab": ("\t", "\t"),
}  # fmt: skip
_WRITTEN: Final = {
    **{shifted: ("shift", name) for name, (_, shifted) in _WRITES.items()},
    **{plain: (name,) for name, (plain, _) in _WRITES.items()},
    "\r": ("ret",),
    "\b": ("backspace",),
    "\x1b": ("esc",),
    "\x7f": ("backspace",),
}
# Keys that X has names for. Spec: X11 keysymdef.h.
_SYMBOLS: Final = {
    0xFF08: "backspace", 0xFF09: "tab", 0xFF0D: "ret", 0xFF13: "pause", 0xFF14: "scroll_lock",
    0xFF15: "sysrq", 0xFF1B: "esc", 0xFF50: "home", 0xFF51: "left", 0xFF52: "up",
    0xFF53: "right", 0xFF54: "down", 0xFF55: "pgup", 0xFF56: "pgdn", 0xFF57: "end",
    0xFF61: "print", 0xFF63: "insert", 0xFF67: "menu", 0xFF7F: "num_lock", 0xFF8D: "kp_enter",
    0xFF95: "kp_7", 0xFF96: "kp_4", 0xFF97: "kp_8", 0xFF98: "kp_6", 0xFF99: "kp_2",
    0xFF9A: "kp_9", 0xFF9B: "kp_3", 0xFF9C: "kp_1", 0xFF9D: "kp_5", 0xFF9E: "kp_0",
    0xFF9F: "kp_decimal", 0xFFAA: "kp_multiply", 0xFFAB: "kp_add", 0xFFAD: "kp_subtract",
    0xFFAE: "kp_decimal", 0xFFAF: "kp_divide", **{0xFFB0 + n: f"kp_{n}" for n in range(10)},
    **{0xFFBE + n: f"f{n + 1}" for n in range(12)}, 0xFFE1: "shift", 0xFFE2: "shift_r",
    0xFFE3: "ctrl", 0xFFE4: "ctrl_r", 0xFFE5: "caps_lock", 0xFFE7: "meta_l", 0xFFE8: "meta_r",
    0xFFE9: "alt", 0xFFEA: "alt_r", 0xFFEB: "meta_l", 0xFFEC: "meta_r", 0xFFFF: "delete",
    0xFE03: "alt_r",
}  # fmt: skip


def scan_codes(name: str, *, down: bool) -> bytes:
    """What the keyboard says when the key goes down, or up; nothing of one that it lacks."""
    if name in _OTHERS:
        return _OTHERS[name][0 if down else 1]
    code = CODES.get(name)
    if code is None:
        return b""
    prefix = b"\xe0" if code >= 0x100 else b""
    return prefix + (b"" if down else b"\xf0") + bytes((code & 0xFF,))


def of_number(number: int) -> str | None:
    """The key that QEMU gives this number."""
    return _SET_1.get(number)


def of_character(character: str) -> tuple[str, ...]:
    """The keys to hold together, the last of which writes the character; none where none do."""
    return _WRITTEN.get(character, ())


def of_symbol(symbol: int) -> str | None:
    """The key for a symbol of X's, whichever it is with shift."""
    if symbol in _SYMBOLS:
        return _SYMBOLS[symbol]
    keys = of_character(chr(symbol)) if 0x20 <= symbol < 0x7F else ()
    return keys[-1] if keys else None
