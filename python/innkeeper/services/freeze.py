"""File systems of guests that run, standing still for whoever copies their disks."""

from collections.abc import Callable

from innkeeper.errors import GuestNotRunning
from innkeeper.guest import attached, errands
from innkeeper.guest.agent import Agent
from innkeeper.guest.errands import ThawedTooSoon
from innkeeper.vm.detached.registry import registry

DEFAULT_LIMIT = 60.0
"""Seconds after which a guest thaws by itself."""
# Seconds for an agent's hello, and for what takes no time.
_PATIENCE = 30.0


def freeze(name: str, limit: float = DEFAULT_LIMIT) -> int:
    """Lets all file systems on the guest's disks stand still, whole; how many there are. After
    `limit` seconds the guest thaws them by itself.

    Raises:
        InvalidInput: when nothing can stand still for that long.
        ErrandFailed: when they cannot be frozen, or are already.
        GuestNotFound; GuestNotRunning: when no agent of its answers, or it is paused.
    """
    asked = errands.freeze(limit)
    return _with_agent(
        name, lambda agent: errands.count(agent.run_errand(asked, limit + _PATIENCE))
    )


def thaw(name: str) -> int:
    """Lets them go on; how many there are.

    Raises:
        ThawedTooSoon: when none was frozen any more.
        ErrandFailed, GuestNotFound, GuestNotRunning.
    """
    found = _with_agent(
        name, lambda agent: errands.count(agent.run_errand(errands.thaw(), _PATIENCE))
    )
    if found == 0:
        raise ThawedTooSoon
    return found


def _with_agent(name: str, work: Callable[[Agent], int]) -> int:
    with registry().open(name) as home, attached.agent(home) as agent:
        attached.require_going(home)
        try:
            agent.wait_ready(_PATIENCE)
            return work(agent)
        except TimeoutError as error:
            raise GuestNotRunning(attached.silent(home)) from error
