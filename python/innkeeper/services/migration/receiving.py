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

from innkeeper.errors import HostFailure, InnkeeperError, InvalidInput
from innkeeper.images import Store
from innkeeper.images.networks import Networks
from innkeeper.machine.network import NetworkSpec
from innkeeper.machine.spec import EngineChoice
from innkeeper.services import beginnings
from innkeeper.services.beginnings import Begun
from innkeeper.services.control import kill_processes
from innkeeper.services.definition import Definition
from innkeeper.services.lifecycle import start
from innkeeper.services.migration import offer as offers
from innkeeper.services.migration.line import Line
from innkeeper.services.migration.offer import Offer
from innkeeper.services.request import check
from innkeeper.services.snapshots import revived
from innkeeper.vm import inside
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import check_name, registry
from innkeeper.vm.order import Order

BROUGHT: Final = "brought"
_ROLES: Final = {"kernel", "seed"} | {f"initrd{number}" for number in range(64)}
_LARGEST_FILE: Final = 4 << 30
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
    try:
        offer = offers.read(word)
        _check(offer, shared)
    except InnkeeperError as error:
        line.say({"refused": str(error)})
        raise
    return _Coming(line, offer, shared).run()


def state_of(migration: str) -> str:
    """Of a guest that came, or was to: whether it `runs` here, `never` will, or that is `unknown`
    yet.
    """
    until = time.monotonic() + _ANSWERING
    while True:
        name = _guest_of(migration)
        if name is None:
            return "never"
        with contextlib.suppress(InnkeeperError), registry().open(name) as home:
            if home.read(files.RUN) is not None:
                return "runs"
            if not home.is_taken() and (home.read(files.ENDING) or {}).get("failed_to_start"):
                _discard(home)
                continue
        if time.monotonic() > until:
            return "unknown"
        time.sleep(0.1)


def _guest_of(migration: str) -> str | None:
    for name in registry().names():
        with contextlib.suppress(InnkeeperError), registry().open(name) as home:
            if (home.read(files.ARRIVED) or {}).get("migration") == migration:
                return name
    return None


def _check(offer: Offer, shared: tuple[Path, ...] | None) -> None:
    """
    Raises:
        InvalidInput: in words for the source.
    """
    check_name(offer.name)
    check(offer.definition.request)
    if offer.name in registry().names():
        raise InvalidInput(f"there is a guest {offer.name!r} already")
    if offers.model_of(offer.order.spec) != offer.processor:
        raise InvalidInput(
            f"the guest's processor, {offer.order.spec.cpu_model}, is another one on this host: "
            "only guests of a model that both hosts have can be migrated"
        )
    for file in offer.brought:
        if file.role not in _ROLES or not 0 <= file.size <= _LARGEST_FILE:
            raise InvalidInput("it brings files that no guest needs")
    copied = {disk.number for disk in offer.copied}
    for number, disk in enumerate(offer.order.spec.disks):
        seed = offer.definition.request.seed is not None and (
            number == len(offer.order.spec.disks) - 1
        )
        if number in copied or disk.nbd is not None or seed:
            continue
        _check_shared(disk.path, shared)
    request = offer.definition.request
    if request.image is not None:
        digest = str(offer.definition.digest)
        if not Store().has(digest):
            raise InvalidInput(
                f"this host does not have the image {request.image} that the guest was made of: "
                f"copy its directory images/{digest} to {Store().directory} first"
            )
    _check_paths(offer)
    _check_network(offer.order.spec.network)


def _check_paths(offer: Offer) -> None:
    """Whoever brings a guest names no files of this host but disks that it shares.

    Raises:
        InvalidInput.
    """
    request, spec = offer.definition.request, offer.order.spec
    screens = [screen for screen in (request.screen, spec.screen) if screen is not None]
    sockets = [vsock for vsock in (request.vsock, spec.vsock) if vsock is not None]
    cards = [request.network, spec.network, *request.cards, *spec.cards]
    for named, what in (
        (any(it.rom or it.tftp for it in cards if it), "files to boot from the network by"),
        (request.sound or spec.sound, "its sound in a file"),
        (_has_plugged(offer), "devices that were plugged into it"),
        (request.firmware or spec.firmware, "firmware"),
        (request.folders or spec.folders, "folders of a host"),
        (any(it.rom for it in screens), "a ROM of its screen"),
        (any(it.vnc and it.vnc.password for it in screens), "a file with its screen's password"),
        (any(it.path for it in sockets), "a name for its vsock socket"),
        (request.symbols or spec.symbols, "a file of symbols"),
    ):
        if named:
            raise InvalidInput(f"a guest that has {what} cannot be migrated")


