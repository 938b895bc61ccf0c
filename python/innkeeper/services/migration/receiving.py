"""The target of a migration: makes the guest, and lets its process receive it.

A guest that does not come whole is gone again. One whose source was told that it runs here, runs.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError, InvalidInput
from innkeeper.images import Store
from innkeeper.images.networks import Networks
from innkeeper.machine.seed import SeedSpec
from innkeeper.machine.size import format_size
from innkeeper.machine.spec import EngineChoice
from innkeeper.services import beginnings
from innkeeper.services.beginnings import Begun
from innkeeper.services.control import kill_processes
from innkeeper.services.definition import Definition
from innkeeper.services.lifecycle import start
from innkeeper.services.migration import offer as offers
from innkeeper.services.migration import strangers
from innkeeper.services.migration.line import Line
from innkeeper.services.migration.offer import Offer
from innkeeper.services.request import check
from innkeeper.services.snapshots import revived
from innkeeper.vm import inside, scratch
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import check_name, registry
from innkeeper.vm.moving import post_copy_missing
from innkeeper.vm.order import Order
from innkeeper.vm.qmp.client import Client

BROUGHT: Final = "brought"
_PLACE: Final = "coming"
_RESUMED: Final = "resumed"
_ROLES: Final = {"kernel", "seed"} | {f"initrd{number}" for number in range(64)}
_MOST_BROUGHT: Final = 4 << 30
_CHUNK: Final = 1 << 20
# Seconds in which the guest's process gets to where it can receive.
_STARTING: Final = 60.0
_ANSWERING: Final = 45.0


def serve(line: Line, shared: tuple[Path, ...] | None) -> str | None:
    """Does what the host at the other end wants; the name of a guest that came. Disks of other
    hosts may lie in the directories `shared`, or anywhere.

    Raises:
        InnkeeperError: when the guest did not come.
    """
    word = line.hear()
    if "ask" in word:
        line.say({"state": state_of(str(word["ask"]))})
        return None
    if "resume" in word:
        _resume(line, str(word["resume"]))
        return None
    try:
        offer = offers.read(word)
        _check(offer, shared)
    except InnkeeperError as error:
        line.say({"refused": str(error)})
        raise
    return _Coming(line, offer).run()


def state_of(migration: str) -> str:
    """Of a guest that came, or was to: whether it `runs` here, `lacks` a part of its memory,
    `never` will run, or that is `unknown` yet.
    """
    until = time.monotonic() + _ANSWERING
    while True:
        try:
            # Who is renamed meanwhile is found the second time.
            name = _guest_of(migration) or _guest_of(migration)
        except (OSError, ValueError):
            # Who cannot be looked at may be the one.
            return "unknown"
        if name is None:
            return "never"
        with contextlib.suppress(InnkeeperError), registry().open(name) as home:
            if files.came_whole(home):
                return "lacks" if _lacks(home) else "runs"
            if not home.is_taken() and (home.read(files.ENDING) or {}).get("failed_to_start"):
                _discard(home)
                continue
        if time.monotonic() > until:
            return "unknown"
        time.sleep(0.1)


def _lacks(home: Home) -> bool:
    """Whether a part of its memory is on the host that it came from."""
    try:
        with Client(home) as client:
            found = client.execute("query-migrate")
    except GuestNotRunning:
        return False
    assert isinstance(found, dict)
    return found.get("status") in ("postcopy-active", "postcopy-paused")


def _resume(line: Line, migration: str) -> None:
    """The rest of a guest's memory comes by another connection.

    Raises:
        InnkeeperError: when it does not.
    """
    try:
        name = _guest_of(migration)
        if name is None:
            raise HostFailure("no such guest came here")
        with registry().open(name) as home:
            if not _lacks(home):
                raise HostFailure(f"the guest {name!r} lacks nothing of its memory here")
            ours, theirs = socket.socketpair()
            with ours, theirs, Client(home) as client:
                client.give(_RESUMED, theirs.fileno())
                line.say({"agreed": True})
                client.execute("migrate-recover", uri=f"fd:{_RESUMED}")
                theirs.close()
                line.relay(ours)
    except (OSError, ValueError, InnkeeperError) as error:
        with contextlib.suppress(InnkeeperError):
            line.say({"refused": str(error)})
        raise


def _guest_of(migration: str) -> str | None:
    """
    Raises:
        OSError, ValueError: when not all could be asked.
    """
    for name in registry().names():
        with contextlib.suppress(FileNotFoundError):
            arrived = Path(registry().directory, name, files.ARRIVED).read_bytes()
            if json.loads(arrived)["migration"] == migration:
                return name
    return None


def _check(offer: Offer, shared: tuple[Path, ...] | None) -> None:
    """
    Raises:
        InvalidInput: in words for the source.
    """
    missing = post_copy_missing() if offer.post_copy else None
    if missing is not None:
        raise InvalidInput(
            f"post-copy needs userfaultfd, which the user of this host may not have ({missing}): "
            "root may, and whoever may open /dev/userfaultfd"
        )
    check_name(offer.name)
    check(offer.definition.request)
    if offer.name in registry().names():
        raise InvalidInput(f"there is a guest {offer.name!r} already")
    if offers.model_of(offer.order.spec) != offer.processor:
        raise InvalidInput(
            f"the guest's processor, {offer.order.spec.cpu_model}, is another one on this host: "
            "only guests of a model that both hosts have can be migrated"
        )
    roles = [file.role for file in offer.brought]
    for file in offer.brought:
        if file.role not in _ROLES or roles.count(file.role) > 1 or file.size < 0:
            raise InvalidInput("it brings files that no guest needs")
    if sum(file.size for file in offer.brought) > _MOST_BROUGHT:
        raise InvalidInput(f"it brings more than {format_size(_MOST_BROUGHT)} of files")
    strangers.check(offer, shared)
    request = offer.definition.request
    if request.image is not None:
        digest = str(offer.definition.digest)
        if not Store().has(digest):
            raise InvalidInput(
                f"this host does not have the image {request.image} that the guest was made of: "
                f"copy its directory images/{digest} to {Store().directory} first"
            )


class _Coming:
    """One guest."""

    def __init__(self, line: Line, offer: Offer) -> None:
        self._line = line
        self._offer = offer
        self._failure: InnkeeperError | None = None

    def run(self) -> str:
        """
        Raises:
            InnkeeperError: the guest did not come, and nothing of it is here.
        """
        offer = self._offer
        store = Store()
        self._line.say({"agreed": True})
        # Nobody's guests wait for another host.
        with scratch.place(store.directory / _PLACE) as place:
            try:
                self._take_files(place)
                # No image is swept meanwhile.
                with store.locked():
                    registry().create(offer.name, lambda home: self._fill(home, place))
            except InnkeeperError as error:
                self._line.say({"refused": str(error)})
                raise
        with registry().open(offer.name) as home:
            try:
                self._receive(home)
            except BaseException:
                _discard(home)
                raise
            journal.tell(home, "arrived")
        return offer.name

    def _receive(self, home: Home) -> None:
        path = home.socket_path(f"{files.SAVED}/{savings.ARRIVAL_SOCKET}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen(1)
            starting = threading.Thread(target=self._start, daemon=True)
            starting.start()
            channel = self._called(listener, starting)
        with channel:
            self._line.say({"agreed": True})
            # Whoever has gone, its process knows by itself whether it was told to go on.
            with contextlib.suppress(HostFailure):
                self._line.relay(channel, lambda: self._is_over(starting))
        # It has been told everything, or its source has gone.
        starting.join()
        if self._failure is not None:
            raise self._failure
        # What it says last is on its way.
        with contextlib.suppress(InnkeeperError):
            home.remove(f"{files.SAVED}/{savings.ARRIVAL_SOCKET}")

    def _is_over(self, starting: threading.Thread) -> bool:
        """Whether nothing more is to be handed on. Memory may come when the guest has begun."""
        comes = self._offer.post_copy and self._failure is None
        return not starting.is_alive() and not comes

    def _called(self, listener: socket.socket, starting: threading.Thread) -> socket.socket:
        listener.settimeout(0.05)
        until = time.monotonic() + _STARTING
        while time.monotonic() < until and starting.is_alive():
            with contextlib.suppress(TimeoutError):
                return listener.accept()[0]
        failure = self._failure or HostFailure("the guest's process does not begin to receive")
        self._line.say({"refused": str(failure)})
        raise failure

    def _start(self) -> None:
        engine = EngineChoice(self._offer.engine)
        order = self._offer.order
        try:
            start(self._offer.name, lambda fresh: _as_there(order, fresh, engine))
        except InnkeeperError as error:
            self._failure = error

    def _fill(self, home: Home, place: Path) -> None:
        offer = self._offer
        brought = self._move_files(home, place)
        made = _located(offer.definition, brought)
        if made.request.image is not None:
            Store().hold(Path(home.path), str(made.digest))
        disks = [(savings.disk(disk.number, 0, "raw"), disk.size) for disk in offer.copied]
        os.mkdir(files.SAVED, 0o700, dir_fd=home.directory)
        saved = inside.open_directory(home.directory, files.SAVED)
        try:
            for name, size in disks:
                descriptor = inside.create(saved, name)
                try:
                    os.ftruncate(descriptor, size)
                finally:
                    os.close(descriptor)
            begun = Begun(
                id=uuid.uuid4().hex,
                record="",
                disks=tuple(
                    (disk.number, (name,))
                    for disk, (name, _) in zip(offer.copied, disks, strict=True)
                ),
            )
            beginnings.write(saved, begun)
            growth = made.request.growth.memory or 0
            memory = max(made.request.memory, offer.order.spec.memory, growth)
            document = {"memory": memory, "disks": disks, "post_copy": offer.post_copy}
            inside.write(saved, savings.ARRIVAL, json.dumps(document).encode())
        finally:
            os.close(saved)
        # Until it is whole, which its process says.
        home.write(files.ARRIVED, {"version": 1, "migration": offer.migration}, lasting=True)
        _keep_address(offer)
        made.write(home)

    def _take_files(self, place: Path) -> None:
        """
        Raises:
            HostFailure: when they do not come, or there is no room.
        """
        for file in self._offer.brought:
            try:
                with (place / file.role).open("xb") as target:
                    left = file.size
                    while left > 0:
                        data = self._line.receive(min(left, _CHUNK))
                        target.write(data)
                        left -= len(data)
            except OSError as error:
                raise HostFailure(f"cannot keep what comes along: {error.strerror}") from error

    def _move_files(self, home: Home, place: Path) -> dict[str, Path]:
        taken = {}
        if self._offer.brought:
            os.mkdir(BROUGHT, 0o700, dir_fd=home.directory)
        for file in self._offer.brought:
            name = files.SEED if file.role == "seed" else f"{BROUGHT}/{file.role}"
            os.rename(place / file.role, name, dst_dir_fd=home.directory)
            taken[file.role] = Path(name)
        return taken


def _located(definition: Definition, brought: dict[str, Path]) -> Definition:
    """With files that came along where they are: in the guest's directory."""
    request = definition.request
    roles = [f"initrd{number}" for number in range(len(request.initrds))]
    if not brought.keys() >= {*roles, *(("kernel",) if request.kernel is not None else ())}:
        raise InvalidInput("the guest comes without its kernel")
    initrds = tuple(brought[role] for role in roles)
    # The seed's disk came along; nothing of it is read here.
    seed = None if request.seed is None else SeedSpec(hostname=request.seed.hostname)
    located = replace(request, kernel=brought.get("kernel"), initrds=initrds, seed=seed)
    return replace(definition, request=located, here=None)


