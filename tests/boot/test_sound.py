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


def hears(left: list[int]) -> bool:
    """Whether the tone is there for as long as it is, a second of it without a gap. A host that is
    busy may be late with a piece, which is heard.
    """
    loud = [at for at, sample in enumerate(left) if abs(sample) > 1000]
    # Silence lies before; the kernel may repeat something of a last piece that is not whole.
    first, last = loud[0], loud[-1]
    assert (last - first) / 48_000 > SECONDS - 0.05
    if (last - first) / 48_000 >= SECONDS + 0.25:
        return False
    middle = left[first + 4800 : first + 4800 + 48_000]
    own_pitch = strength(middle, 48_000, PITCH)
    others = (PITCH / 2, PITCH * 0.97, PITCH * 1.03, PITCH * 2, 1000)
    return 14_000 < own_pitch < 18_000 and all(
        strength(middle, 48_000, other) < own_pitch / 20 for other in others
    )


def play(inn: Inn, directory: Path, engine: str) -> list[int]:
    """What is heard at the left."""
    drivers = initrd.modules(
        LINUX,
        "kernel/sound/*",
        "kernel/sound/pci/snd-intel8x0.ko*",
        "kernel/sound/core/oss/snd-pcm-oss.ko*",
    )
    files = {**drivers, "tone": tone()}
    own = initrd.busybox(directory / "initrd", initrd.LOAD + PLAY, files=files)
    heard = directory / "heard.wav"
    heard.unlink(missing_ok=True)
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
    return [
        int.from_bytes(frames[at : at + 2], "little", signed=True)
        for at in range(0, len(frames), 4)
    ]


def test_a_tone_is_in_the_file(inn: Inn, tmp_path: Path) -> None:
    # What is wrong with the card is wrong each time.
    assert any(hears(play(inn, tmp_path, "translator")) for _ in range(3))


@pytest.mark.long_guest(reason="a second way to the same")
def test_a_tone_is_in_the_file_by_the_interpreter(inn: Inn, tmp_path: Path) -> None:
    assert any(hears(play(inn, tmp_path, "interpreter")) for _ in range(3))
