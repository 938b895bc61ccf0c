from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import SoundSpec, parse_sound, prepare_sound, unheard


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", None),
        ("wav=a.wav", SoundSpec(wave=Path("a.wav"))),
        ("model=ac97,wav=a,,b.wav", SoundSpec(wave=Path("a,b.wav"))),
        ("wav=a.wav,model=virtio", SoundSpec(wave=Path("a.wav"), model="virtio")),
    ],
)
def test_sounds_as_they_are_written(text: str, spec: SoundSpec | None) -> None:
    assert parse_sound(text) == spec


@pytest.mark.parametrize("text", ["", "wav=", "a.wav", "wav=a,b", "model=ac97"])
def test_what_is_no_sound_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write it like wav=FILE"):
        parse_sound(text)


def test_a_card_that_there_is_not_is_named() -> None:
    with pytest.raises(
        InvalidInput, match="'gus' is no sound card: there are ac97, virtio, sb16, speaker"
    ):
        parse_sound("wav=a,model=gus")


def test_the_file_is_made_or_it_is_said_why_not(tmp_path: Path) -> None:
    spec = SoundSpec(wave=tmp_path / "a.wav")
    prepare_sound(spec)
    assert spec.wave is not None
    assert spec.wave.read_bytes() == b""
    with pytest.raises(InvalidInput, match=r"cannot write what the guest plays to .*: No such"):
        prepare_sound(SoundSpec(wave=tmp_path / "missing" / "a.wav"))


def test_a_copy_of_a_guest_is_heard_by_nobody() -> None:
    assert unheard(None) is None
    assert unheard(SoundSpec(wave=Path("a"), model="virtio")) == SoundSpec(model="virtio")
