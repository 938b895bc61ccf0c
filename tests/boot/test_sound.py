"""Sound cards: what Linux's drivers play is in the file, at its pitch and for as long; what they
record is silence.
"""

import math
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.conftest import Inn

PITCH = 440
SECONDS = 2
# A boot sector that lets the PC speaker sound for as many of the BIOS's ticks, 18.2 a second, and
# switches the machine off.
SPEAKER = """\
bits 16
org 7c00h
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7c00h
        sti
        mov al, 0b6h
        out 43h, al
        mov ax, 1193182 / 440
        out 42h, al
        mov al, ah
        out 42h, al
        in al, 61h
        or al, 3
        out 61h, al
        mov bx, [046ch]
sound:  hlt
        mov ax, [046ch]
        sub ax, bx
        cmp ax, 37
        jb sound
        in al, 61h
        and al, 0fch
        out 61h, al
        mov dx, 604h
        mov ax, 3400h
        out dx, ax
        hlt
        times 510-($-$$) db 0
        dw 0aa55h
"""
# Of a square wave, the part that has its pitch: what the speaker goes to and fro, by its series.
SQUARE = 8000 * 4 / math.pi
# Of /dev/dsp unless it is told otherwise: bytes, one channel.
RATE = 8000
# As initrd.LOAD; one that is the card's driver is told where that is.
LOAD = """\
for module in $(busybox cat /order); do
    options=
    case $module in
        snd-sb16.ko*) options="isapnp=0 port=0x220 irq=5 dma8=1 dma16=5" ;;
    esac
    busybox insmod /modules/$module $options
done
"""
PLAY = """\
busybox mount -t devtmpfs dev /dev
busybox cat /tone > /dev/dsp
busybox cat /proc/asound/cards
busybox dd if=/dev/dsp bs=8000 count=1 | busybox tr -d '\\200' | busybox wc -c
busybox poweroff -f
"""


@dataclass(frozen=True)
class Card:
    """A card, and the kernel package that has its driver. `name` is what that calls it."""

    model: str
    linux: str
    driver: str
    name: bytes
    architecture: str = "amd64"


AC97 = Card("ac97", "linux-image-amd64", "kernel/sound/pci/snd-intel8x0.ko*", b"82801AA-ICH")
# Of its kernels, that for i386 has drivers of ISA's cards.
SB16 = Card(
    "sb16",
    "linux-image-686",
    "kernel/sound/isa/sb/snd-sb16.ko*",
    b"Sound Blaster 16 at 0x220, irq 5, dma 1&5",
    "i386",
)
# Debian 12's kernel has no driver for it.
VIRTIO = Card(
    "virtio",
    "linux-image-amd64/trixie",
    "kernel/sound/virtio/virtio_snd.ko*",
    b"VirtIO SoundCard",
)


def tone() -> bytes:
    """Of this pitch, at half of what there is room for."""
    angles = (2 * math.pi * PITCH * at / RATE for at in range(SECONDS * RATE))
    return bytes(round(128 + 64 * math.sin(angle)) for angle in angles)


def strength(samples: list[int], rate: int, pitch: float) -> float:
    """How much of a pitch is in them: the amplitude of its sine."""
    angle = 2 * math.pi * pitch / rate
    parts = (
        sum(sample * part(angle * at) for at, sample in enumerate(samples))
        for part in (math.sin, math.cos)
    )
    return 2 * math.hypot(*parts) / len(samples)


def hears(left: list[int], loud: float = 16_000) -> bool:
    """Whether the tone is there for as long as it is, a second of it without a gap. A host that is
    busy may be late with a piece, which is heard.
    """
    heard = [at for at, sample in enumerate(left) if abs(sample) > 1000]
    # Silence lies before; the kernel may repeat something of a last piece that is not whole.
    first, last = heard[0], heard[-1]
    assert (last - first) / 48_000 > SECONDS - 0.05
    if (last - first) / 48_000 >= SECONDS + 0.25:
        return False
    middle = left[first + 4800 : first + 4800 + 48_000]
    own_pitch = strength(middle, 48_000, PITCH)
    others = (PITCH / 2, PITCH * 0.97, PITCH * 1.03, PITCH * 2, 1000)
    return 0.875 * loud < own_pitch < 1.125 * loud and all(
        strength(middle, 48_000, other) < own_pitch / 20 for other in others
    )


