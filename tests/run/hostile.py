"""The guest of tests/hostile as a kernel and as firmware, and what is looked at while it runs."""

import contextlib
import functools
import os
import re
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.conftest import PATIENCE
from tests.run.house import House, wait

SOURCE = Path(__file__).parents[1] / "hostile"
TARGET = SOURCE.parents[1] / "target" / "hostile-guest"
_PLATFORM = "x86_64-unknown-linux-gnu"
# It lies at one address, and interrupts write below its stack.
_FLAGS = "-C relocation-model=static -C no-redzone=yes"
_ORDERS = b"hostile orders: "
_BASE = 0x10_0000
_ROM = 256 << 10
DONE = 2 * 20 + 1  # what isa-debug-exit makes of the guest's word
_RESET = 256  # bytes of reset.asm
# In the order of their bits.
ATTACKS = (
    "virtio",
    "ide",
    "nvme",
    "ethernet",
    "sound",
    "blaster",
    "floppy",
    "fw-cfg",
    "uhci",
    "ports",
    "messages",
    "config",
    "memory",
)


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the guest is to do. `memory` is RAM below 4 GiB in bytes. With `exits`, the guest ends
    when it has done it, with the status `DONE`; else it stands still.
    """

    seed: int
    rounds: int
    attacks: tuple[str, ...] = ATTACKS
    memory: int = 32 << 20
    exits: bool = False

    def packed(self) -> bytes:
        chosen = sum(1 << ATTACKS.index(name) for name in self.attacks)
        return _ORDERS + struct.pack(
            "<QQQQQ", self.seed, self.rounds, chosen, self.memory, self.exits
        )


@functools.cache
def _built() -> bytes:
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    command += ["--manifest-path", str(SOURCE / "Cargo.toml")]
    command += ["--target", _PLATFORM, "--target-dir", str(TARGET)]
    home = Path.home() / ".cargo" / "bin"
    environment = {**os.environ, "RUSTFLAGS": _FLAGS, "PATH": f"{home}:{os.environ['PATH']}"}
    subprocess.run(command, env=environment, check=True)
    return (TARGET / _PLATFORM / "release" / "hostile-guest").read_bytes()


def kernel(path: Path, orders: Orders) -> Path:
    """The guest as a kernel that is loaded directly."""
    path.write_bytes(_ordered(orders))
    return path


def firmware(path: Path, orders: Orders) -> Path:
    """The guest as firmware, for a board with the devices of old."""
    file = _ordered(orders)
    (entry,) = struct.unpack_from("<Q", file, 24)
    # The first segment is the whole guest. Spec: ELF-64 Object File Format, "Program header table".
    _, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", file, 64)
    assert address == _BASE
    length = (length + 3) & ~3
    body = file[offset : offset + length].ljust(length, b"\0")
    numbers = [f"-DSIZE={_ROM}", f"-DLENGTH={length}", f"-DENTRY={entry}"]
    reset = path.with_suffix(".reset")
    command = ["nasm", "-f", "bin", *numbers, "-o", reset, SOURCE / "reset.asm"]
    subprocess.run(command, check=True)
    path.write_bytes(body.ljust(_ROM - _RESET, b"\0") + reset.read_bytes())
    return path


def _ordered(orders: Orders) -> bytes:
    file, packed = _built(), orders.packed()
    assert file.count(_ORDERS) == 1
    return file.replace(file[(at := file.index(_ORDERS)) : at + len(packed)], packed)


# Threads that a process begins when it first needs them: one of each, whatever its guest does.
_ONCE = ("huge-pages", "console-output")


@dataclass(frozen=True)
class Taken:
    """What a process has of its host. Memory is what is its own, in bytes."""

    memory: int
    threads: int
    descriptors: int

    def fits(self, before: "Taken") -> bool:
        """Whether it has no more threads and descriptors than before."""
        return self.threads <= before.threads and self.descriptors <= before.descriptors


def taken(pid: int) -> Taken:
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(re.findall(r"^(\w+):\s+(\d+)", status, re.MULTILINE))
    memory = (int(fields["RssAnon"]) + int(fields["RssShmem"])) << 10
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    threads = sum(name not in _ONCE for name in _threads(pid))
    return Taken(memory, threads, descriptors)


def _threads(pid: int) -> Iterator[str]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        # It may have just ended.
        with contextlib.suppress(OSError):
            yield task.joinpath("comm").read_text().strip()


class Neighbour:
    """A guest that sends back what it hears, and somebody who speaks with it all the time."""

    def __init__(self, house: House, name: str) -> None:
        self._process = house.inn.start("console", name)
        self._over = threading.Event()
        self._heard = threading.Condition()
        self.answers = 0
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def __enter__(self) -> "Neighbour":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.kill()
        self._thread.join()
        self._process.communicate()

    def answers_still(self) -> None:
        """Waits for some more answers."""
        with self._heard:
            wanted = self.answers + 5
            assert self._heard.wait_for(lambda: self.answers >= wanted, PATIENCE)

    def _speak(self) -> None:
        stdin, stdout = _ends(self._process)
        while not self._over.is_set():
            try:
                os.write(stdin.fileno(), b"x")
                heard = os.read(stdout.fileno(), 1)
            except BrokenPipeError:
                return
            if not heard:
                return
            with self._heard:
                self.answers += 1
                self._heard.notify_all()


def _ends(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def says(house: House, name: str, word: str) -> None:
    """Waits until the guest has said it."""
    found = house.inspect(name)
    log = Path(found["directory"]) / "run" / "console.log"

    def good(said: bytes) -> bool:
        if Path(f"/proc/{found['pid']}").exists() and b"fault " not in said:
            return f"{word}\n".encode() in said
        raise AssertionError((house.inspect(name)["sentence"], said, errors(house, name)))

    wait(log.read_bytes, good)


def errors(house: House, name: str) -> str:
    """What went wrong in its process: a panic, a failed assertion."""
    return (Path(house.inspect(name)["directory"]) / "errors.log").read_text()
