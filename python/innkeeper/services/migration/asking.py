"""How a guest's migration stands, for whoever asks from beside it."""

import contextlib
from collections.abc import Mapping
from typing import Any

from innkeeper.errors import GuestNotRunning, InvalidInput
from innkeeper.services.migration import fence, sending
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client


def status(guest: str) -> Mapping[str, Any]:
    """What `query-migrate` says, and a `sentence`. Where it is not known whether the guest runs on
    the other host, that one is asked, and what it says is done.

    Raises:
        GuestNotFound, HostFailure.
    """
    with registry().open(guest) as home:
        found = _told(home)
        fenced = fence.find(home)
        if fenced is None:
            return {**found, "sentence": _sentence(guest, found)}
        if found.get("status") in ("pre-switchover", "device", "handed-over"):
            return {**found, "sentence": f"{guest} is just being handed over to {fenced.host}"}
        if fenced.settled:
            return {"status": "completed", "sentence": f"{guest} has moved to {fenced.host}"}
        if found.get("status") in ("postcopy-active", "postcopy-recover"):
            return {**found, "sentence": _sentence_late(guest, fenced.host, found)}
        answer = sending.ask(fenced)
        if answer == "lacks" or (answer is None and found.get("status") == "postcopy-paused"):
            return {**found, "sentence": _sentence_late(guest, fenced.host, found)}
        if answer is None:
            said = (
                f"it is not known whether {guest} runs on {fenced.host}, which does not answer; "
                f"inn migrate {guest} --here lets it go on here, only if it does not run there"
            )
            return {**found, "status": "in-doubt", "sentence": said}
        runs_there = answer == "runs"
        _settle(home, runs_there=runs_there)
        if runs_there:
            return {**found, "status": "completed", "sentence": f"{guest} runs on {fenced.host}"}
        said = f"{guest} never came to run on {fenced.host}; it is here"
        return {**found, "status": "failed", "sentence": said}


def cancel(guest: str) -> None:
    """
    Raises:
        GuestNotFound, GuestNotRunning.
        CommandRefused: when it is too late.
    """
    with registry().open(guest) as home, Client(home) as client:
        client.execute("migrate_cancel")


def take_back(guest: str) -> None:
    """The guest does not run elsewhere: somebody knows, and the other host says nothing else.

    Raises:
        GuestNotFound; InvalidInput: when nothing keeps it from running here, or it is elsewhere.
        MigrationFailed: when it is just being handed over.
    """
    with registry().open(guest) as home:
        fenced = fence.find(home)
        if fenced is None:
            raise InvalidInput(f"nothing keeps the guest {guest!r} from running here")
        if str(_told(home)["status"]).startswith("postcopy"):
            raise InvalidInput(
                f"the guest {guest!r} has run on {fenced.host}, and is here as it was before: "
                f"inn migrate {guest} --recover goes on with it there. If that host is lost, "
                f"inn kill {guest} first: it can then be started from its disks"
            )
        if sending.ask(fenced) in ("runs", "lacks"):
            raise InvalidInput(
                f"the guest {guest!r} is on {fenced.host}, as that says itself: "
                f"inn migrate {guest} --status"
            )
        _settle(home, runs_there=False)


def _settle(home: Home, *, runs_there: bool) -> None:
    with contextlib.suppress(GuestNotRunning), Client(home) as client:
        sending.settle(client, {}, runs_there=runs_there)
    found = fence.find(home)
    if not runs_there:
        fence.remove(home)
    elif found is not None:
        fence.put(home, fence.settled(found))
    journal.tell(home, "migration", status="completed" if runs_there else "failed")


def _told(home: Home) -> dict[str, Any]:
    with contextlib.suppress(GuestNotRunning), Client(home) as client:
        found = client.execute("query-migrate")
        if isinstance(found, dict) and found:
            return found
    return {"status": "none"}


def _sentence_late(guest: str, host: str, found: Mapping[str, Any]) -> str:
    """Of a guest that runs elsewhere, and lacks memory there."""
    if "ram" not in found or found["status"] == "none":
        return f"{guest} lacks memory on {host}, and what was here is lost: it stands still there"
    left = f"{found['ram']['remaining'] >> 20} MiB of its memory are here"
    if found["status"] in ("postcopy-active", "postcopy-recover"):
        return f"{guest} runs on {host}; {left}"
    return f"{guest} stands still on {host}; {left}: inn migrate {guest} --recover goes on"


def _sentence(guest: str, found: Mapping[str, Any]) -> str:
    ram = found.get("ram", {})
    match found["status"]:
        case "none":
            return f"{guest} was not migrated"
        case "active":
            left, total = ram["remaining"] >> 20, ram["total"] >> 20
            slowed = found.get("cpu-throttle-percentage")
            slow = f"; it is slowed down by {slowed}%" if slowed else ""
            rounds = ram["dirty-sync-count"]
            return f"{guest} is moving: {left} of {total} MiB are left, round {rounds + 1}{slow}"
        case "failed" | "cancelled":
            return f"{guest} was not moved: {found.get('error-desc')}"
    return f"{guest}: {found['status']}"
