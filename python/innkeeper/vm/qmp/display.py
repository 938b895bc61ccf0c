"""Commands about what a guest shows and what is typed to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from innkeeper.vm.display import keys
from innkeeper.vm.display.seat import Seat
from innkeeper.vm.qmp.session import CommandError, Handler

Arguments = Mapping[str, object]

_HOLD: Final = 100  # milliseconds
_LONGEST_HOLD: Final = 10_000
_MOST_KEYS: Final = 16
_BUTTONS: Final = {"left": 1, "right": 2, "middle": 4, "side": 8, "extra": 16}


class Subject(Protocol):
    @property
    def seat(self) -> Seat: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    pointer = _Pointer(guest)
    return {
        "input-send-event": lambda arguments: _events(guest, pointer, arguments),
        "screendump": lambda arguments: _dump(guest, arguments),
        "send-key": lambda arguments: _send(guest, arguments),
        "x-type": lambda arguments: _type(guest, arguments),
    }


def _picture(guest: Subject) -> bytes:
    picture = guest.seat.picture()
    if picture is None:
        raise CommandError("the guest has no display")
    return picture


def _dump(guest: Subject, arguments: Arguments) -> None:
    if arguments.get("format", "png") != "png":
        raise CommandError("pictures are written as png alone")
    path = Path(str(arguments["filename"]))
    try:
        path.write_bytes(_picture(guest))
    except OSError as error:
        raise CommandError(f"Could not open '{path}': {error.strerror}") from error


def _key(value: object) -> str:
    assert isinstance(value, dict)
    kind, data = value.get("type"), value.get("data")
    if kind == "qcode" and isinstance(data, str) and data in keys.NAMES:
        return data
    if kind == "number" and isinstance(data, int) and (name := keys.of_number(data)):
        return name
    raise CommandError(f"there is no key {data!r}")


def _send(guest: Subject, arguments: Arguments) -> None:
    values = arguments["keys"]
    assert isinstance(values, list)
    if len(values) > _MOST_KEYS:
        raise CommandError(f"at most {_MOST_KEYS} keys are held together")
    hold = arguments.get("hold-time", _HOLD)
    assert isinstance(hold, int)
    if not 0 <= hold <= _LONGEST_HOLD:
        raise CommandError(f"keys are held for 0 to {_LONGEST_HOLD} milliseconds")
    guest.seat.keyboard.press(tuple(_key(value) for value in values), hold / 1000)


def _type(guest: Subject, arguments: Arguments) -> dict[str, object]:
    return {"unknown": guest.seat.keyboard.type(str(arguments["text"]))}


class _Pointer:
    """The mouse as events tell it: a button at a time, an axis at a time."""

    def __init__(self, guest: Subject) -> None:
        self._guest = guest
        self._buttons = 0

    def button(self, name: object, *, down: object) -> None:
        wheel = {"wheel-up": -1, "wheel-down": 1}.get(str(name), 0)
        if wheel and down is True:
            self._guest.seat.move(0, 0, wheel, self._buttons)
        bit = _BUTTONS.get(str(name), 0)
        if not bit and not wheel:
            raise CommandError(f"there is no button {name!r}")
        if bit:
            self._buttons = self._buttons | bit if down is True else self._buttons & ~bit
            self._guest.seat.move(0, 0, 0, self._buttons)

    def move(self, axis: object, value: object) -> None:
        if axis not in ("x", "y") or not isinstance(value, int) or abs(value) > 1 << 20:
            raise CommandError(f"there is no movement of {value!r} along {axis!r}")
        self._guest.seat.move(value * (axis == "x"), value * (axis == "y"), 0, self._buttons)


def _events(guest: Subject, pointer: _Pointer, arguments: Arguments) -> None:
    values = arguments["events"]
    assert isinstance(values, list)
    for event in values:
        assert isinstance(event, dict)
        kind, data = event.get("type"), event.get("data")
        if not isinstance(data, dict):
            raise CommandError("an event has data")
        if kind == "key":
            down = data.get("down")
            if not isinstance(down, bool) or not isinstance(data.get("key"), dict):
                raise CommandError("an event of a key says which, and whether it goes down")
            guest.seat.keyboard.key(_key(data["key"]), down=down)
        elif kind == "btn":
            pointer.button(data.get("button"), down=data.get("down"))
        elif kind == "rel":
            pointer.move(data.get("axis"), data.get("value"))
        else:
            raise CommandError(f"events of the kind {kind!r} have no device to go to")
