"""Clipboards of guests that run, by their agents."""

from collections.abc import Callable
from typing import Final, TypeVar

from innkeeper.errors import GuestNotRunning
from innkeeper.guest import attached, errands
from innkeeper.guest.agent import Agent
from innkeeper.vm.detached.registry import registry

# Seconds for the hello of an agent whose guest may still boot, and for its answer.
_HELLO: Final = 120.0
_PATIENCE: Final = 30.0
Done = TypeVar("Done")


def get(name: str) -> str:
    """What was copied in the guest, or was copied for it; nothing before that.

    Raises:
        ErrandFailed: when its agent has none, or answers nonsense.
        GuestNotFound; GuestNotRunning: when no agent of its answers.
    """

    def ask(agent: Agent) -> str:
        return errands.copied(agent.run_errand(errands.clipboard(), _PATIENCE))[1] or ""

    return _with_agent(name, ask)


def put(name: str, text: str) -> None:
    """Text for whoever pastes in the guest.

    Raises:
        InvalidInput: when it is too long.
        ErrandFailed, GuestNotFound; GuestNotRunning: also when it is paused.
    """
    errand = errands.set_clipboard(text)
    _with_agent(name, lambda agent: agent.run_errand(errand, _PATIENCE))


def _with_agent(name: str, work: Callable[[Agent], Done]) -> Done:
    with registry().open(name) as home, attached.agent(home) as agent:
        attached.require_going(home)
        try:
            agent.wait_ready(_HELLO)
            return work(agent)
        except TimeoutError as error:
            raise GuestNotRunning(attached.silent(home)) from error
