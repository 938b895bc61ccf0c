"""Which guests there are and how they stand, as documents. Loads next to nothing, and asks nobody:
a guest that does not answer is listed as fast as any other.
"""

import os

from innkeeper.errors import GuestNotFound
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import share, standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry

Document = dict[str, object]


def listed(*, everything: bool) -> list[Document]:
    """A document for each guest that runs, or for each that there is."""
    found = []
    guests = registry()
    for name in guests.names():
        try:
            with guests.open(name) as home:
                stands = standing.look(home)
                if not stands.is_live and not home.is_taken():
                    # Its group outlives it where both of its processes were killed.
                    share.forget(home)
                if everything or stands.is_live:
                    found.append(_summary(home, stands))
        except GuestNotFound:
            continue  # It has been removed meanwhile.
    return found


def inspect(name: str) -> Document:
    """All that is known about a guest.

    Raises:
        InvalidInput, GuestNotFound.
    """
    with registry().open(name) as home:
        stands = standing.look(home)
        definition = home.read(files.DEFINITION) or {}
        ending = home.read(files.ENDING) or {}
        run = (home.read(files.RUN) or {}) if stands.is_live else {}
        path = home.path
        return {
            **_summary(home, stands),
            "id": definition.get("id"),
            "digest": definition.get("digest"),
            "created": definition.get("created"),
            "restart": definition.get("restart"),
            "autostart": definition.get("autostart"),
            "supervisor": stands.supervisor,
            "agent": run.get("agent"),
            "jail": run.get("jail"),
            "jail_missing": run.get("jail_missing"),
            "last_words": ending.get("last_words", []) if not stands.is_live else [],
            "directory": path,
            "log": f"{path}/{files.LOG}",
            "control_socket": f"{path}/{files.CONTROL}",
            "console_socket": f"{path}/{files.CONSOLE}",
            "agent_socket": f"{path}/{files.AGENT}",
            "vnc_fingerprint": _fingerprint(home),
            "request": _present(definition.get("request")),
        }


def _fingerprint(home: Home) -> str | None:
    if not os.path.exists(f"{home.path}/{files.VNC_CERTIFICATE}"):  # noqa: PTH110 - as little
        return None
    from innkeeper.services.certificates import fingerprint

    return fingerprint(home)


def _present(request: object) -> object:
    """Without disks that were taken out, which only keep a place."""
    if not isinstance(request, dict) or not isinstance(disks := request.get("disks"), list):
        return request
    here = [disk for disk in disks if not (isinstance(disk, dict) and disk.get("gone"))]
    return {**request, "disks": here}


def _summary(home: Home, stands: standing.Standing) -> Document:
    definition = home.read(files.DEFINITION) or {}
    request = definition.get("request")
    asked: Document = request if isinstance(request, dict) else {}
    return {
        "name": home.name,
        "state": stands.state,
        "pid": stands.pid,
        "image": asked.get("image"),
        "kernel": asked.get("kernel"),
        "engine": stands.engine or asked.get("engine"),
        "cpus": asked.get("vcpus"),
        "memory": asked.get("memory"),
        "ready": stands.ready,
        "since": stands.since,
        "status": stands.status,
        "sentence": stands.sentence,
        "restarts": stands.restarts,
    }
