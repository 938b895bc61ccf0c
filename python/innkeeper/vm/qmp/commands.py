"""What each command does with a running guest, which is seen here through `Subject`."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from innkeeper._core import __version__
from innkeeper.errors import InvalidInput
from innkeeper.machine import firewall
from innkeeper.machine.firewall import FirewallSpec
from innkeeper.machine.limits import Limits, Rate, written
from innkeeper.machine.network import NetworkSpec
from innkeeper.machine.spec import DiskFormat, DiskSpec, MachineSpec, Overlay, disk_id
from innkeeper.vm.detached.console import Console
from innkeeper.vm.detached.home import CONSOLE, Home
from innkeeper.vm.display.seat import Seat
from innkeeper.vm.order import Order
from innkeeper.vm.qmp import (
    display,
    media,
    memory,
    migration,
    plugging,
    processors,
    records,
    traffic,
)
from innkeeper.vm.qmp.session import CommandError, Handler
from innkeeper.vm.running import RunningMachine
from innkeeper.vm.statistics import GuestStatistics

# Characters; a terminal's size has 16 bits, and nobody has one of that size.
_WIDEST: Final = 10_000
# What is done also while a part of the guest's memory is on another host. All else may wait for its
# processors and devices, and these for their memory; or it would have the guest without it.
_AT_ALL_TIMES: Final = frozenset(
    (
        "add-fd",
        "closefd",
        "cont",
        "getfd",
        "migrate-recover",
        "query-block",
        "query-blockstats",
        "query-fdsets",
        "query-migrate",
        "query-migrate-capabilities",
        "query-migrate-parameters",
        "query-name",
        "query-status",
        "query-uuid",
        "quit",
        "remove-fd",
        "stop",
        "system_powerdown",
        "x-query-traffic",
    )
)

Arguments = Mapping[str, object]


class Subject(Protocol):
    """A guest, as its control socket needs it."""

    @property
    def home(self) -> Home: ...
    @property
    def order(self) -> Order: ...
    @property
    def spec(self) -> MachineSpec: ...
    @property
    def plugs(self) -> plugging.Plugs: ...
    @property
    def media(self) -> media.Media: ...
    @property
    def console(self) -> Console: ...
    @property
    def paused(self) -> bool: ...
    @property
    def full(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def machine(self) -> RunningMachine | None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def power_down(self) -> None: ...
    def quit(self) -> None: ...
    def reset(self) -> None: ...
    @property
    def limits(self) -> Limits: ...
    def set_limits(self, limits: Limits) -> None: ...
    def set_firewall(self, firewall: FirewallSpec) -> None: ...
    def set_memory(self, size: int) -> None: ...
    def set_vcpus(self, count: int) -> None: ...
    @property
    def recorder(self) -> records.Recorder: ...
    @property
    def departure(self) -> migration.Departure: ...
    @property
    def late_memory(self) -> migration.LateMemory: ...
    @property
    def stands_still(self) -> bool: ...
    def require_memory(self) -> None: ...
    @property
    def seat(self) -> Seat: ...


def version() -> dict[str, object]:
    """As `query-version` and the greeting tell it. The protocol has a place for QEMU's number, and
    ours is in it: we are no QEMU, and promise nothing of what one of some version can do."""
    major, minor, micro = (int(part) for part in __version__.split(".")[:3])
    return {
        "qemu": {"major": major, "minor": minor, "micro": micro},
        "package": f"innkeeper {__version__}",
    }


def handlers(guest: Subject) -> dict[str, Handler]:
    every = _every(guest)
    return {
        name: handler if name in _AT_ALL_TIMES else _with_memory(guest, handler)
        for name, handler in every.items()
    }


def _with_memory(guest: Subject, handler: Handler) -> Handler:
    def handle(arguments: Mapping[str, object]) -> object:
        guest.require_memory()
        return handler(arguments)

    return handle


def _every(guest: Subject) -> dict[str, Handler]:
    def just(action: str) -> Handler:
        return lambda _: getattr(guest, action)()

    return {
        **display.handlers(guest),
        **memory.handlers(guest),
        **plugging.handlers(guest),
        **migration.handlers(guest),
        **processors.handlers(guest),
        **records.handlers(guest),
        **traffic.handlers(guest),
        "cont": just("resume"),
        "query-block": lambda _: [
            *(_block(guest, at, disk) for at, disk in enumerate(guest.spec.disks) if not disk.gone),
            *media.blocks(guest),
        ],
        "query-chardev": lambda _: _chardevs(guest),
        "query-name": lambda _: {"name": guest.home.name},
        "query-status": lambda _: _status(guest),
        "query-uuid": lambda _: {"UUID": guest.order.id},
        "quit": just("quit"),
        "stop": just("pause"),
        "system_powerdown": just("power_down"),
        "system_reset": just("reset"),
        "x-query-firewall": lambda _: firewall.written(_network(guest).firewall),
        "x-set-firewall": lambda arguments: _set_firewall(guest, arguments),
        "x-query-limits": lambda _: written(guest.limits),
        "x-set-limits": lambda arguments: _set_limits(guest, arguments),
        "x-query-statistics": lambda _: _statistics(guest),
        "x-resize-console": lambda arguments: _resize(guest, arguments),
    }


def _status(guest: Subject) -> dict[str, object]:
    still = guest.stands_still
    why = "io-error" if guest.full else "paused"
    return {"running": not still, "status": why if still else "running"}


def _block(guest: Subject, index: int, disk: DiskSpec) -> dict[str, Any]:
    own = disk.overlay is Overlay.NONE
    inserted = {
        "file": disk.nbd or str(disk.path if own else disk.overlay_path or "a temporary file"),
        "ro": disk.read_only,
        "drv": _driver(disk) if own else DiskFormat.QCOW2.value,
    }
    if not own:
        inserted["backing_file"] = disk.nbd or str(disk.path)
    return {
        "device": disk_id(index, disk),
        "qdev": f"{media.PERIPHERAL}{disk_id(index, disk)}",
        "type": "hd",
        "removable": False,
        "locked": False,
        "io-status": "nospace" if disk_id(index, disk) in dict(guest.full) else "ok",
        "inserted": inserted,
    }


def _driver(disk: DiskSpec) -> str:
    # What a disk that is looked at first turned out to be, the core knows; a name tells it as well.
    if disk.format is not DiskFormat.PROBE:
        return disk.format.value
    return "qcow2" if disk.path.suffix == ".qcow2" else "raw"


def _chardevs(guest: Subject) -> list[dict[str, object]]:
    return [
        {
            "label": "console",
            "filename": f"unix:{guest.home.path}/{CONSOLE},server=on",
            "frontend-open": guest.console.readers > 0,
        }
    ]


def _statistics(guest: Subject) -> dict[str, object]:
    told = None if guest.machine is None else guest.machine.control.statistics()
    if told is None:
        raise CommandError("the guest is not running")
    return GuestStatistics.of(told).as_dict()


def _set_limits(guest: Subject, arguments: Arguments) -> None:
    told = {**written(guest.limits), **arguments}
    wanted = {}
    for name, value in told.items():
        assert isinstance(value, int)
        if not 0 <= value < 1 << 63:
            raise CommandError(f"a limit is 0, for none, or more: not {value}")
        wanted[name] = value
    guest.set_limits(
        Limits(
            cpu=wanted["cpu-permille"] / 1000 or None,
            disk=_rate(wanted, "disk"),
            network=_rate(wanted, "network"),
        )
    )


def _network(guest: Subject) -> NetworkSpec:
    network = guest.spec.network
    if network is None:
        raise CommandError("the guest has no network")
    return network


def _set_firewall(guest: Subject, arguments: Arguments) -> None:
    now = firewall.written(_network(guest).firewall)
    told = {**now, **arguments}
    rules = told["rules"]
    assert isinstance(rules, list)
    if not all(isinstance(rule, str) for rule in rules):
        raise CommandError("Parameter 'rules' expects a list of texts")
    try:
        wanted = firewall.parse_firewall(rules, f"in={told['in']},out={told['out']}")
    except InvalidInput as error:
        raise CommandError(str(error)) from error
    guest.set_firewall(wanted)


def _rate(wanted: Mapping[str, int], kind: str) -> Rate:
    return Rate(
        bytes=wanted[f"{kind}-bytes"] or None,
        operations=wanted[f"{kind}-operations"] or None,
    )


def _resize(guest: Subject, arguments: Arguments) -> None:
    columns, rows = arguments["columns"], arguments["rows"]
    assert isinstance(columns, int)
    assert isinstance(rows, int)
    if not (0 < columns <= _WIDEST and 0 < rows <= _WIDEST):
        raise CommandError("a console has at least one column and one row")
    if guest.machine is not None:
        guest.machine.control.resize_console(columns, rows)
