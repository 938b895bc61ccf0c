"""Relay and boot log over real pipes."""

import os
import threading

from innkeeper.vm.boot_log import LIMIT, BootLog
from innkeeper.vm.relay import Relay
from innkeeper.vm.terminal import split_at_escape


def test_the_escape_key_ends_what_goes_to_the_guest() -> None:
    assert split_at_escape(b"ls\r") == (b"ls\r", False)
    assert split_at_escape(b"ls\x1dmore") == (b"ls", True)


def test_a_scripts_input_is_carried_and_its_end_ends_nothing() -> None:
    source, writer = os.pipe()
    left = threading.Event()
    relay = Relay(source, leave=left.set)
    relay.start()
    os.write(writer, b"uname\n")
    os.close(writer)
    received = b""
    while not received.endswith(b"\n"):
        received += os.read(relay.read_end, 100)
    assert received == b"uname\n"
    assert not left.is_set()
    relay.close()
    os.close(source)


def test_a_person_leaves_by_the_escape_key() -> None:
    left = threading.Event()
    controller, terminal = os.openpty()
    relay = Relay(terminal, leave=left.set)
    relay.start()
    # Canonical mode: a line end hands the bytes over.
    os.write(controller, b"ab\x1d\n")
    assert left.wait(30)
    assert os.read(relay.read_end, 100) == b"ab"
    relay.close()
    os.close(controller)
    os.close(terminal)


def test_the_boot_log_keeps_the_end_and_knows_a_panic() -> None:
    log = BootLog()
    os.write(log.write_end, b"x" * LIMIT)
    os.write(log.write_end, b"\nKernel panic - not syncing: no init\n")
    log.close_writer()
    log.finish()
    assert log.panicked
    assert len(log.text) == LIMIT
    assert log.last_words(1) == ("Kernel panic - not syncing: no init",)


def test_a_guest_prints_on_when_nobody_reads_its_echo() -> None:
    def closed(_data: bytes) -> None:
        raise BrokenPipeError

    log = BootLog(closed)
    os.write(log.write_end, b"first ")
    os.write(log.write_end, b"second")
    log.close_writer()
    log.finish()
    assert log.text == "first second"
