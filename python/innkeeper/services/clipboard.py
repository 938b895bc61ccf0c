"""Clipboards of guests that run, by their agents."""

from collections.abc import Callable
from typing import Final

from innkeeper.errors import GuestNotRunning
from innkeeper.guest import attached, errands
from innkeeper.guest.agent import Agent
from innkeeper.vm.detached.registry import registry

# Seconds for an agent's hello, and for its answer.
_PATIENCE: Final = 30.0


def get(name: str) -> str:
    """What was copied in the guest, or was copied for it; nothing before that.

    Raises:
        ErrandFailed: when its agent has none.
        GuestNotFound; GuestNotRunning: when no agent of its answers.
    """

    def ask(agent: Agent) -> str:
        return errands.copied(agent.run_errand(errands.clipboard(), _PATIENCE))[1] or ""

    return _with_agent(name, ask)


def put(name: str, text: str) -> None:
    """Text for whoever pastes in the guest.

    Raises:
        InvalidInput: when it is too long.
        ErrandFailed, GuestNotFound, GuestNotRunning.
    """
    errand = errands.set_clipboard(text)
    _with_agent(name, lambda agent: agent.run_errand(errand, _PATIENCE).decode())


def _with_agent(name: str, work: Callable[[Agent], str]) -> str:
    with registry().open(name) as home, attached.agent(home) as agent:
        try:
            agent.wait_ready(_PATIENCE)
            return work(agent)
        except TimeoutError as error:
            raise GuestNotRunning(attached.silent(home)) from error
