"""Whoever attends to a machine apart hears that it has ended, whatever its process said."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.vm.test_statistics import told as statistics

from innkeeper.machine import MachineSpec
from innkeeper.vm import answers
from innkeeper.vm.apart import MachineApart
from innkeeper.vm.child import Order
from innkeeper.vm.ending import EndKind
from innkeeper.vm.wiring import Wiring


@contextmanager
def running(words: bytes, ended: threading.Event) -> Iterator[MachineApart]:
    """One whose process is made, and ends with these words."""
    order = Order(spec=MachineSpec(memory=1 << 26), wiring=Wiring(), jail=False, own=Path("/none"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"made": true}\n' + words + b"\n")
        machine = MachineApart(ours, order, ended.set)
        machine.start()
        yield machine


def ending() -> bytes:
    """Statistics that are none: no float is that large."""
    told = json.loads(json.dumps(statistics().as_dict()))
    told["vcpus"][1]["seconds"] = {"a": 10**400}
    return json.dumps({"kind": "power-off", "statistics": told}).encode()


def test_statistics_that_are_none_end_nobodys_waiting() -> None:
    ended = threading.Event()
    with running(ending(), ended) as machine:
        assert machine.wait(60)
        assert ended.wait(60)
        assert machine.statistics is None
        assert machine.outcome == (EndKind.POWER_OFF, None, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nor_does_a_flaw_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def flawed(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(answers, "statistics", flawed)
    ended = threading.Event()
    with running(ending(), ended) as machine:
        assert machine.wait(60)
        assert ended.wait(60)
        machine._thread.join()
