"""`AsyncGuest`: guests for programs that run on asyncio.

A guest's channel is read by a thread of its own, which hands everything to the loop. What may wait
for the guest (booting it, writing to it) happens in threads: nothing here holds up the loop.
"""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

from innkeeper.errors import InvalidInput
from innkeeper.guest import arguments
from innkeeper.guest.agent import Agent, Job
from innkeeper.guest.commands import CommandFailed, CommandResult, command_of
from innkeeper.guest.frames import Exec
from innkeeper.guest.process import LineSplitter, checked_signal, checked_size
from innkeeper.machine import DiskFormat
from innkeeper.sdk.attached import AttachedGuest
from innkeeper.sdk.devices import Firewall
from innkeeper.sdk.guest import Guest
from innkeeper.services.plugging import GRACE, Plugged
from innkeeper.vm.statistics import GuestStatistics

Result = TypeVar("Result")


class AsyncOutput:
    """One stream of a command: an asynchronous iterator over its pieces as they come.

    What is not read stays in the guest, as with `Output`.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self.take: Callable[[int], None] = lambda _count: None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def lines(self) -> AsyncIterator[str]:
        """Its lines without their ends, as they come. What is no UTF-8 is replaced."""
        splitter = LineSplitter()
        async for piece in self:
            for line in splitter.push(piece):
                yield line
        for line in splitter.push(b""):
            yield line

    async def read(self) -> bytes:
        """The next piece; nothing once the stream has ended."""
        while not self._pieces and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        piece = self._pieces.popleft() if self._pieces else b""
        self.take(len(piece))
        return piece

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._changed.set()

    def finish(self) -> None:
        self._ended = True
        self._changed.set()


class AsyncProcess:
    """A command in a guest, started by `AsyncGuest.start`; as `Process` otherwise.

    async with await guest.start(["cat"]) as cat:
        await cat.write("hello\\n")
        await cat.end_input()
        print([line async for line in cat.stdout.lines()])
    """

    def __init__(self, agent: Agent, command: Exec, threads: ThreadPoolExecutor) -> None:
        self.argv = tuple(command.argv)
        self.stdout = AsyncOutput()
        self.stderr = AsyncOutput()
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._threads = threads
        # What waits for the command is in nobody's way: it has a thread, once there is something.
        self._writer = ThreadPoolExecutor(1, "stdin")
        self._job = self._start(agent, command)

    def _start(self, agent: Agent, command: Exec) -> Job:
        def later(act: Callable[..., None]) -> Callable[..., None]:
            def post(*data: bytes) -> None:
                # The loop may have been closed: nobody listens any more.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(act, *data)

            return post

        stdout, stderr = later(self.stdout.feed), later(self.stderr.feed)
        job = agent.start(command, stdout, stderr, prompt=False)
        self.stdout.take = self.stderr.take = partial(self._tell, job.take)
        job.when_ended(later(self._end))
        return job

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._job.has_ended:
            self.kill()
        self._writer.shutdown(wait=False)

    @property
    def returncode(self) -> int | None:
        """As `Process.returncode`."""
        return self._job.wait().returncode if self._job.has_ended else None

    async def write(self, data: bytes | str) -> None:
        """To its standard input; waits while the command does not take it."""
        content = data.encode() if isinstance(data, str) else data
        await self._write(self._job.send, content)

    async def end_input(self) -> None:
        """Its standard input has ended."""
        await self._write(self._job.end_input)

    def send_signal(self, number: int) -> None:
        """
        Raises:
            InvalidInput: when there is no such signal.
        """
        self._tell(self._job.signal, checked_signal(number))

    def resize(self, columns: int, rows: int) -> None:
        """As `Process.resize`."""
        self._tell(self._job.resize, *checked_size((columns, rows)))

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its status once it has ended. What it wrote can still be read.

        Raises:
            CommandNotStarted, GuestNotRunning: as `Process.wait`.
        """
        await self._over.wait()
        return self._job.wait().returncode

    async def _write(self, tell: Callable[..., None], *what: object) -> None:
        await self._loop.run_in_executor(self._writer, tell, *what)

    def _tell(self, tell: Callable[..., None], *what: object) -> None:
        # The guest may have been closed meanwhile, and hears nothing any more.
        with contextlib.suppress(RuntimeError):
            self._threads.submit(tell, *what)

    def _end(self) -> None:
        self.stdout.finish()
        self.stderr.finish()
        self._over.set()


