"""A guest's TPM is a process of its own: swtpm, which somebody else wrote.

The guest's process starts it, before it goes into its jail: so it ends with that one, by the
sockets between the two, which nobody else has, by a signal, and by the namespace of processes that
both are in. What it is locked into is its own (`jail::confine_program`): the programs of the host,
and one directory, with what the TPM keeps without power. It has a user that is not the guest's.

Spec: swtpm(8), PR_SET_PDEATHSIG in prctl(2).
"""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine.tpm import DIRECTORY
from innkeeper.vm.wiring import Tpm

PROGRAM: Final = "swtpm"
# Seconds that a save waits for a TPM at most: until a command has ended or failed, and then for
# each of two parts of its state (worker.rs and swtpm.rs of the device).
TO_SAVE: Final = 10.0 + 2.0 + 2 * 15.0
_PLACES: Final = "/usr/local/bin:/usr/bin:/bin"
# What a program is loaded from, and looks at.
_RUN: Final = (
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ssl/openssl.cnf",
    "/proc/sys/crypto/fips_enabled",
    "/dev/urandom",
    "/dev/random",
)
_DEVICES: Final = ("/dev/null",)
# Its numbers of the sockets, and the first of those that it does not get.
_DATA: Final = 3
_CONTROL: Final = 4
_OTHERS: Final = 5


def require() -> str:
    """The program.

    Raises:
        InvalidInput: when this host does not have it.
    """
    found = shutil.which(PROGRAM, path=_PLACES)
    if found is None:
        raise InvalidInput("a guest with a TPM needs swtpm on this host: install the package swtpm")
    return found


@contextmanager
def started(directory: Path, identity: str, *, jail: bool) -> Iterator[Tpm]:
    """Starts one that keeps its state in `directory`, which is made when it is missing. It ends
    when the sockets do that this gives, and what is made of them. Before this process has a second
    thread. By `identity`, guests are told apart.

    Raises:
        InvalidInput: when this host does not have it.
        HostFailure: when it cannot be started.
    """
    tpm = start(directory, identity, jail=jail)
    try:
        yield tpm
    finally:
        os.close(tpm.data)
        os.close(tpm.control)


def start(directory: Path, identity: str, *, jail: bool) -> Tpm:
    """As `started`, for as long as this process lives."""
    program = require()
    try:
        directory.mkdir(0o700, exist_ok=True)
        data, their_data = socket.socketpair()
        control, their_control = socket.socketpair()
        pid = os.fork()
    except OSError as error:
        raise HostFailure(f"cannot start the guest's TPM: {error.strerror}") from error
    if pid == 0:
        _be(program, directory, (their_data.fileno(), their_control.fileno()), identity, jail=jail)
    their_data.close()
    their_control.close()
    return Tpm(data=data.detach(), control=control.detach())


def _be(
    program: str, directory: Path, sockets: tuple[int, int], identity: str, *, jail: bool
) -> None:
    """The fork, until it is swtpm."""
    try:
        # Above all that they become.
        data, control = (fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in sockets)
        nothing = fcntl.fcntl(os.open(os.devnull, os.O_RDWR), fcntl.F_DUPFD, 64)
        for fd, number in ((nothing, 0), (nothing, 1), (nothing, 2)):
            os.dup2(fd, number)
        os.dup2(data, _DATA)
        os.dup2(control, _CONTROL)
        os.closerange(_OTHERS, os.sysconf("SC_OPEN_MAX"))
        os.chdir(directory)
        if jail:
            _confine(directory, identity)
        from innkeeper._core import end_with_parent

        end_with_parent()
        words = [
            *(PROGRAM, "socket", "--tpm2", "--tpmstate", "dir=.,mode=0600"),
            *("--fd", str(_DATA), "--ctrl", f"type=unixio,clientfd={_CONTROL}"),
        ]
        os.execve(program, words, {})
    finally:
        # Whatever it was: a fork must not go on as its parent, who finds nobody at the sockets.
        os._exit(127)


def _confine(directory: Path, identity: str) -> None:
    from innkeeper._core import confine_program
    from innkeeper.vm.jail import user_of

    # Another user than the guest's process has.
    user = user_of(f"{identity} {DIRECTORY}")
    run, devices = ([Path(name) for name in names] for names in (_RUN, _DEVICES))
    confine_program(run, devices, directory, user)
