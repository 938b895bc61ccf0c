"""Starts the processes of a detached guest, and hears how that went."""

import json
import os
import subprocess
import sys

from innkeeper import errors
from innkeeper.errors import DeviceFailed, HostFailure
from innkeeper.vm.detached import template
from innkeeper.vm.detached.home import Home

# What the processes have to say that nobody expected: tracebacks of ours and of Python devices.
ERRORS = "errors.log"


# 0 in the environment: the template is neither used nor left behind.
SWITCH = "INNKEEPER_TEMPLATE"


def launch(home: Home, lock: int, module: str) -> None:
    """Runs `main` of `module` with the descriptors of the guest's directory and lock: by a fork of
    the template where there is one, or else in a new process, which becomes the template.

    Raises:
        InnkeeperError: what the guest's process says.
        HostFailure: when it cannot be started or says nothing.
    """
    templates = None
    if os.environ.get(SWITCH) != "0":
        guests = os.path.dirname(home.path)
        templates = os.path.join(os.path.dirname(guests), template.DIRECTORY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    complaints = os.open(ERRORS, flags, 0o600, dir_fd=home.directory)
    try:
        if templates is None or not _fork(home, lock, complaints, templates):
            _start(home, lock, complaints, module, templates)
    finally:
        os.close(complaints)


def _fork(home: Home, lock: int, complaints: int, templates: str) -> bool:
    """False when there is no template, or none that has begun with it."""
    channel = template.connect(templates)
    if channel is None:
        return False
    ready, theirs = os.pipe()
    with channel, open(ready, "rb") as answer:
        try:
            template.ask(channel, [home.directory, lock, theirs, complaints])
        finally:
            os.close(theirs)
        # Also where it was asked by halves: it may just be ending.
        channel.close()
        if answer.readline() != template.BEGUN:
            return False
        _hear(answer.readline(), home)
    return True


def _start(home: Home, lock: int, complaints: int, module: str, templates: str | None) -> None:
    """It has its own session, so that no terminal's end is its own. Nothing that Python loads by
    itself is loaded: our path is handed on as it is.
    """
    path = [place for place in sys.path if place]
    code = f"import sys; sys.path[:] = {path!r}; from {module} import main; main()"
    ready, theirs = os.pipe()
    with open(ready, "rb") as answer:
        words = [str(fd) for fd in (home.directory, lock, theirs)]
        try:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-S", "-c", code, *words),
                    *(() if templates is None else (templates,)),
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
            os.close(theirs)
        # It has forked, and this one is only who was asked to.
        process.wait()
        answered = answer.readline()
        _hear(answer.readline() if answered == template.BEGUN else answered, home)


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