def _has_plugged(offer: Offer) -> bool:
    request, spec = offer.definition.request, offer.order.spec
    return offers.has_plugged(request) or offers.has_plugged(spec)


def _check_shared(path: Path, shared: tuple[Path, ...] | None) -> None:
    resolved = Path(os.path.realpath(path))
    if shared is not None and not any(resolved.is_relative_to(place) for place in shared):
        raise InvalidInput(
            f"this host does not share the disk {path}: inn host serve --shared names the "
            "directories that it does"
        )
    if not resolved.exists():
        raise InvalidInput(f"the disk {path}, which is to be shared, is not on this host")


def _check_network(network: NetworkSpec | None) -> None:
    if network is None or not network.shared:
        return
    here = Networks().find(network.shared)
    if here.bridge is None or network.bridge is None:
        raise InvalidInput(
            f"guests in the network {network.shared}, which is on no bridge of both hosts, cannot "
            "be migrated"
        )


class _Coming:
    """One guest."""

    def __init__(self, line: Line, offer: Offer, shared: tuple[Path, ...] | None) -> None:
        self._line = line
        self._shared = shared
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
        try:
            # No image is swept meanwhile.
            with store.locked():
                registry().create(offer.name, self._fill)
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
            self._line.relay(channel, lambda: not starting.is_alive())
        # It has been told everything, or its source has gone.
        starting.join()
        if self._failure is not None:
            raise self._failure
        # What it says last is on its way.
        with contextlib.suppress(InnkeeperError):
            home.remove(f"{files.SAVED}/{savings.ARRIVAL_SOCKET}")

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
            shared = self._shared
            start(self._offer.name, lambda fresh: _as_there(order, fresh, engine, shared))
        except InnkeeperError as error:
            self._failure = error

    def _fill(self, home: Home) -> None:
        offer = self._offer
        brought = self._take_files(home)
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
            document = {"memory": memory, "disks": disks}
            inside.write(saved, savings.ARRIVAL, json.dumps(document).encode())
        finally:
            os.close(saved)
        home.write(files.ARRIVED, {"version": 1, "migration": offer.migration}, lasting=True)
        _keep_address(offer)
        made.write(home)

    def _take_files(self, home: Home) -> dict[str, Path]:
        taken = {}
        if self._offer.brought:
            os.mkdir(BROUGHT, 0o700, dir_fd=home.directory)
        for file in self._offer.brought:
            name = files.SEED if file.role == "seed" else f"{BROUGHT}/{file.role}"
            descriptor = inside.create(home.directory, name)
            with open(descriptor, "wb") as target:
                left = file.size
                while left > 0:
                    data = self._line.receive(min(left, _CHUNK))
                    target.write(data)
                    left -= len(data)
            taken[file.role] = Path(name)
        return taken


def _located(definition: Definition, brought: dict[str, Path]) -> Definition:
    """With files that came along where they are: in the guest's directory."""
    request = definition.request
    roles = [f"initrd{number}" for number in range(len(request.initrds))]
    if not brought.keys() >= {*roles, *(("kernel",) if request.kernel is not None else ())}:
        raise InvalidInput("the guest comes without its kernel")
    initrds = tuple(brought[role] for role in roles)
    located = replace(request, kernel=brought.get("kernel"), initrds=initrds)
    return replace(definition, request=located, here=None)


def _as_there(
    there: Order, fresh: Order, engine: EngineChoice, shared: tuple[Path, ...] | None
) -> Order:
    made = revived(there, fresh, engine)
    for disk in made.spec.disks:
        if disk.nbd is None and not disk.path.is_relative_to(Store().directory):
            # What the guest is here is made of its definition, whatever else was said.
            _check_shared(disk.path, shared)
    spec = replace(made.spec, kernel=fresh.spec.kernel, initrds=fresh.spec.initrds)
    return replace(made, spec=spec)


def _keep_address(offer: Offer) -> None:
    """A guest on a bridge has the address that it had.

    Raises:
        InvalidInput: when somebody else has it here.
    """
    network = offer.order.spec.network
    if network is None or not network.shared or not 0 < offer.address < 255:
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
