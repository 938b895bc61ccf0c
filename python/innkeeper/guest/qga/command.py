"""A command through qemu-guest-agent, as our own agent would run it.

That agent takes standard input before a command begins, and gives its output after it has ended,
in one piece. So all three are files of the guest: input is written to one before the command
starts, and output is read from the others while it runs. There are no terminals.
"""

import base64
import contextlib
import errno
import struct
from collections.abc import Callable, Generator
from typing import Any, Final

from innkeeper.guest.frames import MAX_PAYLOAD, OUTPUT_WINDOW, STDIN_BEGIN, Ask, Exec, Tell, credit
from innkeeper.guest.qga.channel import Call, Lost, Pause, Refused, Steps, ended, run
from innkeeper.guest.qga.wire import Nonsense, data, integer

# Tells the job's frames.
Say = Callable[[Tell, bytes], None]

_PIECE: Final = 48 * 1024  # bytes of a file at a time
_SOONEST: Final = 0.01  # seconds between two looks at a command that says nothing
_LATEST: Final = 0.5
_MOST_SIGNALS: Final = 16  # that have not been sent yet

_MAKE: Final = """
umask 077
d=$(mktemp -d /tmp/innkeeper.XXXXXXXX) && : >"$d/in" && : >"$d/out" && : >"$d/err" && echo "$d"
"""
_RUN: Final = """
exec <"$1/in" >"$1/out" 2>"$1/err"
who=$2 group=$3 where=$4
shift 4
if [ -n "$who" ]; then
    line=$(getent passwd "$who") || { echo "there is no user $who" >&2; exit 126; }
    USER=${line%%:*} LOGNAME=${line%%:*}
    SHELL=${line##*:} line=${line%:*}
    HOME=${line##*:}
    export USER LOGNAME SHELL HOME
    set -- runuser -u "$USER" ${group:+-g "$group"} -- "$@"
fi
cd -- "${where:-$HOME}" || exit 126
exec "$@"
"""
_VARIABLES: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/bin/sh",
)


