"""Starts the processes of a detached guest, and hears how that went."""

import json
import os
import subprocess
import sys

from innkeeper import errors
from innkeeper.errors import DeviceFailed, HostFailure
from innkeeper.vm.detached.home import Home

# What the processes have to say that nobody expected: tracebacks of ours and of Python devices.
ERRORS = "errors.log"


def launch(home: Home, lock: int, module: str) -> None:
    """Runs `main` of `module` with the descriptors of the guest's directory and lock.

    It has its own session, so that no terminal's end is its own. Nothing that Python loads by
    itself is loaded: our path is handed on as it is.

    Raises:
        InnkeeperError: what the guest's process says.
        HostFailure: when it cannot be started or says nothing.
    """
    path = [place for place in sys.path if place]
    code = f"import sys; sys.path[:] = {path!r}; from {module} import main; main()"
    ready, theirs = os.pipe()
    with open(ready, "rb") as answer:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        complaints = os.open(ERRORS, flags, 0o600, dir_fd=home.directory)
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-S", "-c", code),
                    *(str(fd) for fd in (home.directory, lock, theirs)),
                ],
                pass_fds=(home.directory, lock, theirs),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            raise HostFailure(f"cannot start the guest's processes: {error}") from error
        finally:
            os.close(complaints)
            os.close(theirs)
        # It has forked, and this one is only who was asked to.
        process.wait()
        _hear(answer.readline(), home)


def _hear(answer: bytes, home: Home) -> None:
    try:
        told = json.loads(answer)
    except ValueError as error:
        said = f"the guest's processes ended before it ran; see {home.path}/{ERRORS}"
        raise HostFailure(said) from error
    if "error" not in told:
        return
    failure = errors.by_code(told["error"])(told["message"])
    if isinstance(failure, DeviceFailed):
        failure.details = told.get("details", "")
    raise failure
