"""`AsyncGuest` over guests that we play."""

import asyncio
import threading
from typing import Any, cast

import pytest

from innkeeper.errors import GuestNotRunning
from innkeeper.sdk.aio import AsyncGuest


class Booting:
    """A guest that boots until somebody closes it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.closed = threading.Event()

    def __enter__(self) -> None:
        self.begun.set()
        self.closed.wait()
        raise GuestNotRunning("closed")

    def close(self) -> None:
        self.closed.set()


def played(guest: Booting) -> AsyncGuest:
    made = AsyncGuest.__new__(AsyncGuest)
    made._begin(cast("Any", guest))
    return made


def test_nobody_waits_for_a_boot_that_is_not_wanted_any_more() -> None:
    booting = Booting()

    async def cancelled() -> None:
        entering = asyncio.ensure_future(played(booting).__aenter__())
        await asyncio.to_thread(booting.begun.wait)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(cancelled())
    assert booting.closed.is_set()


def test_threads_that_wait_for_a_guest_do_not_keep_it_from_being_closed() -> None:
    booting = Booting()

    async def close() -> None:
        guest = played(booting)
        waits = [guest._in_thread(booting.closed.wait) for _ in range(2)]
        await guest.close()
        await asyncio.gather(*waits)

    asyncio.run(close())
