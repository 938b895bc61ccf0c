"""How a guest stands, told from its directory alone: nobody is asked, nobody can keep us waiting.

The lock says whether it runs, its documents say the rest; where they disagree, as after a crash or
a `kill -9`, the lock is right.
"""

from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import processes
from innkeeper.vm.detached.home import Home

CREATED = "created"
STARTING = "starting"
RUNNING = "running"
PAUSED = "paused"
RESTARTING = "restarting"
EXITED = "exited"

_PHASES = (STARTING, RUNNING, PAUSED)
_WIDEST = 1000
_KILLED = "its processes are gone: they were killed, or the host went down"


class Standing:
    """`pid` is the process that runs the guest's processors, `supervisor` the one that watches it;
    None where there is none. `status` is of a guest that has ended, and so is `sentence`, or of one
    that paused itself; `since` is when it came to stand so, as a Unix time, and None where nobody
    knows.
    """

    def __init__(self, state: str) -> None:
        self.state = state
        self.pid: int | None = None
        self.supervisor: int | None = None
        self.since: float | None = None
        self.engine: str | None = None
        self.ready = False
        self.status: int | None = None
        self.sentence: str | None = None
        self.restarts = 0

    @property
    def is_live(self) -> bool:
        """Whether it has a process or is about to get one."""
        return self.state not in (CREATED, EXITED)


def look(home: Home) -> Standing:
    # In this order: a guest that ends meanwhile is seen as it was before.
    taken = home.is_taken()
    supervisor = home.read(files.SUPERVISOR)
    if taken:
        return _live(home.read(files.RUN) or {}, supervisor)
    return _over(home.read(files.ENDING), ran=supervisor is not None)


def supervisor_of(home: Home) -> "tuple[int, int] | None":
    """The supervisor, if it still lives: its number and start time."""
    return _identity(home.read(files.SUPERVISOR))


def process_of(home: Home) -> "tuple[int, int] | None":
    """The guest's process in the same way. Its parent's word counts, not its own."""
    return _identity(_guest(home.read(files.SUPERVISOR)))


def _guest(supervisor: "dict[str, object] | None") -> "dict[str, object] | None":
    guest = supervisor.get("guest") if supervisor else None
    return guest if isinstance(guest, dict) else None


def _identity(document: "dict[str, object] | None") -> "tuple[int, int] | None":
    pid, started = _number(document, "pid"), _number(document, "start_time")
    if pid is None or started is None or not processes.lives(pid, started):
        return None
    return pid, started


def _live(run: "dict[str, object]", supervisor: "dict[str, object] | None") -> Standing:
    watcher, guest = _identity(supervisor), _identity(_guest(supervisor))
    phase = run.get("phase")
    state = phase if isinstance(phase, str) and phase in _PHASES else STARTING
    if guest is None:
        # Killed just now, where its supervisor has not said more; or between two runs.
        state = RESTARTING if supervisor is not None else STARTING
    found = Standing(state)
    if guest is not None:
        found.pid = guest[0]
        found.since = _seconds(run, "since")
        found.engine = _text(run, "engine")
        found.ready = run.get("ready") is True
        found.sentence = _text(run, "sentence")
    if watcher is not None:
        found.supervisor = watcher[0]
        found.restarts = _number(supervisor, "restarts") or 0
    return found


def _over(ending: "dict[str, object] | None", *, ran: bool) -> Standing:
    if ending is None and not ran:
        return Standing(CREATED)
    found = Standing(EXITED)
    if ending is None:
        found.sentence = _KILLED
        return found
    found.since = _seconds(ending, "time")
    found.status = _number(ending, "status")
    found.sentence = _text(ending, "sentence")
    return found


def _number(document: "dict[str, object] | None", key: str) -> int | None:
    value = document.get(key) if document else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(document: "dict[str, object]", key: str) -> float | None:
    value = document.get(key)
    return float(value) if isinstance(value, int | float) else None


def _text(document: "dict[str, object]", key: str) -> str | None:
    """For people, who may see it on a terminal: whoever wrote it may have been taken over."""
    value = document.get(key)
    if not isinstance(value, str):
        return None
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value[:_WIDEST])
