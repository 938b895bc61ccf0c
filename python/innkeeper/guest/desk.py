"""The process of a detached guest: its machine, and all that others may want of it, in one loop.

The machine runs in threads of its own. It is made anew when the guest resets itself, so that what
hangs on it (the agent's channel above all, which may be cut in the middle of a frame) begins anew
as well; sockets, log and clients stay.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from innkeeper.errors import DeviceFailed, HostFailure, InnkeeperError, InvalidInput
from innkeeper.guest import awakening
from innkeeper.guest.arrival import Arrival
from innkeeper.guest.clipboard import GuestClipboard
from innkeeper.guest.connection import AGENT_PORT
from innkeeper.guest.departure import Departure
from innkeeper.guest.full_disks import FullDisks
from innkeeper.guest.hub import AgentHub
from innkeeper.guest.late_memory import LateMemory
from innkeeper.guest.media import Media
from innkeeper.guest.news import News
from innkeeper.guest.qga.agent import QemuAgent
from innkeeper.guest.qga.channel import PORT as QEMU_PORT
from innkeeper.guest.recorder import Layers, Recorder
from innkeeper.guest.resident import ConsoleShell, ResidentCommand
from innkeeper.guest.resumption import Resumption, take
from innkeeper.machine.firewall import FirewallSpec
from innkeeper.machine.limits import Limits
from innkeeper.machine.size import format_size
from innkeeper.vm import jail, running, tpm, vsock
from innkeeper.vm import order as orders
from innkeeper.vm.bridge import Plug
from innkeeper.vm.bridge.plug import announce
from innkeeper.vm.detached import alone, journal
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.console import Console
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.log import Log
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.serial import SerialLine
from innkeeper.vm.detached.standing import PAUSED, RUNNING
from innkeeper.vm.display.rfb.places import listen
from innkeeper.vm.display.rfb.server import RfbServer
from innkeeper.vm.display.seat import Seat
from innkeeper.vm.ending import CAUSES, Ending, EndKind, ending
from innkeeper.vm.last_words import last_words
from innkeeper.vm.order import Order
from innkeeper.vm.plugs import Plugs
from innkeeper.vm.qmp.commands import handlers, version
from innkeeper.vm.qmp.server import Server
from innkeeper.vm.qmp.session import CommandError
from innkeeper.vm.running import Control, RunningMachine
from innkeeper.vm.saved import Beginning
from innkeeper.vm.wiring import Channel, Tpm, Vsock, Wiring

VERSION: Final = 1
# Seconds that clients get to read how it ended.
_FAREWELL: Final = 1.0
# Seconds after which a guest that was asked to power off is asked in another way.
_INSIST: Final = 3.0
# Seconds after which what could not be written down is tried again.
_AGAIN: Final = 1.0
# Seconds that a guest gets to power off, when this process is told to end.
_GRACE: Final = 10.0

Tell = Callable[[dict[str, object]], None]

if TYPE_CHECKING:
    from innkeeper.vm.disk_images import OpenDisk


def run(home: Home, outward: int | None, tell: Tell) -> int:
    """Runs the guest that `home` has an order for, to its end. `tell` hears how the start went;
    `outward` is where connections that the guest makes are asked for.
    """
    try:
        desk = Desk(home, orders.read(home), outward)
        desk.start()
    except InnkeeperError as error:
        details = error.details if isinstance(error, DeviceFailed) else ""
        _write_ending(home, Ending(1, str(error)), asked=False, failed_to_start=True)
        tell({"error": error.code, "message": str(error), "details": details})
        return 0
    tell({"pid": alone.number()})
    desk.serve()
    return 0


def rehearse(home: Home) -> None:
    """What Python makes when it first reads an order, it does not make again: for processes that
    are forked from this one.
    """
    running.rehearse()
    # Whoever runs it will say what is wrong with it.
    with contextlib.suppress(InnkeeperError):
        jail.needs(orders.read(home).spec, (), None, "")


class Desk:
    """One guest, from its start to its end."""

    def __init__(self, home: Home, order: Order, outward: int | None = None) -> None:
        self.home = home
        self.order = order
        self.loop = Loop()
        self.log = Log(home)
        self.paused = False
        self._full_disks = FullDisks(home)
        self.limits = order.spec.limits
        self._memory = order.spec.memory
        self._vcpus = order.spec.vcpus
        self.spec = order.spec
        self.plugs = Plugs(self)
        self.media = Media(self)
        self._taps: tuple[int, ...] = ()
        self._disks: tuple[tuple[str, OpenDisk], ...] = ()
        self._tpm: Tpm | None = None
        self.machine: RunningMachine | None = None
        self.hub = AgentHub(self.loop, home, self._ready)
        self._qga: QemuAgent | None = None
        self._news: News | None = None
        self._began = time.time()
        self._asked: str | None = None  # why, as a ShutdownCause
        self._resetting = self._has_moved = self._unwritten = False
        self._powering_down = False
        self._command: ResidentCommand | None = None
        self._shell: ConsoleShell | None = None
        self._vsock = self._open_vsock(outward)
        self._serial = SerialLine(self.loop, self.log.write)
        self._ending: tuple[Ending, bool] | None = None
        self._walls = jail.Walls()
        self._arrival: Arrival | None = None
        if order.image:
            self._command = ResidentCommand(
                order.command, order.surroundings, self.log.write, self._power_off
            )
            self._shell = ConsoleShell(self.hub)
            self.console = Console(self.loop, home, on_reader=self._shell.wanted)
            self._shell.when_ended(self.console.dismiss)
        else:
            self.console = Console(self.loop, home, on_data=self.log.write)
            hub = self.hub
            self._qga = QemuAgent(self.loop, hub.told, hub.substitute_came, hub.substitute_went)
            hub.use(self._qga)
        self.seat = Seat(self.loop, self.control)
        self._rfb: RfbServer | None = None
        self._clipboard: GuestClipboard | None = None
        if order.spec.screen is not None:
            listeners = listen(home, order.spec.screen)
            rfb = RfbServer(self.loop, self.seat, lambda: self.home.name, listeners)
            shared = self.seat.clipboard
            clipboard = GuestClipboard(self.loop, self.hub, shared, lambda: rfb.clients > 0)
            rfb.on_client = clipboard.wanted
            self._rfb, self._clipboard = rfb, clipboard
        self.departure = Departure(self, self._tell_migration)
        self.late_memory = LateMemory(self, self._tell_migration)
        self.server = Server(self.loop, home, handlers(self), version())

    def start(self) -> None:
        """
        Raises:
            InvalidInput, EngineUnavailable, HostFailure, DeviceFailed: as `RunningMachine`.
        """
        if self.order.here is not None:
            sys.path.insert(0, str(self.order.here))
        # Ctrl-C is for whoever sits at a terminal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.loop.on_signal(signal.SIGTERM, self._told_to_end)
        if (self.home.read(files.SHARE) or {}).get("limits_cpu") is True:
            # A control group does.
            self.limits = replace(self.limits, cpu=None)
        self._plug_in()
        # It lies where the jail does not reach.
        self._arrival = Arrival.take(self.home)
        self._migration = (self.home.read(files.ARRIVED) or {}).get("migration")
        try:
            self._begin()
        except InnkeeperError as error:
            if self._arrival is not None:
                self._arrival.refuse(str(error))
            raise

    def _begin(self) -> None:
        resumption = None if self._arrival is not None else take(self.home)
        if self.order.jail:
            # What is not there by then, it cannot make.
            os.close(journal.open_directory(self.home))
            home = Path(self.home.path)
            own = (home / files.OWN, home.parent / journal.DIRECTORY)
            self._walls = jail.enter(self.spec, own, self.order.here, self.order.id)
        if self._arrival is not None:
            resumption = self._arrival.receive()
        if resumption is None:
            self.recorder = Recorder(self, Layers())
            self._make_machine()
        else:
            self._resume_as(resumption)
        assert self.machine is not None
        late = None if resumption is None else resumption.beginning.late
        if late is None:
            # A processor that waits for its memory may wait long.
            self.machine.wait_begun()
        if self._arrival is not None:
            self._arrival.began()
            self._announce()
        self._write_run()
        how = "start" if self._arrival is None else "arrive"
        # What else came is all here: nothing more is heard of the other host.
        self._arrival = None
        journal.tell(self.home, how, pid=alone.number())
        if late is not None:
            self.late_memory.expect(late)

    def _announce(self) -> None:
        """Switches learn that the guest's address is here now, before it says anything itself."""
        network = self.spec.network
        if network is not None and network.mac:
            announce(self._taps, network.mac)

    def _plug_in(self) -> None:
        """Onto its bridge and to its disks of NBD servers, which needs rights that this process
        gives up later. What it gets is for all its machines, and goes with the process.
        """
        network = self.order.spec.network
        if network is not None and network.bridge is not None:
            plug = Plug(network, self.order.spec.vcpus)
            self.spec = replace(self.order.spec, network=plug.network)
            self._taps = plug.taps
        if any(disk.nbd for disk in self.spec.disks if not disk.gone):
            from innkeeper.vm.disk_images import connected

            self._disks = connected(self.spec)
        if self.spec.tpm is not None:
            place = Path(self.home.path) / files.TPM
            self._tpm = tpm.start(place, self.order.id, jail=self.order.jail)

    def serve(self) -> None:
        self.loop.run()
        assert self._ending is not None
        found, asked = self._ending
        self.log.close()
        _write_ending(self.home, found, asked=asked, failed_to_start=False)

    # What others want of it.

    def pause(self) -> None:
        if not self.paused:
            self.control().pause()
            self._changed(PAUSED, "STOP", "pause")

    def resume(self) -> None:
        if self.departure.holds:
            raise CommandError(
                f"the guest {self.home.name!r} was handed over to another host: "
                f"inn migrate {self.home.name} --status says how that stands"
            )
        if self.late_memory.cut_off:
            self.require_memory()
        if self.paused:
            self._full_disks.forget()
            self.control().resume()
            self._changed(RUNNING, "RESUME", "resume")
            if self.hub.ready:
                awakening.set_time(self.hub)

    def _look_for_full(self) -> None:
        """The machine has paused itself, where the host has no room for a write to a disk."""
        if not self._full_disks.look(self.control(), self.server):
            return
        if self.paused:
            self._write_run()
        else:
            self._changed(PAUSED, "STOP", "pause")

    @property
    def full(self) -> tuple[tuple[str, str], ...]:
        """Disks that a write is kept for, since the host has no room, and their images."""
        return self._full_disks.known

    @property
    def stands_still(self) -> bool:
        return self.paused or self.late_memory.cut_off

    def wait_for_memory(self) -> None:
        """What the guest lacks does not come."""
        self.control().pause()
        self._write_run()

    def memory_comes(self) -> None:
        """It does again."""
        self._write_run()
        if not self.paused:
            self.control().resume()
            if self.hub.ready:
                awakening.set_time(self.hub)

    def require_memory(self) -> None:
        """
        Raises:
            CommandError: when a part of the guest's memory is on another host.
        """
        if self.late_memory.outstanding:
            raise CommandError(
                f"not all of the memory of the guest {self.home.name!r} has come from the host "
                "that it came from"
            )

    def power_down(self, why: str = "host-qmp-quit") -> None:
        """As a person would: by the agent where there is one, or else by the power button."""
        self._asked = why
        # A guest that still boots hears it once it can.
        self._powering_down = True
        self.server.event("POWERDOWN")
        journal.tell(self.home, "powerdown")
        self._power_off()

    def quit(self, why: str = "host-qmp-quit") -> None:
        self._asked = why
        self.control().stop()
        self.loop.after(_FAREWELL, self._leave_when_cut_off)

    def _leave_when_cut_off(self) -> None:
        """Threads that wait for pages which do not come hear of no end."""
        if self._ending is not None or not self.late_memory.outstanding:
            return
        if self.late_memory.cut_off:
            self._finish(ending(EndKind.STOPPED), guest=False, reason=self._asked or "host-error")
        else:
            self.loop.after(_FAREWELL, self._leave_when_cut_off)

    def require_here(self) -> None:
        """
        Raises:
            CommandError: when the guest is on its way to another host.
        """
        if self.departure.holds or self.departure.active:
            raise CommandError(f"the guest {self.home.name!r} is being handed over to another host")

    def reset(self) -> None:
        self.require_here()
        if self.order.spec.reboots:
            self.control().reset()
            self._tell_reset(guest=False, reason="host-qmp-system-reset")
        else:
            self._resetting = True
            self.control().stop()

    def set_limits(self, limits: Limits) -> None:
        """These hold from now on, also for machines that are made later."""
        self.limits = limits
        self.control().set_limits(limits)

    def set_firewall(self, firewall: FirewallSpec) -> None:
        """These rules hold from now on, also for machines that are made later."""
        assert self.spec.network is not None
        self.spec = replace(self.spec, network=replace(self.spec.network, firewall=firewall))
        self.control().set_firewall(firewall)

    def set_memory(self, size: int) -> None:
        """So many bytes from now on, as far as the guest goes along; machines made later as well.

        Raises:
            InvalidInput: when it cannot have so many before it is started anew.
        """
        most = self.order.spec.growth.memory or self.order.spec.memory
        if size > most:
            raise InvalidInput(
                f"the guest {self.home.name!r} can have up to {format_size(most)} while it runs; "
                f"stop it first, for {format_size(size)}"
            )
        self._memory = size
        self._size_memory()

    def set_vcpus(self, count: int) -> None:
        """So many processors from now on, as far as the guest goes along; later machines as well.

        Raises:
            InvalidInput: when it cannot have so many before it is started anew.
        """
        spec = self.order.spec
        most = spec.growth.vcpus or spec.vcpus
        if not 1 <= count <= most or (spec.growth.vcpus is None and count != spec.vcpus):
            can = f"can have 1 to {most} CPUs while it runs"
            if spec.growth.vcpus is None:
                can = "has its CPUs as long as it runs, being made without --max-cpus"
            raise InvalidInput(f"the guest {self.home.name!r} {can}; stop it first, for {count}")
        self._vcpus = count
        self.control().want_cpus(count)
        if self._news is not None:
            self._news.tell_processors()

    def _size_memory(self) -> None:
        more = self._memory - self.order.spec.memory
        self.control().request_memory(max(more, 0))
        self.control().set_balloon(max(-more, 0))

    def _power_off(self) -> None:
        """By the agent of an image of ours, and by the button of any other; whoever does not listen
        to one is told by the other.
        """
        machine = self.machine
        if self.order.image and self.hub.ready:
            self.hub.power_off()
        else:
            self.control().power_button()

        def insist() -> None:
            if self.machine is not machine or not self._powering_down:
                return
            if not self.order.image and self.hub.ready:
                self.hub.power_off()
            else:
                self.control().power_button()

        self.loop.after(_INSIST, insist)

    def _told_to_end(self) -> None:
        if self._asked is not None or self.departure.holds or self.late_memory.cut_off:
            self.quit("host-signal")
            return
        self.resume()
        self.power_down("host-signal")
        # Of the machine that there is then.
        self.loop.after(_GRACE, lambda: self.control().stop())

    def moved(self) -> None:
        """It runs on another host: here it ends, and is not started again."""
        journal.tell(self.home, "migrated")
        self._has_moved = True
        self.quit("host-qmp-quit")

    def _tell_migration(self, phase: str) -> None:
        self.server.event("MIGRATION", status=phase)
        if phase not in ("device", "handed-over"):
            journal.tell(self.home, "migration", status=phase)

    def about(self) -> dict[str, object]:
        """What this process knows and the machine does not: for one that goes on with it."""
        assert self.machine is not None
        return {
            "memory": self._memory,
            "vcpus": self._vcpus,
            "engine": self.machine.engine,
            "ready": self.hub.ready,
            "command": None if self._command is None else self._command.number,
            "shell": None if self._shell is None else self._shell.number,
        }

    # The machine's life.

    def tell_plugged(self) -> None:
        if self._news is not None:
            self._news.tell_plugged()

    def tell_trays(self) -> None:
        if self._news is not None:
            self._news.tell_trays()

    @property
    def locked_in(self) -> bool:
        return self.order.jail

    def control(self) -> Control:
        assert self.machine is not None
        return self.machine.control

    def _resume_as(self, resumption: Resumption) -> None:
        self.recorder = Recorder(self, resumption.layers)
        self._memory = resumption.number("memory") or self._memory
        self._vcpus = resumption.number("vcpus") or self._vcpus
        self._make_machine(resumption.beginning)
        if (code := resumption.beginning.code) is not None:
            os.close(code)
        if resumption.about.get("ready"):
            awake = partial(self._awake, begins=resumption.about.get("begins") is True)
            resumption.awaken(self.hub, self._command, self._shell, awake)

    def _awake(self, failures: tuple[str, ...], *, begins: bool) -> None:
        """It `begins` where another had booted, and nothing was run for it so far."""
        for failure in failures:
            print(failure, file=sys.stderr, flush=True)
        if begins:
            self._ready()
            return
        self._write_run()
        journal.tell(self.home, "ready")

    def _make_machine(self, beginning: Beginning | None = None) -> None:
        mine: list[int] = []
        try:
            wiring = self._wire(mine)
            wiring = replace(wiring, taps=self._taps, disks=self._disks, plugged=self.plugs.disks)
            wiring = replace(wiring, media=self.media.given, tpm=self._tpm)
            spec = replace(self.spec, limits=self.limits)
            machine = RunningMachine(spec, wiring, on_end=self._post_end, beginning=beginning)
        finally:
            # The machine has its own duplicates.
            for fd in mine:
                os.close(fd)
        self.machine = machine
        if self._news is not None:
            self._news.close()
        self._full_disks.forget()
        machine.control.stop_when_full()
        self._news = News(self.loop, self.server, machine, self.plugs.gone, self._look_for_full)
        self._size_memory()
        machine.control.want_cpus(self._vcpus)
        if self._arrival is not None:
            self._arrival.own()
            # It is nowhere else by now: it runs whether that can be written down or not.
            with contextlib.suppress(OSError):
                self.home.write(files.WHOLE, {"migration": self._migration}, lasting=True)
        machine.start()
        if self.paused:
            machine.control.pause()

    def _wire(self, mine: list[int]) -> Wiring:
        """The machine's ends of everything; `mine` are to be closed once it has them."""
        mine.append(self.console.connect().detach())
        line = Channel(input=mine[0], output=mine[0])
        mine.append(self.hub.connect().detach())
        ports = [(AGENT_PORT, Channel(input=mine[1], output=mine[1]))]
        if self._qga is not None:
            mine.append(self._qga.channel.connect().detach())
            ports.append((QEMU_PORT, Channel(input=mine[2], output=mine[2])))
            log = None
            if self.spec.firmware is not None:
                log = self._serial.connect()
                mine.append(log)
            return Wiring(com1=line, ports=tuple(ports), vsock=self._vsock, firmware_log=log)
        mine.append(self._serial.connect())
        com1 = Channel(output=mine[2])
        return Wiring(com1=com1, console=line, ports=tuple(ports), vsock=self._vsock)

    def _open_vsock(self, outward: int | None) -> Vsock | None:
        """The host's side of the socket device, for all machines that this process makes.

        Raises:
            HostFailure: when the path is taken, or cannot be made.
        """
        spec = self.order.spec.vsock
        if spec is None:
            return None
        path = self.home.socket_path(files.VSOCK) if spec.path is None else str(spec.path)
        try:
            listener = vsock.listen(path)
        except OSError as error:
            reason = error.strerror
            raise HostFailure(f"cannot make the vsock socket {spec.path}: {reason}") from error
        if spec.path is None:
            # Not beside a name that somebody chose.
            self.hub.meet(path)
        return Vsock(cid=spec.cid, listener=listener.detach(), outward=outward)

    def _ready(self) -> None:
        if self._clipboard is not None:
            self._clipboard.begin()
        self._write_run()
        journal.tell(self.home, "ready")
        if self._powering_down:
            self._power_off()
        elif self._command is not None:
            self._command.begin(self.hub)
            assert self._shell is not None
            self._shell.begin(wanted=self.console.readers > 0)

    def _post_end(self) -> None:
        # From the machine's thread.
        self.loop.post(self._ended)

    def _ended(self) -> None:
        assert self.machine is not None
        if self._ending is not None:
            return
        self.late_memory.abandon()
        self._serial.drain()
        try:
            kind, code, what = self.machine.outcome
        except InnkeeperError as error:
            if isinstance(error, DeviceFailed):
                print(error.details, file=sys.stderr, flush=True)
            self._finish(Ending(1, str(error)), guest=False, reason="host-error")
            return
        if self._begins_anew(kind):
            return
        if kind in (EndKind.RESET, EndKind.TRIPLE_FAULT) and self.log.panicked:
            kind = EndKind.PANIC
        if kind is EndKind.PANIC:
            self.server.event("GUEST_PANICKED", action="shutdown")
        found = ending(kind, code, what)
        if self._has_moved:
            found = Ending(0, "it was moved to another host")
        elif self._command is not None and self._command.ending is not None and found.status == 0:
            found = self._command.ending
        reason = CAUSES.get(kind, self._asked or "host-error")
        self._finish(found, guest=kind in CAUSES, reason=reason)

    def _begins_anew(self, kind: EndKind) -> bool:
        by_guest = kind is EndKind.RESET and self.order.image and not self.log.panicked
        if not by_guest and not (self._resetting and kind is EndKind.STOPPED):
            return False
        reason = "guest-reset" if by_guest else "host-qmp-system-reset"
        self._resetting = self._powering_down = False
        self.log.restart()
        try:
            self._make_machine()
        except InnkeeperError as error:
            self._finish(Ending(1, str(error)), guest=False, reason="host-error")
        else:
            self._write_run()
            self._tell_reset(guest=by_guest, reason=reason)
        return True

    def _finish(self, found: Ending, *, guest: bool, reason: str) -> None:
        if found.sentence is not None:
            found = found.quoting(last_words(self.log.text))
        self.server.event("SHUTDOWN", guest=guest, reason=reason)
        self._ending = found, self._asked is not None
        self.console.close()
        if self._rfb is not None:
            self._rfb.close()
        self.hub.close()
        if self._qga is not None:
            self._qga.channel.disconnect()
        # A machine that could not end, in the middle of Rust, is not waited for.
        threading.Timer(_FAREWELL * 10, os._exit, (1,)).start()
        self._wait_for_readers(time.monotonic() + _FAREWELL)

    def _wait_for_readers(self, until: float) -> None:
        if self.server.waiting and time.monotonic() < until:
            self.loop.after(0.01, lambda: self._wait_for_readers(until))
            return
        self.server.close()
        self.loop.stop()

    # What is written down.

    def _tell_reset(self, *, guest: bool, reason: str) -> None:
        self.server.event("RESET", guest=guest, reason=reason)
        journal.tell(self.home, "reset", reason=reason)

    def _changed(self, phase: str, event: str, told: str) -> None:
        self.paused = phase == PAUSED
        self._write_run()
        self.server.event(event)
        journal.tell(self.home, told)

    def _write_run(self) -> None:
        """On a full disk, again after a while: the guest stands as it does all the same."""
        assert self.machine is not None
        document: dict[str, object] = {
            "version": VERSION,
            "since": self._began,
            "phase": PAUSED if self.stands_still else RUNNING,
            "sentence": self._full_disks.sentence,
            "engine": self.machine.engine,
            "ready": self.hub.ready,
            "agent": self.hub.answers_by,
            "jail": [*self._walls.standing, *(("pid namespace",) if os.getpid() == 1 else ())],
            "jail_missing": [*self._walls.missing, *((alone.missing,) if alone.missing else ())],
        }
        try:
            self.home.write(files.RUN, document)
        except OSError:
            if not self._unwritten:
                self._unwritten = True
                self.loop.after(_AGAIN, self._write_run_again)

    def _write_run_again(self) -> None:
        self._unwritten = False
        self._write_run()


def _write_ending(home: Home, found: Ending, *, asked: bool, failed_to_start: bool) -> None:
    document: dict[str, object] = {
        "version": VERSION,
        "time": time.time(),
        "status": found.status,
        "sentence": found.sentence,
        "last_words": list(found.last_words),
        "asked": asked,
        "failed_to_start": failed_to_start,
    }
    home.write(files.ENDING, document)
