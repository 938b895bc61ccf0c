"""Seeds for cloud-init: made when a guest is, as a disk behind all others that it has.

A guest that stays has it in its directory, where its process may only read; and a key pair beside
it, by which `inn ssh` comes in, where it was not given one.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images import seed
from innkeeper.machine import DiskFormat, DiskSpec, MachineSpec, SeedSpec
from innkeeper.machine.spec import MAXIMUM_DISKS
from innkeeper.services.request import GuestRequest
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home

KEY: Final = "ssh_key"


def check(request: GuestRequest, name: str) -> None:
    """
    Raises:
        InvalidInput: when no seed can be made of what was asked for.
    """
    if request.seed is not None:
        seed.contents(request.seed, name)
        if sum(not disk.gone for disk in request.disks) >= MAXIMUM_DISKS:
            raise InvalidInput(f"a guest with a seed has at most {MAXIMUM_DISKS - 1} other disks")


@contextlib.contextmanager
def attended(request: GuestRequest, name: str) -> Iterator[GuestRequest]:
    """`request` with its seed among the disks, for as long as the guest runs.

    Raises:
        InvalidInput, HostFailure.
    """
    if request.seed is None:
        yield request
        return
    check(request, name)
    data = seed.disk(seed.contents(request.seed, name))
    try:
        file = tempfile.NamedTemporaryFile(prefix="innkeeper-", suffix=".iso")  # noqa: SIM115
    except OSError as error:
        raise HostFailure(f"cannot write a seed for cloud-init: {error}") from error
    with file:
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            raise HostFailure(f"cannot write a seed for cloud-init: {error}") from error
        yield replace(request, disks=(*request.disks, _disk(Path(file.name))))


def write(home: Home, wanted: SeedSpec, name: str) -> None:
    """Into the directory of a guest that is being made.

    Raises:
        InvalidInput, HostFailure.
    """
    keys: tuple[str, ...] = ()
    if not wanted.ssh_keys and wanted.meta_data is None and (program := shutil.which("ssh-keygen")):
        keys = (_new_key(program, home, name),)
    try:
        home.write_bytes(files.SEED, seed.disk(seed.contents(wanted, name, keys)), lasting=True)
    except OSError as error:
        raise HostFailure(f"cannot write a seed for cloud-init: {error}") from error


def added(spec: MachineSpec) -> MachineSpec:
    """The machine of a guest that stays, with the seed that was made with it."""
    # Its process works in a directory below.
    return replace(spec, disks=(*spec.disks, _disk(Path("..") / files.SEED)))


def _disk(path: Path) -> DiskSpec:
    return DiskSpec(path=path, format=DiskFormat.RAW, read_only=True, serial="cidata", id="seed")


def _new_key(program: str, home: Home, name: str) -> str:
    path = Path(home.path) / KEY
    command = [program, "-q", "-t", "ed25519", "-N", "", "-C", f"inn ssh {name}", "-f", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        return path.with_suffix(".pub").read_text().strip()
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", None) or str(error).encode()
        reason = os.fsdecode(words).strip()
        raise HostFailure(f"cannot make a key for {name}: {reason}") from error
