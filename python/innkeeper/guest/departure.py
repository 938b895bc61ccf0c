"""A guest's way to another host, seen from its process here: who is told, and who has it in the
end.

The core sends memory and disks (crates/machine/src/migration.rs). This is what the loop does of it:
it stops the guest when nothing is on its way to its agent, says what the process knows, and ends
the guest once it runs elsewhere.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from innkeeper.errors import InnkeeperError
from innkeeper.guest.hub import AgentHub
from innkeeper.guest.recorder import VERSION, settle
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm.detached.loop import READ, Loop
from innkeeper.vm.moving import Migration, MigrationOptions
from innkeeper.vm.qmp.session import CommandError
from innkeeper.vm.running import Control

# Of what the guest may stand still for, the part in which its memory is sent: the rest is for its
# state, and for the other host to begin.
_SENDING: Final = 0.4
_DOWNTIME: Final = 0.3
# Seconds in which somebody asks how it went.
_FAREWELL: Final = 2.0
_MOST_DESCRIPTORS: Final = 16
# Phases in which the guest does not go on here unless somebody says where it runs.
_ELSEWHERE: Final = (
    "device",
    "handed-over",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover",
    "completed",
    "in-doubt",
)


class Subject(Protocol):
    """A guest, as its departure needs it."""

    @property
    def loop(self) -> Loop: ...
    @property
    def hub(self) -> AgentHub | None: ...
    @property
    def spec(self) -> MachineSpec: ...
    def control(self) -> Control: ...
    def about(self) -> dict[str, object]: ...
    def moved(self) -> None: ...


class Departure:
    """`tell` hears of each phase by its name."""

    def __init__(self, guest: Subject, tell: Callable[[str], None]) -> None:
        self._guest = guest
        self._tell = tell
        self._migration: Migration | None = None
        self._phase = "none"
        self._descriptors: dict[str, int] = {}
        self._downtime = _DOWNTIME
        self._capabilities = {
            "auto-converge": True,
            "compress": True,
            "pause-before-switchover": False,
            "postcopy-ram": False,
        }
        self._copied: tuple[int, ...] = ()
        self._left = False

    # What it is to be like.

    def keep(self, name: str, descriptor: int) -> None:
        """One that is of that name already is closed."""
        self.drop(name)
        if len(self._descriptors) >= _MOST_DESCRIPTORS:
            os.close(descriptor)
            raise CommandError(f"there are {_MOST_DESCRIPTORS} descriptors at most")
        self._descriptors[name] = descriptor

    def drop(self, name: str) -> bool:
        descriptor = self._descriptors.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None

    def take(self, uri: str) -> int:
        """The descriptor that is meant, which is the caller's from then on.

        Raises:
            CommandError: when there is none.
        """
        kind, _, name = uri.partition(":")
        if kind != "fd":
            raise CommandError("a migration goes by a descriptor: getfd, then the uri fd:NAME")
        if name not in self._descriptors:
            raise CommandError(f"there is no descriptor {name!r}; getfd gives one")
        return self._descriptors.pop(name)

    def set_capability(self, name: str, *, on: bool) -> None:
        if name not in self._capabilities:
            known = ", ".join(self._capabilities)
            raise CommandError(f"there is no capability {name!r} here, but {known}")
        self._capabilities[name] = on

    @property
    def capabilities(self) -> Mapping[str, bool]:
        return self._capabilities

    @property
    def downtime(self) -> float:
        """Seconds that the guest may stand still for."""
        return self._downtime

    @downtime.setter
    def downtime(self, seconds: float) -> None:
        if not 0.001 <= seconds <= 2000:
            raise CommandError("a downtime limit is from 1 to 2000000 milliseconds")
        self._downtime = seconds

    def copy(self, disks: tuple[int, ...]) -> None:
        """The content of these disks goes along with the next migration."""
        self._copied = disks

    # What it does.

    @property
    def holds(self) -> bool:
        """Whether the guest is not to go on here unless somebody says where it runs."""
        return self._phase in _ELSEWHERE

    @property
    def active(self) -> bool:
        return self._migration is not None and not self._migration.progress().over

    def begin(self, uri: str) -> None:
        """
        Raises:
            CommandError: when that cannot be done now.
        """
        if self.active or self.holds:
            raise CommandError("the guest is being migrated already")
        options = MigrationOptions(
            copied=self._copied,
            pause=self._downtime * _SENDING,
            slows=self._capabilities["auto-converge"],
            post_copy=self._capabilities["postcopy-ram"],
            compress=self._capabilities["compress"],
        )
        descriptor = self.take(uri)
        try:
            self._migration = self._guest.control().migrate(descriptor, options)
        except InnkeeperError as error:
            raise CommandError(str(error)) from error
        finally:
            os.close(descriptor)
        self._enter("active")
        self._guest.loop.watch(self._migration.fileno(), READ, lambda _: self._news())

    def go_on(self, uri: str) -> None:
        """Of a guest that runs there while a part of its memory is here: sends that.

        Raises:
            CommandError: when nothing waits for that.
        """
        descriptor = self.take(uri)
        try:
            if self._migration is None or not self._migration.go_on(descriptor):
                raise CommandError("the migration does not wait for another connection")
        finally:
            os.close(descriptor)

    def proceed(self) -> None:
        """What is left is sent while the guest stands still.

        Raises:
            CommandError: when it is not the time for that, or the guest cannot be stopped.
        """
        if self._migration is None or self._phase != "pre-switchover":
            raise CommandError("the migration does not wait for that")
        try:
            settle(self._guest.hub)
            stopped = self._migration.stop()
        except CommandError:
            self._migration.cancel()
            raise
        except InnkeeperError as error:
            raise CommandError(f"cannot save the guest: {error}") from error
        if not stopped:
            raise CommandError("the migration is over")
        about = {"version": VERSION, "name": "", **self._guest.about()}
        self._migration.finish(json.dumps(about).encode())

    def cancel(self) -> None:
        """
        Raises:
            CommandError: when it is too late.
        """
        if self._migration is None or self._migration.progress().over:
            return
        if not self._migration.cancel():
            raise CommandError("the other host was told to go on with the guest: it is too late")

    def settle(self, *, here: bool) -> None:
        """Of a guest that was handed over and not heard of since: somebody knows where it is.

        Raises:
            CommandError: when nothing is in doubt.
        """
        migration = self._migration
        if migration is None or not (migration.take_back() if here else migration.give_up()):
            raise CommandError("it is not in doubt where the guest runs")

    def status(self) -> dict[str, object]:
        """As `query-migrate` tells it."""
        if self._migration is None:
            return {}
        found = self._migration.progress()
        self._enter(found.phase)
        if found.phase == "completed":
            self._guest.loop.after(0.0, self._leave)
        total = found.memory + found.disks
        told: dict[str, object] = {
            "status": found.phase,
            "total-time": round(found.took * 1000),
            "ram": {
                "transferred": found.sent,
                "remaining": found.left,
                "total": total,
                "duplicate": found.zero_pages + found.like_pages,
                "skipped": found.same_pages,
                "normal": found.data_pages,
                "normal-bytes": found.data_pages * 4096,
                "dirty-pages-rate": found.dirty_rate // 4096,
                "dirty-sync-count": found.rounds,
                "postcopy-requests": found.wanted_pages,
                "page-size": 4096,
            },
        }
        if found.slowed:
            told["cpu-throttle-percentage"] = found.slowed
        if found.downtime is not None:
            told["downtime"] = round(found.downtime * 1000)
        if found.reason is not None:
            told["error-desc"] = found.reason
        return told

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._guest.moved()

    def _news(self) -> None:
        if self._migration is not None:
            self._enter(self._migration.progress().phase)

    def _enter(self, phase: str) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        self._tell(phase)
        if phase == "pre-switchover" and not self._capabilities["pause-before-switchover"]:
            try:
                self.proceed()
            except CommandError as error:
                print(f"the migration cannot go on: {error}", flush=True)
        elif phase == "completed":
            # Whoever sent it there is to hear how that went.
            self._guest.loop.after(_FAREWELL, self._leave)
        if phase in ("completed", "failed", "cancelled") and self._migration is not None:
            self._guest.loop.forget(self._migration.fileno())
