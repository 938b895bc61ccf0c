"""What a guest is heard by."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput

_MODELS: Final = ("ac97", "virtio", "sb16", "speaker")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSpec:
    """A sound card, and the file that gets what it plays: a WAVE of 48 kHz, begun anew with each
    machine. `model` is ac97, an Intel 82801AA, virtio, sb16, a Sound Blaster 16, or speaker:
    no card, but the PC speaker. Without a file, nobody hears it.
    """

    wave: Path | None = None
    model: str = "ac97"


def parse_sound(text: str) -> SoundSpec | None:
    """`wav=FILE[,model=ac97|virtio|sb16|speaker]`, or none; a comma in a name is written twice.

    Raises:
        InvalidInput: when `text` is neither.
    """
    if text == "none":
        return None
    wave, model = None, "ac97"
    for option in re.split(r"(?<!,),(?!,)", text):
        match option.replace(",,", ",").partition("="):
            case ["wav", "=", name] if name:
                wave = Path(name)
            case ["model", "=", name]:
                if name not in _MODELS:
                    known = ", ".join(_MODELS)
                    raise InvalidInput(f"{name!r} is no sound card: there are {known}")
                model = name
            case _:
                raise InvalidInput(f"{text!r} is no sound; write it like wav=FILE, or none")
    if wave is None:
        raise InvalidInput(f"{text!r} names no file; write it like wav=FILE")
    return SoundSpec(wave=wave, model=model)


def prepare_sound(spec: SoundSpec) -> None:
    """Makes the file, if it is missing: whoever is locked in finds it then.

    Raises:
        InvalidInput: when it cannot be written.
    """
    if spec.wave is None:
        return
    try:
        spec.wave.open("ab").close()
    except OSError as error:
        what = f"cannot write what the guest plays to {spec.wave}: {error.strerror}"
        raise InvalidInput(what) from error


def unheard(spec: SoundSpec | None) -> SoundSpec | None:
    """The card of a guest's copy, which does not play into what the guest plays into."""
    return None if spec is None else replace(spec, wave=None)
