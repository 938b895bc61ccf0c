"""Code that has come out of its guest: a device plays it, and tells what it could do."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import tiny
from tests.conftest import INN
from tests.run.house import House

ESCAPED = """
import ctypes, errno, json, os, signal, socket, subprocess

def tried(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def send(path):
    # A socket as guests have for the network that they share.
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, other:
        ours.sendto(b"hello", path)

def connect(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(path)

# Opened before there is a jail, as whoever makes a device may do.
HELD = os.open("/", os.O_RDONLY | os.O_DIRECTORY)

class Escaped:
    \"\"\"Plays code that has come out of its guest: a device is in the guest's process.\"\"\"
    kind = "escaped"
    version = 1
    first_port = 0x700
    port_count = 1

    def __init__(self, host):
        self.host = host

    def read(self, offset, size):
        return 0

    def write(self, offset, size, value):
        attempts = {
            "read a file": lambda: open("/etc/passwd").close(),
            "write beside": lambda: open(GOALS["beside"], "w").close(),
            "read another guest": lambda: open(GOALS["other"] + "/guest.json").close(),
            "list guests": lambda: os.listdir("../.."),
            "write to another guest": lambda: open(GOALS["other"] + "/order.json", "a").close(),
            "control another guest": lambda: connect(GOALS["other"] + "/run/control"),
            "send to somebody": lambda: send(GOALS["datagrams"]),
            "control itself": lambda: connect("control"),
            "change what it is": lambda: open("../guest.json", "a").close(),
            "change what it is made of": lambda: open("../order.json", "a").close(),
            "change who it is": lambda: open("../supervisor.json", "w").close(),
            "fork": lambda: os.fork() or os._exit(0),
            "run": lambda: subprocess.run(["/bin/true"]),
            "signal": lambda: os.kill(GOALS["pid"], 0),
            "signal its parent": lambda: os.kill(os.getppid(), 0),
            "mount": lambda: system_call(165, b"none", b"/mnt", b"tmpfs", 0, 0),
            "trace": lambda: system_call(101, 16, GOALS["pid"], 0, 0),
            "read memory": lambda: open("/proc/%d/mem" % GOALS["pid"], "rb").close(),
            "change owner": lambda: os.chown("console.log", 1, 1),
            "more descriptors": lambda: system_call(434, GOALS["pid"], 0),
            "leave the namespaces": lambda: system_call(272, 0x10000000),
            "program the kernel": lambda: system_call(321, 5, 0, 0),
            "go up": lambda: os.stat("../" * 20 + "etc/passwd"),
            "go up by what it holds": lambda: os.stat("../" * 20 + "etc/passwd", dir_fd=HELD),
            "write its own": lambda: open(os.environ.get("TMPDIR", ".") + "/mine", "w").close(),
        }
        found = {goal: tried(attempt) for goal, attempt in attempts.items()}
        print(json.dumps(found), flush=True)
        if os.access("console.log", os.W_OK):
            with open("escaped.json", "w") as file:
                json.dump(found, file)
        self.host.exit(0)

    def reset(self): ...
    def save(self):
        return {}
    def restore(self, state): ...

def system_call(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def create(host):
    return [Escaped(host)]
"""


def prepare(house: House, directory: Path) -> tuple[dict[str, Any], list[str | Path]]:
    """Another guest, and the options of one whose code is to come out into its process."""
    other = house.start("other", tiny.kernel(directory / "halt", tiny.HALT))
    goals = {
        "other": other["directory"],
        "pid": other["pid"],
        "beside": str(house.home / "beside"),
        "datagrams": str(house.home / "datagrams"),
    }
    (directory / "escaped.py").write_text(f"GOALS = {goals!r}\n{ESCAPED}")
    kernel = tiny.kernel(directory / "jump", tiny.out_byte(0x700, 1) + tiny.HALT)
    return other, ["--name", "jumper", "--kernel", kernel, "--device", "escaped:create"]


@contextlib.contextmanager
def datagrams(house: House) -> Iterator[None]:
    """A socket of somebody's that datagrams may be sent to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind(str(house.home / "datagrams"))
        yield


def escape(house: House, directory: Path, *options: str) -> dict[str, str]:
    """What a guest's code could do that has come out into its process."""
    other, words = prepare(house, directory)
    done = subprocess.run(
        [INN, "create", *words, *options], cwd=directory, env=house.inn.environment, check=False
    )
    assert done.returncode == 0
    with datagrams(house):
        house("start", "jumper")
        house("wait", "jumper")
    found = house.inspect("jumper")
    told = Path(found["directory"]) / "run" / "escaped.json"
    assert told.exists(), (found, (Path(found["directory"]) / "errors.log").read_text())
    result: dict[str, str] = json.loads(told.read_text())
    assert house.inspect("other")["pid"] == other["pid"]
    return result


def escape_attended(house: House, directory: Path, *options: str) -> dict[str, str]:
    """The same, of a guest that `inn run` attends to."""
    _, words = prepare(house, directory)
    with datagrams(house):
        done = subprocess.run(
            [INN, "run", *words, *options],
            cwd=directory,
            env=house.inn.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result
