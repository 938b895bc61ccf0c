"""A guest's screen, as a user asks for it."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import format_size, parse_size

MIB: Final = 1 << 20
VGA, VIRTIO = "vga", "virtio"
CARDS: Final = (VGA, VIRTIO)
# Of the package seabios of Debian and Ubuntu.
_VGA_BIOS: Final = Path("/usr/share/seabios")
_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})")
_SMALLEST: Final = (320, 200)
_LARGEST: Final = (3840, 2400)
_LEAST: Final = MIB
_MOST: Final = 256 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class VncSpec:
    """Where RFB clients of other programs and hosts connect, beside the socket in the guest's
    directory. `password` is the file that has theirs; None: anybody who reaches it may. `tls`: by
    that alone, with a certificate of the guest's.
    """

    host: str
    port: int
    password: Path | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenSpec:
    """A VGA with `memory` bytes of video memory, and a monitor that likes `width` times `height`
    pixels best. `rom` is its option ROM, for firmware. As the card "virtio", a virtio GPU is in the
    same function. With `keyboard`, a virtio keyboard is beside the tablet; older guests have none.
    """

    card: str = VGA
    width: int = 1024
    height: int = 768
    memory: int = 16 * MIB
    rom: Path | None = None
    vnc: VncSpec | None = None
    keyboard: bool = False


def parse_screen(text: str) -> ScreenSpec | None:
    """What `--display` is given: a card, WIDTHxHEIGHT or both, with ,memory=SIZE behind it or not;
    none.

    Raises:
        InvalidInput: when it is nothing of these.
    """
    if text == "none":
        return None
    spec = ScreenSpec(keyboard=True)
    for place, word in enumerate(text.split(",")):
        name, _, value = word.partition("=")
        if word in CARDS:
            spec = replace(spec, card=word)
        elif match := _SIZE.fullmatch(word):
            spec = replace(spec, width=int(match[1]), height=int(match[2]))
        elif place == 0:
            raise InvalidInput(
                f"{text!r} is no display; write it like 1024x768, virtio, vga or none"
            )
        elif name == "memory":
            spec = replace(spec, memory=parse_size(value))
        elif name == "rom" and value:
            spec = replace(spec, rom=Path(value))
        else:
            raise InvalidInput(
                f"{word!r} is nothing of a display; there are virtio, vga, sizes like 1024x768, "
                "memory= and rom="
            )
    validate_screen(spec)
    return spec


def vga_bios(card: str) -> Path | None:
    """The option ROM that firmware needs for this card, where the host has one."""
    path = _VGA_BIOS / ("vgabios-virtio.bin" if card == VIRTIO else "vgabios-stdvga.bin")
    return path if path.exists() else None


def parse_vnc(text: str, password: Path | None, *, tls: bool = False) -> VncSpec:
    """What `--vnc` is given: HOST:PORT.

    Raises:
        InvalidInput: when it is not that.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise InvalidInput(f"{text!r} is no place for --vnc; write it like 127.0.0.1:5900")
    host = host.removeprefix("[").removesuffix("]")
    return VncSpec(host=host, port=int(port), password=password, tls=tls)


def validate_screen(spec: ScreenSpec) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if spec.card not in CARDS:
        raise InvalidInput(f"there is no display card {spec.card!r}; there are {', '.join(CARDS)}")
    size = (spec.width, spec.height)
    small = any(own < least for own, least in zip(size, _SMALLEST, strict=True))
    large = any(own > most for own, most in zip(size, _LARGEST, strict=True))
    if small or large or spec.width % 8:
        raise InvalidInput(
            f"a display has {_SMALLEST[0]}x{_SMALLEST[1]} to {_LARGEST[0]}x{_LARGEST[1]} pixels, "
            f"and its width is a multiple of 8: not {spec.width}x{spec.height}"
        )
    if not _LEAST <= spec.memory <= _MOST or spec.memory & (spec.memory - 1):
        raise InvalidInput(
            f"a display has {format_size(_LEAST)} to {format_size(_MOST)} of memory, a power of "
            f"two: not {format_size(spec.memory)}"
        )
    if spec.width * spec.height * 4 > spec.memory:
        raise InvalidInput(
            f"{spec.width}x{spec.height} pixels do not fit into {format_size(spec.memory)} "
            "of the display's memory"
        )
