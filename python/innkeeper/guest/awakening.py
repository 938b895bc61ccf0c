"""What a guest's agent is told when its guest goes on after a time in which it did not exist.

A guest that was paused needs the time. One that was restored also has another process around it
than the one its agent knew, and one that is not the only one of its kind needs to become itself.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from innkeeper.guest import errands
from innkeeper.guest.errands import Errand, ErrandFailed, Identity
from innkeeper.guest.hub import AgentHub, Listening

# Takes what could not be done, each in a sentence.
Done = Callable[[tuple[str, ...]], None]
# An errand of the moment: the time is what it is then.
Made = Callable[[], Errand]


def set_time(hub: AgentHub, done: Done = lambda _failures: None) -> None:
    """Gives the guest the host's time, where its agent answers. `done` is called in the loop."""
    _all(hub, [_time_of_now], done)


def renew(hub: AgentHub, identity: Identity, done: Done) -> None:
    """Makes the guest another than those that were one with it: name, machine ID, random numbers,
    the addresses of its cards.

    Raises:
        InvalidInput: when it is nothing that a guest can be.
    """
    errand = errands.renew(identity)
    _all(hub, [lambda: errand], done)


def awaken(
    hub: AgentHub,
    done: Done,
    *,
    identity: Identity | None = None,
    keep: Mapping[int, Listening] | None = None,
) -> None:
    """After a restore, once the machine runs: the agent turns to this process, and is told the time
    and its `identity`. Of the commands that ran, it ends all but those of the hub's own that are to
    `keep`, by their numbers (`ResidentCommand.number` and `rejoin`). File systems that were frozen
    are so no longer.

    `done` is called in the loop when all that is over, and never by a guest that does not answer.

    Raises:
        InvalidInput: when `identity` is nothing that a guest can be.
    """
    wanted: list[Made] = [_time_of_now]
    if identity is not None:
        errand = errands.renew(identity)
        wanted.append(lambda: errand)
    hub.sync(keep or {}, lambda: _all(hub, wanted, done))


def _time_of_now() -> Errand:
    return errands.set_time(time.time_ns())


def _all(hub: AgentHub, wanted: Sequence[Made], done: Done) -> None:
    """One after the other, whatever becomes of each."""
    failures: list[str] = []

    def begin(index: int) -> None:
        if index == len(wanted):
            done(tuple(failures))
            return

        def answered(answer: bytes | ErrandFailed) -> None:
            if isinstance(answer, ErrandFailed):
                failures.append(str(answer))
            begin(index + 1)

        hub.errand(wanted[index](), answered)

    begin(0)
