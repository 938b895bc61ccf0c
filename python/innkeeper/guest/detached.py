"""The processes of a guest that outlives who started it, from their first line on.

Without a template, what is loaded here is all that the supervisor has; the machine is loaded in the
guest's process. With one, all of it is loaded before, once, and forked.
"""

import json
import os
import sys

from innkeeper.vm.detached.home import OWN, Home
from innkeeper.vm.detached.supervisor import supervise


def main() -> None:
    """`HOME LOCK READY` are descriptors; LOCK is kept, READY hears how the start went. The
    directory of TEMPLATES, if it is given, is where this is to stay for guests to come.
    """
    words = sys.argv[1:]
    descriptors = [int(word) for word in words[:3]]
    for fd in descriptors:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the one argument it has
    if os.fork() > 0:
        # Whoever started us waits for this one only, and has no other child of ours to wait for.
        os._exit(0)
    if len(words) > 3:
        _serve(words[3], descriptors)
    else:
        _supervise(*descriptors)


def _serve(templates: str, descriptors: list[int]) -> None:
    """The first guest, and then those who come after."""
    from innkeeper.guest import desk
    from innkeeper.vm.detached.template import Request, Template

    desk.rehearse(Home(descriptors[0]))
    os.chdir("/")
    _name("inn template")
    try:
        template = Template(templates, _supervise)
    except OSError:
        # No sockets there, or no room: it does without.
        _supervise(*descriptors)
        return
    template.fork(Request([*descriptors, os.dup(2)], dict(os.environ)))
    # The complaints of that guest are not ours.
    os.dup2(0, 2)
    template.serve()


def _supervise(home: int, lock: int, ready: int) -> None:
    with Home(home, lock) as directory:
        # A rename does not disturb it.
        os.fchdir(home)
        _name(f"inn {directory.name}")
        try:
            supervise(directory, ready, _become_guest)
        except OSError as error:
            _tell(ready, {"error": "host_failure", "message": f"cannot run the guest: {error}"})
            raise


def _become_guest(home: Home, ready: int | None, outward: int | None) -> int:
    # It writes to nothing that was opened for the supervisor.
    from innkeeper.guest.desk import run

    # The place of its own: names of files in a run are relative to it, and short.
    os.chdir(OWN)
    return run(home, outward, lambda answer: _tell(ready, answer))


def _tell(ready: int | None, answer: dict[str, object]) -> None:
    if ready is None:
        return
    try:
        os.write(ready, json.dumps(answer).encode() + b"\n")
        os.close(ready)
    except OSError:
        pass  # Whoever waited has gone, or has its answer.


def _name(name: str) -> None:
    """What ps(1) and top(1) show."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    except OSError:
        pass