class AsyncGuest:
    """A guest for an `async with` block; its arguments are those of `Guest`.

    async with AsyncGuest("debian", memory="512M") as guest:
        print((await guest.run(["uname", "-a"])).stdout)

    Many of them boot, and run commands, at the same time. Raises what `Guest` raises.
    """

    def __init__(self, image: str = "debian", **options: Any) -> None:  # noqa: ANN401 - as Guest
        self._begin(Guest(image, **options))

    @classmethod
    def attach(cls, name: str, *, boot_timeout: float | None = 300.0) -> Self:
        """A guest that runs already, and goes on when the block is left: as `Guest.attach`."""
        found = cls.__new__(cls)
        found._begin(AttachedGuest(name, boot_timeout=boot_timeout))
        return found

    def _begin(self, guest: Guest | AttachedGuest) -> None:
        self._guest = guest
        # Two, so that one that waits for the guest to boot does not keep it from being closed.
        self._threads = ThreadPoolExecutor(2, "guest")

    async def __aenter__(self) -> Self:
        entering = self._in_thread(self._guest.__enter__)
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            # One that boots gives up at once; one that is begun meanwhile, nobody else would end.
            await self.close()
            with contextlib.suppress(Exception):
                await entering
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """What it is called."""
        return self._guest.name

    @property
    def console_log(self) -> str:
        """As `Guest.console_log`; of one that was attached to, inn logs has it."""
        return self._guest.console_log if isinstance(self._guest, Guest) else ""

    async def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str = "root",
        terminal: tuple[int, int] | None = None,
    ) -> AsyncProcess:
        """As `Commands.start`."""
        command = command_of(argv, env, cwd, user, terminal)
        return AsyncProcess(self._guest.agent, command, self._threads)

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | str = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str = "root",
        check: bool = False,
    ) -> CommandResult:
        """As `Commands.run`. When its task is cancelled, as by `asyncio.timeout`, the command is
        killed.
        """
        data = arguments.stdin(stdin)
        async with await self.start(argv, env=env, cwd=cwd, user=user) as process:
            feeding = asyncio.ensure_future(_feed(process, data))
            try:
                stdout, stderr, returncode = await asyncio.gather(
                    _all(process.stdout), _all(process.stderr), process.wait()
                )
            finally:
                # It does not want the rest.
                feeding.cancel()
        result = CommandResult(
            argv=process.argv, returncode=returncode, stdout_bytes=stdout, stderr_bytes=stderr
        )
        if check and returncode != 0:
            raise CommandFailed(result)
        return result

    async def stats(self) -> GuestStatistics:
        """As `Guest.stats`."""
        return await self._in_thread(self._guest.stats)

    async def set_time(self) -> float:
        """As `Guest.set_time`."""
        return await self._in_thread(self._guest.set_time)

    async def attach_disk(
        self,
        path: str | PathLike[str],
        *,
        device: str | None = None,
        read_only: bool = False,
        temporary: bool = False,
        image_format: DiskFormat | str = DiskFormat.PROBE,
        trust_backing: bool = False,
    ) -> Plugged:
        """As `Guest.attach_disk`."""
        attach = partial(
            self._guest.attach_disk,
            path,
            device=device,
            read_only=read_only,
            temporary=temporary,
            image_format=image_format,
            trust_backing=trust_backing,
        )
        return await self._in_thread(attach)

    async def detach_disk(self, device: str, *, timeout: float = GRACE) -> None:  # noqa: ASYNC109
        """As `Guest.detach_disk`."""
        await self._in_thread(partial(self._guest.detach_disk, device, timeout=timeout))

    async def disks(self) -> list[Plugged]:
        """As `Guest.disks`."""
        return await self._in_thread(self._guest.disks)

    async def attach_network(
        self, network: str = "user", *, device: str | None = None, mac: str | None = None
    ) -> Plugged:
        """As `Guest.attach_network`."""
        attach = partial(self._guest.attach_network, network, device=device, mac=mac)
        return await self._in_thread(attach)

    async def detach_network(
        self,
        device: str,
        *,
        timeout: float = GRACE,  # noqa: ASYNC109 - the guest's, not the task's
    ) -> None:
        """As `Guest.detach_network`."""
        await self._in_thread(partial(self._guest.detach_network, device, timeout=timeout))

    async def network_cards(self) -> list[Plugged]:
        """As `Guest.network_cards`."""
        return await self._in_thread(self._guest.network_cards)

    async def firewall(self) -> Firewall:
        """As `Guest.firewall`."""
        return await self._in_thread(self._guest.firewall)

    async def add_rule(self, rule: str, *, at: int | None = None) -> None:
        """As `Guest.add_rule`."""
        await self._in_thread(partial(self._guest.add_rule, rule, at=at))

    async def remove_rule(self, which: int | str) -> None:
        """As `Guest.remove_rule`."""
        await self._in_thread(partial(self._guest.remove_rule, which))

    async def clear_rules(self) -> None:
        """As `Guest.clear_rules`."""
        await self._in_thread(self._guest.clear_rules)

    async def set_firewall(self, *, into: str | None = None, out: str | None = None) -> None:
        """As `Guest.set_firewall`."""
        await self._in_thread(partial(self._guest.set_firewall, into=into, out=out))

    @contextlib.asynccontextmanager
    async def frozen(self, limit: float = 60.0) -> AsyncIterator[int]:
        """As `Guest.frozen`."""
        frozen = self._guest.frozen(limit)
        count = await self._in_thread(frozen.__enter__)
        try:
            yield count
        except BaseException as error:
            kind, trace = type(error), error.__traceback__
            # Not given up when the task is: the guest would stand still.
            leave = partial(frozen.__exit__, kind, error, trace)
            await asyncio.shield(self._in_thread(leave))
            raise
        await self._in_thread(partial(frozen.__exit__, None, None, None))

    @contextlib.asynccontextmanager
    async def fork(
        self, count: int = 1, *, names: Sequence[str] = ()
    ) -> AsyncIterator[tuple["AsyncGuest", ...]]:
        """As `Guest.fork`.

        async with guest.fork(3) as forks:
            print(await asyncio.gather(*(fork.run(["hostname"]) for fork in forks)))
        """
        guest = self._guest
        if not isinstance(guest, Guest):
            raise InvalidInput("a guest that stays is forked by innkeeper.forks.fork, or inn fork")
        forking = asyncio.ensure_future(self._in_thread(partial(guest.fork, count, names=names)))
        try:
            forks = await asyncio.shield(forking)
        except asyncio.CancelledError:
            # Nobody else would end them.
            with contextlib.suppress(Exception):
                (await forking).close()
            raise
        copies = []
        for fork in forks:
            copy = AsyncGuest.__new__(AsyncGuest)
            copy._begin(fork)
            copies.append(copy)
        try:
            yield tuple(copies)
        finally:
            await asyncio.shield(asyncio.to_thread(forks.close))
            for copy in copies:
                copy._threads.shutdown(wait=False)

    async def close(self) -> None:
        """As `Guest.close`."""
        # Not by its own threads, which may all be waiting for it.
        await asyncio.to_thread(self._guest.close)
        # These end once they have nothing to do; another block has others.
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(2, "guest")

    def _in_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _feed(process: AsyncProcess, data: bytes) -> None:
    await process.write(data)
    await process.end_input()


async def _all(output: AsyncOutput) -> bytes:
    return b"".join([piece async for piece in output])