def _as_there(there: Order, fresh: Order, engine: EngineChoice) -> Order:
    made = revived(there, fresh, engine)
    spec = replace(made.spec, kernel=fresh.spec.kernel, initrds=fresh.spec.initrds)
    return replace(made, spec=spec)


def _keep_address(offer: Offer) -> None:
    """A guest on a bridge has the address that it had.

    Raises:
        InvalidInput: when somebody else has it here.
    """
    network = offer.order.spec.network
    # As crates/netio/src/user/leases.rs has them.
    if network is None or not network.shared or not 16 <= offer.address <= 250:
        return
    leases = Networks().directory(network.shared) / "leases"
    with leases.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kept = []
        for line in file.read().splitlines():
            words = line.split(" ")
            if words[0] == network.member:
                continue
            if len(words) > 1 and words[1] == str(offer.address):
                raise InvalidInput(
                    f"the guest's address in the network {network.shared} is {words[0]}'s here"
                )
            kept.append(line)
        kept.append(f"{network.member} {offer.address} {network.mac.replace(':', '')}")
        file.seek(0)
        file.write("\n".join(kept) + "\n")
        file.truncate()


def _discard(home: Home) -> None:
    """Nobody is to find a guest here that did not come."""
    with contextlib.suppress(InnkeeperError, OSError):
        if home.is_taken():
            kill_processes(home)
        path = home.path
        registry().remove(home)
        shutil.rmtree(path, ignore_errors=True)


def check_shared(places: list[Path]) -> tuple[Path, ...]:
    """
    Raises:
        InvalidInput: when one is no directory.
    """
    for place in places:
        if not place.is_dir():
            raise InvalidInput(f"{place} is no directory that could be shared")
    return tuple(Path(os.path.realpath(place)) for place in places)
