"""A sound card: what Linux's driver plays is in the file, at its pitch and for as long."""

import math
import wave
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.conftest import Inn

LINUX = "linux-image-amd64"
PITCH = 440
SECONDS = 2
# Of /dev/dsp unless it is told otherwise: bytes, one channel.
RATE = 8000
PLAY = """\
busybox mount -t devtmpfs dev /dev
busybox cat /tone > /dev/dsp
busybox cat /proc/asound/cards
busybox poweroff -f
"""


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


def play(inn: Inn, directory: Path, engine: str) -> None:
    drivers = initrd.modules(
        LINUX,
        "kernel/sound/*",
        "kernel/sound/pci/snd-intel8x0.ko*",
        "kernel/sound/core/oss/snd-pcm-oss.ko*",
    )
    files = {**drivers, "tone": tone()}
    own = initrd.busybox(directory / "initrd", initrd.LOAD + PLAY, files=files)
    heard = directory / "heard.wav"
    result = inn(
        "run",
        *("--engine", engine, "--memory", "256M", "--network", "none"),
        *("--kernel", packages.file(LINUX, "boot/vmlinuz-*"), "--initrd", own),
        *("--append", "console=ttyS0 quiet", "--sound", f"wav={heard}"),
    )
    assert result.returncode == 0, result.stderr
    assert b"82801AA-ICH" in result.stdout
    with wave.open(str(heard)) as file:
        assert file.getparams()[:3] == (2, 2, 48_000)
        frames = file.readframes(file.getnframes())
    left = [
        int.from_bytes(frames[at : at + 2], "little", signed=True)
        for at in range(0, len(frames), 4)
    ]
    # Silence lies before; the kernel may repeat something of a last piece that is not whole.
    first = next(at for at, sample in enumerate(left) if abs(sample) > 1000)
    last = max(at for at, sample in enumerate(left) if abs(sample) > 1000)
    assert SECONDS - 0.05 < (last - first) / 48_000 < SECONDS + 0.25
    middle = left[first + 4800 : first + 4800 + 48_000]
    own_pitch = strength(middle, 48_000, PITCH)
    assert 14_000 < own_pitch < 18_000
    for other in (PITCH / 2, PITCH * 0.97, PITCH * 1.03, PITCH * 2, 1000):
        assert strength(middle, 48_000, other) < own_pitch / 20


def test_a_tone_is_in_the_file(inn: Inn, tmp_path: Path) -> None:
    play(inn, tmp_path, "translator")


@pytest.mark.long_guest(reason="a second way to the same")
def test_a_tone_is_in_the_file_by_the_interpreter(inn: Inn, tmp_path: Path) -> None:
    play(inn, tmp_path, "interpreter")
