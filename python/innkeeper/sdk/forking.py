"""Running copies of a guest that somebody attends to: `Guest.fork`.

The guest is recorded as for a warm start (innkeeper.guest.warm), yet in the middle of what it does:
nothing is on its way to its agent meanwhile, and the agents of the copies forget whom they knew.
The copies map the record, so they share what none of them has written.
"""

import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, overload

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput
from innkeeper.guest.errands import Identity
from innkeeper.images import Image, ImageBoot, machine_spec
from innkeeper.machine import MachineSpec, unheard, without_paper
from innkeeper.sdk.guest import Guest
from innkeeper.vm import inside, kept_code, scratch
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.detached import savings
from innkeeper.vm.nursery import Nursery
from innkeeper.vm.saved import Beginning, LayerFiles
from innkeeper.vm.warm import DONE, TAKEN, TO_STAND, RecordFiles, WarmStart

MOST: Final = 1000
# Forks whose processes have much in common; one has as much to load alone.
_MANY: Final = 2
# Seconds until a guest's memory is written: of one with much to do, on a host with little to give.
_TO_WRITE: Final = 120.0


class ForkedGuest(Guest):
    """One of `Forks`: a guest as any other, which began as another was."""

    def __init__(self, parent: Guest, boot: ImageBoot) -> None:
        super().__init__()
        self._jail, self._boot_timeout = parent._jail, parent._boot_timeout
        self._boot = boot
        self._surroundings = parent._surroundings

    def __enter__(self) -> Self:
        raise InvalidInput(f"{self.name} runs already; it ends with the block of the fork")

    def begin(
        self, image: Image, was: MachineSpec, start: WarmStart, nursery: Nursery | None
    ) -> None:
        """
        Raises:
            GuestNotRunning, HostFailure, ErrandFailed, TimeoutError: it does not go on.
        """
        spec = machine_spec(image, self._boot)
        self._running(image, spec, start.layers)
        try:
            self._log = BootLog()
            self._connect(spec, self._log, start, others=True, nursery=nursery)
            assert self._agent is not None
            self._agent.take_over(identity(was, spec, self.name), self._boot_timeout)
        except BaseException:
            self.close()
            raise


def identity(was: MachineSpec, now: MachineSpec, hostname: str) -> Identity:
    cards = []
    if was.network is not None and now.network is not None:
        old, new = (bytes.fromhex(each.mac.replace(":", "")) for each in (was.network, now.network))
        cards.append((old, new))
    return Identity.fresh(hostname, cards=cards)


class Forks(Sequence[Guest]):
    """The copies of one call of `Guest.fork`, for a `with` block; they run already."""

    def __init__(
        self, parent: Guest, image: Image, spec: MachineSpec, names: Sequence[str]
    ) -> None:
        self._left = contextlib.ExitStack()
        self._guests = [ForkedGuest(parent, _boot(parent, name)) for name in names]
        # All that they need is open when they run; it is removed with them, for copies of theirs.
        try:
            # It gets ready while the parent is saved.
            nursery = self._left.enter_context(Nursery()) if len(names) >= _MANY else None
            start = self._left.enter_context(_saved(parent))
            for guest in self._guests:
                self._left.callback(guest.close)
            at_once = min(len(names), 2 * (os.cpu_count() or 1))
            with ThreadPoolExecutor(at_once, "fork") as threads:
                begun = [
                    threads.submit(each.begin, image, spec, start, nursery) for each in self._guests
                ]
                try:
                    for each in begun:
                        each.result()
                except BaseException:
                    threads.shutdown(wait=True, cancel_futures=True)
                    raise
        except BaseException:
            self.close()
            raise

    @overload
    def __getitem__(self, index: int) -> Guest: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Guest]: ...
    def __getitem__(self, index: int | slice) -> Guest | Sequence[Guest]:
        return self._guests[index]

    def __len__(self) -> int:
        return len(self._guests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends them all at once. Harmless when they have ended."""
        self._left.close()


def check(guest: str, count: int, names: Sequence[str], spec: MachineSpec) -> list[str]:
    """What the copies are called.

    Raises:
        InvalidInput: for what cannot be forked, or so many.
    """
    if not 1 <= count <= MOST:
        raise InvalidInput(f"a guest is forked 1 to {MOST} times at once, not {count}")
    came = [disk.id for disk in spec.disks if disk.slot is not None and not disk.gone]
    came += [card.id for card in spec.cards]
    if came:
        raise InvalidInput(f"{came[0]} came to {guest} while it ran: detach it before you fork")
    left = any(disk.gone and disk.slot is None for disk in spec.disks)
    if left or (spec.network is not None and spec.network.gone):
        raise InvalidInput(f"{guest} has lost what it began with, and its forks would have it")
    if any(not (disk.read_only or disk.gone) for disk in spec.disks[1:]):
        raise InvalidInput(
            f"{guest} writes to disks beside its image's, and each of its forks would to the same; "
            "inn fork makes copies of guests that stay, with their disks"
        )
    wanted = list(names) or [f"{guest}-{number}" for number in range(1, count + 1)]
    if len(wanted) != count or len(set(wanted)) != count:
        raise InvalidInput(f"{count} forks have as many names, each another")
    return wanted


def _boot(parent: Guest, name: str) -> ImageBoot:
    network = parent._boot.network
    # What the parent has published stays its own.
    own = network and replace(network, ports=(), mac="")
    return replace(
        parent._boot,
        name=name,
        hostname="",
        network=own,
        sound=unheard(parent._boot.sound),
        parallel=without_paper(parent._boot.parallel),
    )


@contextlib.contextmanager
def _saved(parent: Guest) -> Iterator[WarmStart]:
    """What the guest is now, for as long as the block lasts.

    Raises:
        GuestNotRunning, HostFailure.
    """
    with scratch.place() as place, contextlib.ExitStack() as stack:
        try:
            directory = os.open(place, inside.DIRECTORY)
            stack.callback(os.close, directory)
            disk = savings.disk(0, 0, "qcow2")
            names = (savings.STATE, savings.pages(0), savings.index(0), disk, kept_code.NEW)
            files = [inside.create(directory, name) for name in names]
            for fd in files:
                stack.callback(os.close, fd)
            _record(parent, files)
            state = inside.read(directory, savings.STATE, os.fstat(files[0]).st_size)
            kept_code.keep(directory, kept_code.NEW, directory)
            code = kept_code.opened(directory)
            if code is not None:
                stack.callback(os.close, code)
        except OSError as error:
            raise HostFailure(f"cannot save {parent.name}: {error.strerror}") from error
        memory = LayerFiles(pages=files[1], index=files[2])
        yield WarmStart(
            beginning=Beginning(state=state, layers=(memory,), code=code),
            layers=(*parent._layers, place / disk),
        )


def _record(parent: Guest, files: Sequence[int]) -> None:
    process, agent = parent._process, parent._agent
    if process is None or agent is None:
        raise GuestNotRunning("the guest is not running")
    told, theirs = os.pipe()
    with os.fdopen(told, "rb", buffering=0) as news:
        with agent.quiet(TO_STAND):
            try:
                process.record(RecordFiles.of([theirs, *files]))
            finally:
                os.close(theirs)
            taken = _hears(news.fileno(), TO_STAND) == TAKEN
        if not taken or _hears(news.fileno(), _TO_WRITE) != DONE:
            raise HostFailure(f"{parent.name} cannot be saved as it is, so it cannot be forked")


def _hears(told: int, patience: float) -> bytes:
    return os.read(told, 1) if select.select([told], [], [], patience)[0] else b""