class Command:
    """`say` is called until it was told the last frame."""

    def __init__(self, wanted: Exec, say: Say) -> None:
        self._wanted = wanted
        self._say = say
        self._input = bytearray()
        self._input_ended = False
        self._credit = OUTPUT_WINDOW
        self._signals: list[int] = []
        self._handles: list[int] = []
        self._place = ""

    def take(self, kind: Ask, payload: bytes) -> None:
        """What its client sends while it runs."""
        match kind:
            case Ask.STDIN:
                # Who overruns the window loses what is beyond it.
                self._input += payload[: STDIN_BEGIN - len(self._input)]
            case Ask.STDIN_END:
                self._input_ended = True
            case Ask.SIGNAL if len(self._signals) < _MOST_SIGNALS:
                self._signals.append(payload[0])
            case Ask.CREDIT:
                (count,) = struct.unpack("<I", payload)
                self._credit = min(self._credit + count, OUTPUT_WINDOW)

    def steps(self) -> Steps:
        try:
            yield from self._run()
        except Refused as refused:
            self._fail(errno.EIO, str(refused))
        except Nonsense as nonsense:
            self._fail(errno.EPROTO, f"its agent makes no sense: {nonsense}")
        except Lost:
            self._fail(errno.ECONNRESET, "its agent does not answer any more")
        yield from self._clean_up()

    def _run(self) -> Generator[Call | Pause, Any, None]:
        if self._wanted.terminal is not None:
            self._fail(errno.ENOTTY, "qemu-guest-agent has no terminals for commands")
            return
        self._place = (yield from run("/bin/sh", "-c", _MAKE)).decode(errors="replace").strip()
        if not self._place.startswith("/tmp/innkeeper."):
            raise Nonsense("no directory")
        if not (yield from self._take_input()):
            self._say(Tell.EXIT, struct.pack("<BI", 1, self._signals[0]))
            return
        outputs = []
        for name, kind in (("out", Tell.STDOUT), ("err", Tell.STDERR)):
            outputs.append((kind, (yield from self._open(name, "r"))))
        pid = yield from self._start()
        status = yield from self._follow(pid, outputs)
        if isinstance(number := status.get("signal"), int):
            self._say(Tell.EXIT, struct.pack("<BI", 1, number & 0xFF))
        else:
            self._say(Tell.EXIT, struct.pack("<BI", 0, integer(status, "exitcode") & 0xFF))

    def _take_input(self) -> Generator[Call | Pause, Any, bool]:
        """False, when a signal ends it before it begins."""
        handle = yield from self._open("in", "w")
        pause = _SOONEST
        while self._input or not self._input_ended:
            if self._signals:
                return False
            if not self._input:
                yield Pause(pause)
                pause = min(pause * 2, _LATEST)
                continue
            pause = _SOONEST
            piece = bytes(self._input[:_PIECE])
            written = yield from write(handle, piece)
            del self._input[:written]
            self._say(Tell.CREDIT, credit(written))
        yield Call("guest-file-close", {"handle": handle})
        self._handles.remove(handle)
        return True

    def _start(self) -> Generator[Call | Pause, Any, int]:
        wanted = self._wanted
        who, _, group = wanted.user.partition(":")
        if wanted.user in ("", "root", "0"):
            who = ""
        script = ["-c", _RUN, "sh", self._place, who, group, wanted.cwd, *wanted.argv]
        variables = [*_VARIABLES, *(f"{name}={value}" for name, value in wanted.env.items())]
        asked = {"path": "/bin/sh", "arg": [_sayable(each) for each in script]}
        environment = [_sayable(each) for each in variables]
        return integer((yield Call("guest-exec", {**asked, "env": environment})), "pid")

    def _follow(
        self, pid: int, outputs: list[tuple[Tell, int]]
    ) -> Generator[Call | Pause, Any, dict[str, object]]:
        """How it ended, once all its output is told."""
        found: dict[str, object] = {}
        pause = _SOONEST
        while True:
            while self._signals and not found:
                yield from _kill(pid, self._signals.pop(0))
            if not found:
                status = yield Call("guest-exec-status", {"pid": pid})
                found = status if ended(status) else {}
            moved = yield from self._tell_outputs(outputs)
            if found and not moved and self._credit:
                return found
            if found and self._signals:
                # Whoever is to take the rest has hung up.
                return found
            pause = _SOONEST if moved else min(pause * 2, _LATEST)
            if not moved:
                yield Pause(pause)

    def _tell_outputs(self, outputs: list[tuple[Tell, int]]) -> Generator[Call | Pause, Any, bool]:
        """Whether there was any."""
        moved = False
        for kind, handle in outputs:
            room = min(_PIECE, self._credit, MAX_PAYLOAD)
            if not room:
                continue
            piece = yield from read(handle, room)
            if piece:
                self._credit -= len(piece)
                self._say(kind, piece)
                moved = True
        return moved

    def _open(self, name: str, mode: str) -> Generator[Call | Pause, Any, int]:
        asked = {"path": f"{self._place}/{name}", "mode": mode}
        handle = integer((yield Call("guest-file-open", asked)))
        self._handles.append(handle)
        return handle

    def _clean_up(self) -> Steps:
        try:
            for handle in self._handles:
                yield Call("guest-file-close", {"handle": handle})
            if self._place:
                yield from run("/bin/rm", "-rf", "--", self._place)
        except (Refused, Nonsense, Lost):
            pass  # What it is left with is in its /tmp.

    def _fail(self, number: int, words: str) -> None:
        self._say(Tell.FAILED, struct.pack("<I", number) + words.encode())


def _kill(pid: int, number: int) -> Generator[Call | Pause, Any, None]:
    # It may just have ended.
    with contextlib.suppress(Refused):
        # The shell's own: not every guest has a program of that name.
        yield from run("/bin/sh", "-c", f"kill -{number} {pid}")


def write(handle: int, piece: bytes) -> Generator[Call | Pause, Any, int]:
    """How many bytes it has taken, one at least."""
    asked = {"handle": handle, "buf-b64": base64.b64encode(piece).decode()}
    written = integer((yield Call("guest-file-write", asked)), "count")
    if not 0 < written <= len(piece):
        raise Nonsense("a write of another length")
    yield Call("guest-file-flush", {"handle": handle})
    return written


def read(handle: int, most: int) -> Generator[Call | Pause, Any, bytes]:
    """What there is of a file, which may become longer."""
    answer = yield Call("guest-file-read", {"handle": handle, "count": most})
    return data(answer, "buf-b64", most)


def _sayable(text: str) -> str:
    """JSON has no words that are not Unicode.

    Raises:
        Refused: when this is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("qemu-guest-agent takes no words that are not UTF-8") from error
    return text
