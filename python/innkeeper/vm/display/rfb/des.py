"""DES, which VNC's authentication encrypts sixteen bytes with, and nothing else should.

Spec: FIPS 46-3, "Data Encryption Standard"; RFC 6143, "VNC Authentication".
"""

from typing import Final

_INITIAL: Final = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6,
    64, 56, 48, 40, 32, 24, 16, 8, 57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3,
    61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47, 39, 31, 23, 15, 7,
]  # fmt: skip
_FINAL: Final = [_INITIAL.index(n) + 1 for n in range(1, 65)]
_EXPANSION: Final = [(4 * group + n - 1) % 32 + 1 for group in range(8) for n in range(6)]
_PERMUTATION: Final = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19,
    13, 30, 6, 22, 11, 4, 25,
]  # fmt: skip
_CHOICE_1: Final = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60,
    52, 44, 36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29,
    21, 13, 5, 28, 20, 12, 4,
]  # fmt: skip
_CHOICE_2: Final = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52,
    31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
]  # fmt: skip
_SHIFTS: Final = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]
_BOXES: Final = [
    "e4d12fb83a6c59070f74e2d1a6cb953841e8d62bfc973a50fc8249175b3ea06d",
    "f18e6b34972dc05a3d47f28ec01a69b50e7ba4d158c6932fd8a13f42b67c05e9",
    "a09e63f51dc7b428d709346a285ecbf1d6498f30b12c5ae71ad069874fe3b52c",
    "7de3069a1285bc4fd8b56f03472c1ae9a690cb7df13e52843f06a1d8945bc72e",
    "2c417ab6853fd0e9eb2c47d150fa3986421bad78f9c5630eb8c71e2d6f09a453",
    "c1af92680d34e75baf427c9561de0b389ef528c3704a1db6432c95fabe17608d",
    "4b2ef08d3c975a61d0b7491ae35c2f8614bdc37eaf6805926bd814a7950fe23c",
    "d2846fb1a93e50c71fd8a374c56b0e927b419ce206adf35821e74a8dfc90356b",
]


def encrypt(key: bytes, block: bytes) -> bytes:
    """Eight bytes with a key of eight."""
    keys = _keys(int.from_bytes(key))
    state = _pick(int.from_bytes(block), _INITIAL, 64)
    left, right = state >> 32, state & 0xFFFF_FFFF
    for each in keys:
        left, right = right, left ^ _mix(right, each)
    return _pick(right << 32 | left, _FINAL, 64).to_bytes(8)


def answer(password: bytes, challenge: bytes) -> bytes:
    """To VNC's challenge of sixteen bytes: each byte of the password is read backwards."""
    padded = password[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in padded)
    return encrypt(key, challenge[:8]) + encrypt(key, challenge[8:])


def _pick(value: int, places: list[int], width: int) -> int:
    """The bits of `value` at these places, of which the first is 1 and the highest."""
    picked = 0
    for place in places:
        picked = picked << 1 | value >> (width - place) & 1
    return picked


def _keys(key: int) -> list[int]:
    halves = _pick(key, _CHOICE_1, 64)
    left, right = halves >> 28, halves & 0xFFF_FFFF
    keys = []
    for shift in _SHIFTS:
        left, right = (_turned(half, shift) for half in (left, right))
        keys.append(_pick(left << 28 | right, _CHOICE_2, 56))
    return keys


def _turned(half: int, shift: int) -> int:
    return (half << shift | half >> (28 - shift)) & 0xFFF_FFFF


def _mix(half: int, key: int) -> int:
    mixed = _pick(half, _EXPANSION, 32) ^ key
    found = 0
    for number, box in enumerate(_BOXES):
        six = mixed >> (42 - 6 * number) & 0x3F
        row, column = six >> 4 & 2 | six & 1, six >> 1 & 0xF
        found = found << 4 | int(box[16 * row + column], 16)
    return _pick(found, _PERMUTATION, 32)
