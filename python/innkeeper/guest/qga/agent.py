"""qemu-guest-agent in place of our own: asked what ours would be, it answers as ours would."""

import contextlib
import errno
import struct
import time
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

from innkeeper.guest.errands import Identity, decode_identity
from innkeeper.guest.frames import ERRANDS, Ask, Tell, decode_exec
from innkeeper.guest.qga.channel import Call, Channel, Lost, Pause, Refused, Steps, run
from innkeeper.guest.qga.command import Command, write
from innkeeper.guest.qga.wire import Nonsense, integer
from innkeeper.vm.detached.loop import Loop

_MOST: Final = 16  # commands at a time
# A clock that is set within so many nanoseconds is set.
_CLOSE: Final = 2_000_000_000

# $1 the host name, $2 the machine ID, then the addresses of cards in pairs.
_RENEW: Final = """
set -e
if [ -n "$1" ]; then
    echo "$1" >/proc/sys/kernel/hostname
    [ ! -f /etc/hostname ] || echo "$1" >/etc/hostname
fi
[ -z "$2" ] || [ ! -f /etc/machine-id ] || echo "$2" >/etc/machine-id
shift 2
while [ $# -gt 0 ]; do
    found=
    for card in /sys/class/net/*; do
        if [ "$(cat "$card/address")" = "$1" ]; then
            found=${card##*/}
        fi
    done
    [ -n "$found" ] || { echo "there is no card with the address $1" >&2; exit 1; }
    ip link set dev "$found" down
    ip link set dev "$found" address "$2"
    ip link set dev "$found" up
    shift 2
done
"""

# Tells a job's frame.
Told = Callable[[Tell, int, bytes], None]


class Substitute(Protocol):
    """Somebody who does an agent's work."""

    @property
    def ready(self) -> bool: ...
    def ask(self, kind: Ask, job: int, payload: bytes) -> None: ...


