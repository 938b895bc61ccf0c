"""What is changed of a machine while it runs, in its process, where its owner asks for it: disks
and network cards that come and go, and what may pass its network.

The owner is trusted, and sends what it wants as it is; it trusts this process with nothing, and
hears JSON.
"""

import contextlib
import json
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError
from innkeeper.machine.firewall import FirewallSpec
from innkeeper.machine.network import NetworkSpec
from innkeeper.machine.spec import DiskSpec, MachineSpec
from innkeeper.vm.plugs import Plugs
from innkeeper.vm.running import Control


@dataclass(frozen=True, slots=True)
class PlugDisk:
    """`paths` are those of the descriptors that come along, as many: the image first."""

    disk: DiskSpec
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class PlugCard:
    card: NetworkSpec


@dataclass(frozen=True, slots=True)
class AskOut:
    device: str


@dataclass(frozen=True, slots=True)
class ListPlugged:
    pass


@dataclass(frozen=True, slots=True)
class SetFirewall:
    firewall: FirewallSpec


Change = PlugDisk | PlugCard | AskOut | ListPlugged | SetFirewall


class Changes:
    """Those of one machine."""

    def __init__(self, control: Control, spec: MachineSpec, *, locked_in: bool) -> None:
        self._control = control
        self.spec = spec
        self.locked_in = locked_in
        self._plugs = Plugs(self)
        self._files: list[int] = []
        # Those that may have gone when somebody looks.
        self._volatile: set[str] = set()

    def control(self) -> Control:
        return self._control

    def tell_plugged(self) -> None:
        """Nobody is told, but what has gone is forgotten."""
        here = {name for name, _, _ in self._control.plugged()}
        for name in self._volatile - here:
            self._volatile.discard(name)
            self._plugs.gone(name)

    def take(self, files: Sequence[int]) -> None:
        """Descriptors of the change that comes next."""
        self._files += files

    def answer(self, change: Change, told: int) -> None:
        """Makes the change with the files that came, and tells `told`. Closes all of these."""
        files, self._files = self._files, []
        # Who asked may have gone meanwhile.
        with contextlib.suppress(BrokenPipeError), os.fdopen(told, "w") as file:
            try:
                answer: dict[str, object] = {"return": self._made(change, files)}
            except InnkeeperError as error:
                answer = {"error": error.code, "message": str(error)}
            except Exception as error:
                # Whatever it is, more can be asked after it.
                traceback.print_exc()
                said = f"the guest's process has a flaw: {error!r}"
                answer = {"error": HostFailure.code, "message": said}
            finally:
                for fd in files:
                    os.close(fd)
            json.dump(answer, file)

    def _made(self, change: Change, files: Sequence[int]) -> object:
        match change:
            case PlugDisk(disk, paths):
                # Those before them came for a change that then was not sent.
                own = files[len(files) - len(paths) :]
                named = list(zip(paths, own, strict=True))
                slot = self._plugs.add_disk(disk, len(self.spec.disks), named, known=True)
                self._volatile.add(disk.id)
                return slot
            case PlugCard(card):
                slot = self._plugs.add_card(card, known=True)
                self._volatile.add(card.id)
                return slot
            case AskOut(device):
                self._plugs.ask_out(device)
                self._volatile.add(device)
            case ListPlugged():
                return self._plugs.here()
            case SetFirewall(firewall):
                self._set_firewall(firewall)
        return None

    def _set_firewall(self, firewall: FirewallSpec) -> None:
        network = self.spec.network
        if network is None:
            raise GuestNotRunning("the guest has no network")
        self.spec = replace(self.spec, network=replace(network, firewall=firewall))
        self._control.set_firewall(firewall)
