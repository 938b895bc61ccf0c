"""Running copies of a guest: they share its memory and its disks until they write."""

import itertools
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import InvalidInput, NameInUse
from innkeeper.images import Store
from innkeeper.images.store import Image
from innkeeper.machine import NetworkSpec, VsockSpec, mac_of, unheard, without_paper
from innkeeper.services import beginnings, recording
from innkeeper.services import definition as definitions
from innkeeper.services.beginnings import Current
from innkeeper.services.definition import Definition
from innkeeper.services.lifecycle import start
from innkeeper.services.snapshots import changing, fresh, revived
from innkeeper.vm import inside
from innkeeper.vm import order as orders
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import check_name, registry
from innkeeper.vm.order import Order

MOST: Final = 1000
# Forks for which their parent's engine makes code also of what was not worth it for itself.
_MANY: Final = 3


def fork(guest: str, names: Sequence[str]) -> None:
    """Makes a running copy of the guest for each of these names.

    Raises:
        InvalidInput, NameInUse, GuestNotFound, GuestNotRunning, CommandRefused, HostFailure.
    """
    _check(names)
    guests = registry()
    with guests.open(guest) as home, changing(home) as place, fresh(place) as (_, source):
        record = uuid.uuid4().hex
        many = len(names) >= _MANY
        recording.record(home, source, name=record, keep=False, code=True, complete=many)
        parent = definitions.read(home)
        order = orders.read(home)
        image = None
        if parent.request.image is not None:
            image = Store().kept_image(home.name, parent.request.image)
        # One start waits for its guest's process most of the time.
        with ThreadPoolExecutor(min(len(names), _at_once()), "fork") as threads:
            begun = [
                threads.submit(_begin, home, source, parent, order, image, name, record)
                for name in names
            ]
            try:
                for each in begun:
                    each.result()
            except BaseException:
                # Those that have begun are there; no more are.
                threads.shutdown(wait=True, cancel_futures=True)
                raise


def _at_once() -> int:
    return 4 * (os.cpu_count() or 1)


def names_for(guest: str, count: int) -> list[str]:
    """The first of GUEST-1, GUEST-2… that are nobody's: GUEST-1 to GUEST-count, the first time.

    Raises:
        InvalidInput, HostFailure.
    """
    if not 1 <= count <= MOST:
        raise InvalidInput(f"a guest is forked 1 to {MOST} times at once, not {count}")
    taken = set(registry().names())
    names = (f"{guest}-{number}" for number in itertools.count(1))
    return list(itertools.islice((name for name in names if name not in taken), count))


def _check(names: Sequence[str]) -> None:
    taken = set(registry().names())
    seen: set[str] = set()
    for name in names:
        check_name(name)
        if name in taken:
            raise NameInUse(f"there is a guest {name!r} already; inn rm {name} removes it")
        if name in seen:
            raise InvalidInput(f"the name {name!r} is given twice")
        seen.add(name)


def _begin(
    parent: Home,
    source: int,
    was: Definition,
    order: Order,
    image: Image | None,
    name: str,
    record: str,
) -> None:
    request = was.request
    network = request.network and replace(request.network, ports=(), mac="")
    vsock = None if request.vsock is None else VsockSpec()
    made = replace(
        was,
        id=str(uuid.uuid4()),
        created=time.time(),
        request=replace(
            request,
            name=name,
            network=network,
            cards=_cards(request.cards, name),
            vsock=vsock,
            sound=unheard(request.sound),
            parallel=without_paper(request.parallel),
        ),
        autostart=False,
    )
    told = identity(order, name)
    store = Store()

    def fill(home: Home) -> None:
        if image is not None:
            store.hold_image(Path(home.path), image)
        if request.seed is not None:
            inside.link(parent.directory, files.SEED, home.directory)
        beginnings.prepare(home, source, record=record, identity=told)
        beginnings.set_current(home, Current(id=record, place=files.SAVED))
        made.write(home)

    # No image is swept meanwhile.
    with store.locked():
        registry().create(name, fill)
    with registry().open(name) as home:
        journal.tell(home, "fork", parent=parent.name)
    start(name, lambda fresh: revived(order, fresh))


def _cards(cards: Sequence[NetworkSpec], name: str) -> tuple[NetworkSpec, ...]:
    """Those of the fork `name`, with addresses of their own."""
    return tuple(replace(card, mac=mac_of(f"{name} {card.id}")) for card in cards)


def identity(order: Order, name: str) -> dict[str, Any]:
    network = order.spec.network
    cards = []
    if network is not None and network.mac and not network.gone:
        cards.append((network.mac.replace(":", ""), mac_of(name).replace(":", "")))
    for old, new in zip(order.spec.cards, _cards(order.spec.cards, name), strict=True):
        cards.append((old.mac.replace(":", ""), new.mac.replace(":", "")))
    return {"hostname": name, "cards": cards}
