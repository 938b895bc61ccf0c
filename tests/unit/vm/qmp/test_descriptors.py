"""Descriptors that come over a control socket are somebody's or closed, and only so many."""

import os
from typing import Any

import pytest
from tests.unit.vm.qmp.test_session import VERSION

from innkeeper.vm.qmp.descriptors import MOST, DescriptorSets
from innkeeper.vm.qmp.session import DESCRIPTOR, CommandError, Session


@pytest.fixture
def fd() -> int:
    """One whose number is somebody else's as soon as it is closed."""
    return os.open("/dev/null", os.O_RDONLY)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _session(sets: DescriptorSets) -> tuple[Session, list[bytes]]:
    sent: list[bytes] = []
    session = Session(sets.handlers(), VERSION, sent.append, lambda: None)
    session.receive(b'{"execute": "qmp_capabilities"}\n')
    return session, sent


def test_a_command_takes_what_came_before_it(fd: int) -> None:
    sets = DescriptorSets()
    session, sent = _session(sets)
    session.receive(b'{"execute": "add-fd"}\n')
    assert b"SCM_RIGHTS" in sent[-1]
    session.receive_descriptors([fd])
    session.receive(b'{"execute": "add-fd", "arguments": {"fdset-id": 3}}\n')
    assert b'"fdset-id": 3' in sent[-1]
    assert sets.named("/dev/fdset/3") == 3
    assert sets.named("/var/lib/disk.raw") is None
    assert sets.take(3) == fd
    with pytest.raises(CommandError):
        sets.named("/dev/fdset/3")
    os.close(fd)


def test_what_nobody_takes_is_closed(fd: int) -> None:
    session, _ = _session(DescriptorSets())
    session.receive_descriptors([fd])
    session.close()
    assert not _is_open(fd)


def test_a_client_has_a_few_on_its_way_at_most() -> None:
    session, _ = _session(DescriptorSets())
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    session.receive_descriptors(fds)
    assert sum(map(_is_open, fds)) < len(fds)
    session.close()
    assert not any(map(_is_open, fds))


@pytest.mark.parametrize("wanted", [{"fdset-id": 0}, {"fdset-id": -1}])
def test_a_set_that_cannot_be_made_leaves_nothing_open(fd: int, wanted: dict[str, Any]) -> None:
    sets = DescriptorSets()
    first = os.open("/dev/null", os.O_RDONLY)
    handlers = sets.handlers()
    assert handlers["add-fd"]({DESCRIPTOR: first}) == {"fdset-id": 0, "fd": first}
    with pytest.raises(CommandError):
        handlers["add-fd"]({**wanted, DESCRIPTOR: fd})
    assert not _is_open(fd)
    handlers["remove-fd"]({"fdset-id": 0})
    assert not _is_open(first)


def test_there_are_so_many_sets_and_no_more() -> None:
    sets = DescriptorSets()
    add = sets.handlers()["add-fd"]
    for _ in range(MOST):
        add({DESCRIPTOR: os.open("/dev/null", os.O_RDONLY)})
    with pytest.raises(CommandError):
        add({DESCRIPTOR: os.open("/dev/null", os.O_RDONLY)})
    for number in range(MOST):
        os.close(sets.take(number))