class QemuAgent:
    """`told` gets what our agent would have sent; `on_ready` and `on_lost` are as `Channel`'s."""

    def __init__(
        self, loop: Loop, told: Told, on_ready: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._told = told
        self._on_ready = on_ready
        self.channel = Channel(loop, self._answers, on_lost)
        self._commands: dict[int, Command] = {}
        self._freeze = 0  # its number
        self._freezing = False

    @property
    def ready(self) -> bool:
        return self.channel.ready

    def ask(self, kind: Ask, job: int, payload: bytes) -> None:
        """`payload` is well-formed."""
        if kind is Ask.EXEC:
            self._exec(job, payload)
        elif kind is Ask.POWER_OFF:
            self.channel.begin(_shut_down())
        elif kind is Ask.CONSOLE:
            self._fail(job, errno.ENOTTY, "qemu-guest-agent has no shell for its console")
        elif kind in (Ask.CLIPBOARD, Ask.SET_CLIPBOARD):
            self._fail(job, errno.ENOSYS, "qemu-guest-agent has no clipboard")
        elif kind in ERRANDS:
            self._errand(job, self._work(kind, payload))
        elif job in self._commands:
            self._commands[job].take(kind, payload)

    def _work(self, kind: Ask, payload: bytes) -> Generator[Call | Pause, Any, bytes]:
        match kind:
            case Ask.SET_TIME:
                return _set_time(*struct.unpack("<Q", payload))
            case Ask.FREEZE:
                (milliseconds,) = struct.unpack("<I", payload)
                return self._stand_still(milliseconds / 1000)
            case Ask.THAW:
                return self._thaw()
        return _renew(decode_identity(payload))

    def _answers(self) -> None:
        # A guest that was restored may have been frozen when it was saved.
        self.channel.begin(self._thaw_left())
        self._on_ready()

    def _exec(self, job: int, payload: bytes) -> None:
        if len(self._commands) >= _MOST:
            self._fail(job, errno.EBUSY, "too many commands at a time")
            return

        def say(kind: Tell, said: bytes) -> None:
            if kind in (Tell.EXIT, Tell.FAILED):
                self._commands.pop(job, None)
            self._told(kind, job, said)

        command = Command(decode_exec(payload), say)
        self._commands[job] = command
        self.channel.begin(command.steps())

    def _errand(self, job: int, work: Generator[Call | Pause, Any, bytes]) -> None:
        def steps() -> Steps:
            try:
                answer = yield from work
            except Refused as refused:
                self._fail(job, errno.EIO, str(refused))
            except Nonsense as nonsense:
                self._fail(job, errno.EPROTO, f"its agent makes no sense: {nonsense}")
            except Lost:
                self._fail(job, errno.ECONNRESET, "its agent does not answer any more")
            else:
                self._told(Tell.DONE, job, answer)

        self.channel.begin(steps())

    def _fail(self, job: int, number: int, words: str) -> None:
        self._told(Tell.FAILED, job, struct.pack("<I", number) + words.encode())

    # Frozen file systems. That agent knows no limit, so it is kept here.

    def _stand_still(self, limit: float) -> Generator[Call | Pause, Any, bytes]:
        if self.channel.frozen or self._freezing:
            raise Refused("they are already frozen")
        self._freezing = True
        try:
            found = yield Call("guest-fsfreeze-freeze", patience=limit + 30)
            self.channel.frozen = True
        finally:
            self._freezing = False
        self._freeze += 1
        number = self._freeze
        self._loop.after(limit, lambda: self._give_up(number))
        return struct.pack("<I", min(max(integer(found), 0), 0xFFFF_FFFF))

    def _thaw(self) -> Generator[Call | Pause, Any, bytes]:
        if not self.channel.frozen:
            return bytes(4)
        found = yield Call("guest-fsfreeze-thaw", quiet=True)
        was_frozen, self.channel.frozen = self.channel.frozen, False
        count = min(max(integer(found), 0), 0xFFFF_FFFF)
        return struct.pack("<I", count if was_frozen else 0)

    def _give_up(self, number: int) -> None:
        def steps() -> Steps:
            # It is over, or nobody can help.
            with contextlib.suppress(Refused, Nonsense, Lost):
                yield from self._thaw()

        if number == self._freeze and self.channel.frozen:
            self.channel.begin(steps())

    def _thaw_left(self) -> Steps:
        try:
            if (yield Call("guest-fsfreeze-status", quiet=True)) == "frozen":
                yield Call("guest-fsfreeze-thaw", quiet=True)
        except (Refused, Lost):
            pass  # Some agents may not say.


def _shut_down() -> Steps:
    try:
        # Which has no answer where it works.
        yield Call("guest-shutdown", {"mode": "powerdown"})
    except Lost:
        pass
    except Refused:
        # It needs a logind, which a small system may do without.
        with contextlib.suppress(Refused, Nonsense, Lost):
            yield from run("/bin/sh", "-c", "systemctl poweroff || poweroff")


def _set_time(wanted: int) -> Generator[Call | Pause, Any, bytes]:
    begun = time.monotonic_ns()
    before = integer((yield Call("guest-get-time")))
    now = wanted + time.monotonic_ns() - begun
    try:
        yield Call("guest-set-time", {"time": now})
    except Refused:
        # Some set the clock, and then cannot set that of the hardware as well.
        passed = time.monotonic_ns() - begun
        if abs(integer((yield Call("guest-get-time"))) - wanted - passed) > _CLOSE:
            raise
    ahead = before - now
    return struct.pack("<q", max(-(1 << 63), min(ahead, (1 << 63) - 1)))


def _renew(identity: Identity) -> Generator[Call | Pause, Any, bytes]:
    if identity.entropy:
        opened = yield Call("guest-file-open", {"path": "/dev/urandom", "mode": "w"})
        handle = integer(opened)
        yield from write(handle, identity.entropy)
        yield Call("guest-file-close", {"handle": handle})
    addresses = [address.hex(":") for card in identity.cards for address in card]
    words = [identity.hostname, identity.machine_id.hex(), *addresses]
    yield from run("/bin/sh", "-c", _RENEW, "sh", *words)
    return b""
