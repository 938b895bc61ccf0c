"""The commands about what a guest's disks and network cards have carried."""

from typing import Final, Protocol

from innkeeper.vm.qmp.media import PERIPHERAL
from innkeeper.vm.qmp.session import CommandError, Handler
from innkeeper.vm.running import Control, RunningMachine

# As QEMU calls them in BlockDeviceStats.
_SHORT: Final = ("rd", "wr", "flush", "unmap")
_LONG: Final = ("read", "written", "flushed", "unmapped")


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def machine(self) -> RunningMachine | None: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "query-blockstats": lambda _: _block_stats(_control(guest)),
        "x-query-traffic": lambda _: _traffic(_control(guest)),
    }


def _control(guest: Subject) -> Control:
    machine = guest.machine
    if machine is None:
        raise CommandError("the guest is not running")
    return machine.control


def _block_stats(control: Control) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for disk, kinds, highest in control.disk_traffic():
        # Nothing is merged, what makes no sense never comes to the disk, and all is counted.
        stats: dict[str, object] = {
            "wr_highest_offset": highest,
            "account_invalid": False,
            "account_failed": True,
            "timed_stats": [],
        }
        for name, (requests, moved, took, failed) in zip(_SHORT, kinds, strict=True):
            if name != "flush":
                stats[f"{name}_bytes"] = moved
            stats[f"{name}_operations"] = requests
            stats[f"{name}_total_time_ns"] = took
            stats[f"failed_{name}_operations"] = failed
            stats[f"invalid_{name}_operations"] = 0
            if name != "flush":
                stats[f"{name}_merged"] = 0
        found.append({"device": disk, "qdev": f"{PERIPHERAL}{disk}", "stats": stats})
    return found


def _traffic(control: Control) -> dict[str, object]:
    return {
        "disks": [
            {"id": disk, **{name: _requests(*one) for name, one in zip(_LONG, kinds, strict=True)}}
            for disk, kinds, _ in control.disk_traffic()
        ],
        "cards": [
            {
                "id": card,
                "sent": _frames(*sent),
                "received": _frames(*received),
                "vhost": why_not is None,
                "why_not": why_not,
            }
            for card, (sent, received), why_not in control.card_traffic()
        ],
    }


def _requests(requests: int, moved: int, took: int, failed: int) -> dict[str, object]:
    return {"requests": requests, "bytes": moved, "seconds": took / 1e9, "failed": failed}


def _frames(frames: int, moved: int) -> dict[str, int]:
    return {"frames": frames, "bytes": moved}
