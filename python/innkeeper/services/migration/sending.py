"""The source of a migration: asks the other host, lets the guest's process send, and says in the
end where the guest is.
"""

import contextlib
import os
import shlex
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError, InvalidInput
from innkeeper.machine.size import format_size
from innkeeper.services import definition as definitions
from innkeeper.services.migration import fence, identity, offer
from innkeeper.services.migration.fence import Fence
from innkeeper.services.migration.line import PATIENCE, Line
from innkeeper.services.migration.offer import VERSION, Brought, Offer
from innkeeper.vm import order as orders
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client, CommandRefused

_NAME: Final = "migration"
_OVER: Final = ("completed", "failed", "cancelled", "in-doubt", "postcopy-paused")
# Seconds: between two looks, and for which a host that took the guest is asked about it.
_LOOK: Final = 0.01
_ASKING: Final = 10.0
# Seconds for which the guest stands still at most, for a host that does not answer.
_STANDING: Final = 20
_CHUNK: Final = 1 << 20

# Told what `query-migrate` says.
Progress = Callable[[Mapping[str, Any]], None]


class MigrationFailed(InnkeeperError):
    """The guest was not moved; the text says why, and where it is."""

    code = "migration_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """`downtime` in seconds. Disks that are `shared` lie where the other host finds them too. With
    `post_copy` a guest that writes faster than it can be sent begins there before all has come.
    """

    shared: bool = False
    downtime: float = 0.3
    slows: bool = True
    post_copy: bool = False
    compress: bool = True


def migrate(
    guest: str, target: str, wishes: Wishes, progress: Progress = lambda _: None
) -> Mapping[str, Any]:
    """Moves a running guest to the host `target`; what `query-migrate` says in the end.

    Raises:
        GuestNotFound, GuestNotRunning, InvalidInput, HostFailure.
        MigrationFailed: also when it is not known where the guest is.
    """
    with registry().open(guest) as home:
        if not home.is_taken():
            raise GuestNotRunning(f"the guest {guest!r} is not running; only one that does moves")
        moving = _Moving(home, target, wishes)
        with Client(home) as client, connect(target) as line:
            return moving.run(client, line, progress)


def recover(guest: str, progress: Progress = lambda _: None) -> Mapping[str, Any]:
    """Goes on with a guest that runs on another host while a part of its memory is here; what
    `query-migrate` says in the end.

    Raises:
        GuestNotFound, GuestNotRunning, HostFailure.
        InvalidInput: when there is nothing to go on with.
        MigrationFailed: when the other host does not answer, or does not want it.
    """
    with registry().open(guest) as home, Client(home) as client:
        found = client.execute("query-migrate")
        fenced = fence.find(home)
        assert isinstance(found, dict)
        if fenced is None or found.get("status") not in ("postcopy-paused", "in-doubt"):
            raise InvalidInput(f"no other host waits for memory of the guest {guest!r}")
        return _Moving(home, fenced.host, Wishes(), fenced).go_on(client, found, progress)


def connect(target: str) -> Line:
    """To a host: `ssh://[USER@]HOST[:PORT][/PATH/OF/inn]`, the name of one that is trusted, or its
    address.

    Raises:
        InvalidInput: when it cannot be meant.
        HostFailure: when nobody answers there, or not who is trusted.
    """
    if target.startswith("ssh://"):
        return Line.spoken_to(_ssh(target))
    hosts = identity.trusted()
    known = next((host for host in hosts if host.name == target), None)
    if known is not None and not known.address:
        raise InvalidInput(
            f"where the host {target} answers is not known: inn host trust --address"
        )
    host, port = identity.parse_address(known.address if known is not None else target)
    try:
        connection = socket.create_connection((host, port), timeout=PATIENCE / 6)
        line = Line.secured(connection, identity.context(server=False), server=False)
    except OSError as error:
        said = error.strerror or str(error)
        raise HostFailure(
            f"cannot reach the host {target} at {host}, port {port}: {said}"
        ) from error
    found = identity.peer(line.certificate)
    if found is None or (known is not None and found.name != known.name):
        line.close()
        raise HostFailure(f"who answers at {host}, port {port}, is not {target}")
    return line


def _ssh(target: str) -> list[str]:
    place, _, path = target.removeprefix("ssh://").partition("/")
    host, colon, port = place.partition(":")
    if not host or host.startswith("-") or (colon and not port.isdecimal()):
        raise InvalidInput(f"{target!r} is no host: ssh://USER@HOST is")
    program = os.environ.get("INNKEEPER_SSH", "ssh")
    alive = ("-o", "ServerAliveInterval=3", "-o", "ServerAliveCountMax=3")
    there = f"{shlex.quote('/' + path) if path else 'inn'} migrate --receive"
    return [program, "-T", *alive, *(("-p", port) if port else ()), "--", host, there]


class _Moving:
    def __init__(
        self, home: Home, target: str, wishes: Wishes, fenced: Fence | None = None
    ) -> None:
        self._home = home
        self._target = target
        self._wishes = wishes
        self._fence = fenced or Fence(migration=str(uuid.uuid4()), host=target)

    def run(self, client: Client, line: Line, progress: Progress) -> Mapping[str, Any]:
        self._fence = replace(self._fence, fingerprint=_fingerprint(line))
        made, brought = self._offer(client)
        line.say(offer.written(made))
        _agreed(line)
        for path in brought.values():
            _send_file(line, path)
        _agreed(line)
        found = self._send(client, line, progress, lambda: self._begin(client, made))
        return self._conclude(client, found, progress)

    def go_on(
        self, client: Client, found: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Of a guest whose migration was left in the middle, as `found` says."""
        return self._conclude(client, found, progress)

    def _send(
        self, client: Client, line: Line, progress: Progress, begin: Callable[[], object]
    ) -> Mapping[str, Any]:
        """Hands on what the guest's process sends once it `begins`, until it says that this was
        all.
        """
        ours, theirs = socket.socketpair()
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            # From inside of its jail the guest's process can set neither.
            theirs.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _STANDING, 0))
        with ours:
            with theirs:
                client.give(_NAME, theirs.fileno())
            begin()
            over = threading.Event()
            relay = threading.Thread(target=_relay, args=(line, ours, over), daemon=True)
            relay.start()
            try:
                return self._watch(client, progress)
            except HostFailure as error:
                if not self._call_off(client):
                    raise
                raise MigrationFailed(
                    f"the guest {self._home.name!r} was not moved and goes on here: {error}"
                ) from error
            except KeyboardInterrupt:
                self._call_off(client)
                raise
            finally:
                over.set()
                relay.join(PATIENCE)

    def _offer(self, client: Client) -> tuple[Offer, dict[str, Path]]:
        definition = definitions.read(self._home)
        order = orders.read(self._home)
        offer.check_movable(definition.request, order.spec)
        own = Path(self._home.path) / files.OWN
        seeded = definition.request.seed is not None
        seed = len(order.spec.disks) - 1 if seeded else None
        copied = offer.disks_of(order.spec, own, shared=self._wishes.shared, seed=seed)
        brought = offer.files_of(definition, Path(self._home.path) / files.SEED if seeded else None)
        run = self._home.read(files.RUN) or {}
        made = Offer(
            protocol=offer.POST_COPY if self._wishes.post_copy else offer.PROTOCOL,
            version=VERSION,
            migration=self._fence.migration,
            name=self._home.name,
            definition=definition,
            order=order,
            engine=str(run.get("engine")),
            processor=offer.model_of(order.spec),
            copied=copied,
            brought=tuple(
                Brought(role=role, size=path.stat().st_size) for role, path in brought.items()
            ),
            address=_address(order),
            post_copy=self._wishes.post_copy,
        )
        return made, brought

    def _begin(self, client: Client, made: Offer) -> None:
        wishes = self._wishes
        capabilities = {
            "pause-before-switchover": True,
            "auto-converge": wishes.slows,
            "postcopy-ram": wishes.post_copy,
            "compress": wishes.compress,
        }
        told = [{"capability": name, "state": on} for name, on in capabilities.items()]
        client.execute("migrate-set-capabilities", capabilities=told)
        limit = {"downtime-limit": round(wishes.downtime * 1000)}
        client.execute("migrate-set-parameters", **limit)
        client.execute("x-migrate-disks", copied=[disk.number for disk in made.copied])
        client.execute("migrate", uri=f"fd:{_NAME}")
        journal.tell(self._home, "migrate", host=self._target)

    def _watch(self, client: Client, progress: Progress) -> Mapping[str, Any]:
        while True:
            try:
                found = client.execute("query-migrate")
            except GuestNotRunning:
                return {"status": "gone", "error-desc": "its process here has ended"}
            assert isinstance(found, dict)
            progress(found)
            if found["status"] in _OVER:
                return found
            if found["status"] == "pre-switchover":
                # Before the other host can be told to go on: from then on it may run there.
                fence.put(self._home, self._fence)
                with contextlib.suppress(CommandRefused):
                    client.execute("migrate-continue", state="pre-switchover")
            time.sleep(_LOOK)

    def _call_off(self, client: Client) -> bool:
        """Whether the guest was not handed over, and will not be: so nothing keeps it from being
        started here.
        """
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(InnkeeperError):
            client.execute("migrate_cancel")
            while time.monotonic() < until:
                found = client.execute("query-migrate")
                assert isinstance(found, dict)
                if found["status"] in ("cancelled", "failed"):
                    fence.remove(self._home)
                    return True
                if found["status"] in _OVER:
                    break
                time.sleep(_LOOK)
        return False

    def _conclude(
        self, client: Client, found: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        if found["status"] in ("in-doubt", "postcopy-paused") or (
            found["status"] == "gone" and fence.find(self._home) is not None
        ):
            found = self._ask(client, found, progress)
        reason = found.get("error-desc", "")
        match found["status"]:
            case "completed":
                fence.put(self._home, fence.settled(self._fence))
                _wait_for_end(self._home)
                return found
            case "cancelled":
                fence.remove(self._home)
                raise MigrationFailed(
                    f"the migration of {self._home.name!r} was cancelled; the guest goes on here"
                )
            case "failed":
                fence.remove(self._home)
                raise MigrationFailed(
                    f"the guest {self._home.name!r} was not moved and goes on here: {reason}"
                )
            case "gone":
                raise MigrationFailed(f"the guest {self._home.name!r} was not moved: {reason}")
            case "postcopy-paused":
                left = format_size(found.get("ram", {}).get("remaining", 0))
                raise MigrationFailed(
                    f"the guest {self._home.name!r} stands still on {self._target}, and {left} of "
                    f"its memory are here: the connection was cut ({reason}). inn migrate "
                    f"{self._home.name} --recover goes on"
                )
        raise MigrationFailed(
            f"the connection to {self._target} was cut when it had been told to go on with the "
            f"guest {self._home.name!r}, and it does not answer. The guest stands still here. "
            f"inn migrate {self._home.name} --status asks again; inn migrate {self._home.name} "
            "--here lets it go on here, only if it does not run there"
        )

    def _ask(
        self, client: Client, found: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        until = time.monotonic() + _ASKING
        while time.monotonic() < until:
            match ask(self._fence):
                case "lacks" if found["status"] != "gone":
                    with contextlib.suppress(HostFailure, InvalidInput):
                        found = self._send_rest(client, progress)
                    if found["status"] == "completed":
                        return found
                case "runs" | "never" as answer:
                    return settle(client, found, runs_there=answer == "runs")
            time.sleep(1)
        return found

    def _send_rest(self, client: Client, progress: Progress) -> Mapping[str, Any]:
        """By another connection.

        Raises:
            HostFailure, InvalidInput: when there is none.
        """
        with connect(self._fence.host) as line:
            if _fingerprint(line) != self._fence.fingerprint:
                raise HostFailure(f"who answers is not {self._fence.host}")
            line.say({"resume": self._fence.migration})
            _agreed(line)
            uri = f"fd:{_NAME}"
            return self._send(
                client, line, progress, lambda: client.execute("migrate", uri=uri, resume=True)
            )


def _fingerprint(line: Line) -> str:
    """Of who is at the other end; ssh knows that by itself."""
    return "" if line.certificate is None else identity.fingerprint(line.certificate)


def ask(fenced: Fence) -> str | None:
    """Whether the guest `runs` on the other host, `lacks` memory there, or `never` will run; None
    when that cannot be found out, or another host answers in its place.
    """
    try:
        with connect(fenced.host) as line:
            if _fingerprint(line) != fenced.fingerprint:
                return None
            line.say({"ask": fenced.migration})
            state = line.hear().get("state")
    except InnkeeperError:
        return None
    return state if state in ("runs", "lacks", "never") else None


def settle(
    client: Client | None, found: Mapping[str, Any], *, runs_there: bool
) -> Mapping[str, Any]:
    """What becomes of a guest that was in doubt, and still has its process here or has not.

    Raises:
        MigrationFailed: when it is to be here, and has run there or is being handed over.
    """
    if client is not None:
        try:
            client.execute("x-migrate-settle", here=not runs_there)
        except CommandRefused as error:
            if not runs_there and _is_away(client):
                raise MigrationFailed(
                    "what is here of the guest is as it was before it ran on the other host, or it "
                    "is just being handed over; inn kill ends it here"
                ) from error
        except InnkeeperError:
            # It has ended.
            pass
    status = "completed" if runs_there else "failed"
    return {**found, "status": status}


def _is_away(client: Client) -> bool:
    """Whether the guest's process holds it for another host, and is not in doubt."""
    found = client.execute("query-migrate")
    status = str(found.get("status")) if isinstance(found, dict) else ""
    away = ("pre-switchover", "device", "handed-over", "completed")
    return status in away or status.startswith("postcopy")


def _agreed(line: Line) -> None:
    """
    Raises:
        HostFailure: when the other host does not want it.
    """
    answer = line.hear()
    if "refused" in answer:
        raise HostFailure(
            f"the other host does not take the guest: {str(answer['refused'])[:1000]}"
        )


def _send_file(line: Line, path: Path) -> None:
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            data = file.read(min(left, _CHUNK))
            if not data:
                raise HostFailure(f"{path} has become shorter")
            line.send(data)
            left -= len(data)


def _relay(line: Line, guest: socket.socket, over: threading.Event) -> None:
    with contextlib.suppress(InnkeeperError, OSError):
        line.relay(guest, over.is_set)
    # The guest's process hears that there is nobody any more.
    with contextlib.suppress(OSError):
        guest.shutdown(socket.SHUT_RDWR)


def _address(order: orders.Order) -> int:
    network = order.spec.network
    if network is None or network.directory is None:
        return 0
    with contextlib.suppress(OSError):
        for lease in (network.directory / "leases").read_text(errors="replace").splitlines():
            name, _, rest = lease.partition(" ")
            if name == network.member:
                return int(rest.split(" ")[0])
    return 0


def _wait_for_end(home: Home) -> None:
    until = time.monotonic() + PATIENCE
    while home.is_taken() and time.monotonic() < until:
        time.sleep(_LOOK)