def play(inn: Inn, directory: Path, card: Card, engine: str) -> list[int]:
    """What is heard at the left."""
    drivers = initrd.modules(
        card.linux,
        "kernel/sound/*",
        card.driver,
        "kernel/sound/core/oss/snd-pcm-oss.ko*",
        architecture=card.architecture,
    )
    files = {**drivers, "tone": tone()}
    own = initrd.busybox(
        directory / "initrd", LOAD + PLAY, architecture=card.architecture, files=files
    )
    kernel = packages.file(card.linux, "boot/vmlinuz-*", card.architecture)
    heard = directory / "heard.wav"
    heard.unlink(missing_ok=True)
    result = inn(
        "run",
        *("--engine", engine, "--memory", "256M", "--network", "none"),
        *("--kernel", kernel, "--initrd", own),
        *("--append", "console=ttyS0 quiet", "--sound", f"wav={heard},model={card.model}"),
    )
    assert result.returncode == 0, result.stderr
    assert card.name in result.stdout
    # Bytes that are no silence, of a second that was recorded.
    assert b"\n0\r\n" in result.stdout
    return left_of(heard)


def left_of(path: Path) -> list[int]:
    with wave.open(str(path)) as file:
        assert file.getparams()[:3] == (2, 2, 48_000)
        frames = file.readframes(file.getnframes())
    return [
        int.from_bytes(frames[at : at + 2], "little", signed=True)
        for at in range(0, len(frames), 4)
    ]


def test_a_tone_is_in_the_file(inn: Inn, tmp_path: Path) -> None:
    # What is wrong with the card is wrong each time.
    assert any(hears(play(inn, tmp_path, AC97, "translator")) for _ in range(3))


@pytest.mark.long_guest(reason="a second way to the same")
def test_a_tone_is_in_the_file_by_the_interpreter(inn: Inn, tmp_path: Path) -> None:
    assert any(hears(play(inn, tmp_path, AC97, "interpreter")) for _ in range(3))


@pytest.mark.long_guest(reason="its kernel is fetched for this alone")
def test_a_tone_is_in_the_file_by_virtio(inn: Inn, tmp_path: Path) -> None:
    assert any(hears(play(inn, tmp_path, VIRTIO, "translator")) for _ in range(3))


def floppy(directory: Path, sector: str) -> Path:
    source, disk = directory / "sector.asm", directory / "floppy.img"
    source.write_text(sector)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    return disk


def listen(inn: Inn, directory: Path, sector: str, model: str, engine: str) -> list[int]:
    """What is heard at the left of a boot sector, by SeaBIOS."""
    heard = directory / "heard.wav"
    result = inn(
        "run",
        *("--engine", engine, "--memory", "16M", "--network", "none"),
        *("--firmware", packages.file("seabios", "usr/share/seabios/bios-256k.bin")),
        *("--floppy", floppy(directory, sector), "--sound", f"wav={heard},model={model}"),
    )
    assert result.returncode == 0, result.stderr
    return left_of(heard)


@pytest.mark.parametrize("engine", ["interpreter", "translator"])
def test_a_tone_of_the_speaker_is_in_the_file(inn: Inn, tmp_path: Path, engine: str) -> None:
    tries = (listen(inn, tmp_path, SPEAKER, "speaker", engine) for _ in range(3))
    assert any(hears(left, SQUARE) for left in tries)


@pytest.mark.long_guest(reason="another card is heard so, and this one by its registers")
def test_a_tone_of_a_sound_blaster_is_in_the_file(inn: Inn, tmp_path: Path) -> None:
    assert any(hears(play(inn, tmp_path, SB16, "translator")) for _ in range(3))
