"""A machine that runs in a thread of this process."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from innkeeper import devices
from innkeeper._core import Control, Machine, Outcome, Recording, rehearse
from innkeeper.devices.base import MmioDevice, PortDevice
from innkeeper.errors import InnkeeperError
from innkeeper.machine.firmware import with_medium
from innkeeper.machine.spec import MachineSpec, validate
from innkeeper.vm import symbols
from innkeeper.vm.bridge import Plug
from innkeeper.vm.ending import EndKind
from innkeeper.vm.saved import Beginning
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.wiring import Wiring

__all__ = ["Control", "Recording", "RunningMachine", "rehearse"]

_SIGNALS_LATER: Final = 1.0  # seconds that a signal may wait at most


class RunningMachine:
    """The handle of one guest.

    The main thread stays free for signals, which Python delivers nowhere else. `on_end` is called
    by the machine's thread when the guest has ended. With `beginning`, it goes on as what was
    saved.

    Raises from the constructor:
        InvalidInput, EngineUnavailable, HostFailure: as `Machine`.
        DeviceFailed: when a Python device could not be made.
    """

    def __init__(
        self,
        spec: MachineSpec,
        wiring: Wiring,
        attached: Sequence[PortDevice | MmioDevice] = (),
        on_end: Callable[[], None] = lambda: None,
        beginning: Beginning | None = None,
    ) -> None:
        # What is open already is nothing to look for.
        given = {name for name, _ in wiring.plugged}
        disks = tuple(disk for disk in spec.disks if disk.id not in given)
        firmware = spec.firmware
        for drive, _ in wiring.media:
            firmware = firmware and with_medium(firmware, drive, None)
        validate(replace(spec, disks=disks, firmware=firmware))
        self._plug: Plug | None = None
        if spec.network is not None and spec.network.bridge is not None and not wiring.taps:
            self._plug = Plug(spec.network, spec.vcpus)
            spec = replace(spec, network=self._plug.network)
            wiring = replace(wiring, taps=self._plug.taps)
        try:
            machine = self._made(spec, wiring, attached)
            if beginning is not None:
                machine.begin_as(beginning)
        except BaseException:
            self._unplug()
            raise
        # The one that was chosen, where the choice was left to the core.
        self.engine = machine.statistics().engine
        self._machine: Machine | None = machine
        self._wants_statistics = spec.times
        # Once it has ended, where `spec.times` asks for it.
        self.statistics: GuestStatistics | None = None
        self._on_end = on_end
        self._ended = threading.Event()
        self._outcome: Outcome | None = None
        self._failure: InnkeeperError | None = None
        # Not a daemon: its end is waited for, so that nothing is cut off in the middle of a write.
        self._thread = threading.Thread(target=self._run, name="machine")

    def _made(
        self, spec: MachineSpec, wiring: Wiring, attached: Sequence[PortDevice | MmioDevice]
    ) -> Machine:
        machine = Machine(spec, wiring)
        self.control = machine.control
        for name in spec.devices:
            for device in devices.make(name, self.control):
                machine.attach(device)
        for device in attached:
            machine.attach(device)
        if spec.perf_map:
            named = [] if spec.symbols is None else symbols.read(spec.symbols)
            machine.write_perf_map(named)
        return machine

    def _unplug(self) -> None:
        if self._plug is not None:
            self._plug.close()

    def start(self) -> None:
        self._thread.start()

    def wait_begun(self) -> None:
        """Until its processors run, or it has ended already.

        Raises:
            InvalidInput, HostFailure, DeviceFailed: when they cannot.
        """
        # What cannot be booted turns out once the machine runs.
        while self.control.statistics() is None:
            if self._ended.wait(0.001):
                if self._failure is not None:
                    raise self._failure
                return

    def wait(self, timeout: float | None = None) -> bool:
        """True once the guest has ended; signal handlers run while this waits."""
        return self.patiently(self._ended, timeout)

    @staticmethod
    def patiently(ended: threading.Event, timeout: float | None) -> bool:
        """Waits for `ended`, as `wait` does."""
        if timeout is not None:
            return ended.wait(timeout)
        # A signal that comes between Python's last look and the host's wait is not seen before that
        # wait ends.
        while not ended.wait(_SIGNALS_LATER):
            pass
        return True

    @property
    def outcome(self) -> tuple[EndKind, int | None, str | None]:
        """How the guest ended. Only after `wait`.

        Raises:
            DeviceFailed: when a Python device raised.
            HostFailure: when the machine could not be run to its end.
        """
        if self._failure is not None:
            raise self._failure
        assert self._outcome is not None, "the guest still runs"
        return EndKind(self._outcome.kind), self._outcome.code, self._outcome.what

    def _run(self) -> None:
        assert self._machine is not None, "a machine runs once"
        try:
            self._outcome = self._machine.run()
        except InnkeeperError as error:
            self._failure = error
        finally:
            if self._wants_statistics:
                self.statistics = GuestStatistics.of(self._machine.statistics())
            # It holds ends of pipes whose readers wait for the last writer to go.
            self._machine = None
            self._unplug()
            self._ended.set()
            self._on_end()
