"""The process of a guest that somebody waits for, and the one that waits."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from innkeeper.machine import MachineSpec
from innkeeper.vm import first

outside = os.getpid()
parent = first.become_first(MachineSpec(kernel=Path("none")))
print("separate" if os.getpid() != outside else "as it was", flush=True)
sys.stdin.read()
parent.stay_with()
print("still here", flush=True)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_it_does_not_outlive_a_parent_that_ended_before_it_said_so(killed: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        if waiting.stdout.readline() != "separate\n":
            waiting.communicate("")
            pytest.skip("this host gives no process namespaces to this user")
        if killed:
            os.kill(waiting.pid, signal.SIGKILL)
            waiting.wait()
        told, _ = waiting.communicate("")
    assert told == ("" if killed else "still here\n")
