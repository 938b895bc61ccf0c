"""Descriptions survive a document, and what is no description is refused in words."""

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper import stored
from innkeeper.machine import (
    DiskSpec,
    EngineChoice,
    MachineSpec,
    NetworkSpec,
    Overlay,
    PortSpec,
)
from innkeeper.stored import Unreadable

SPEC = MachineSpec(
    kernel=Path("/boot/caf\udce9"),
    initrds=(Path("a"), Path("b")),
    engine=EngineChoice.KVM,
    disks=(
        DiskSpec(path=Path("d"), overlay=Overlay.KEEP, overlay_path=Path("o"), read_only=True),
        DiskSpec(path=Path("e")),
    ),
    network=NetworkSpec(
        ports=(
            PortSpec(host_port=80, guest_port=8080, host=IPv6Address("::1")),
            PortSpec(host_port=81, guest_port=8081, host=IPv4Address("127.0.0.1")),
        )
    ),
    symbols=None,
)


@pytest.mark.parametrize("spec", [SPEC, MachineSpec(kernel=Path("k"), network=None)])
def test_a_description_comes_back(spec: MachineSpec) -> None:
    document = json.loads(json.dumps(stored.encode(spec)))
    assert stored.decode(MachineSpec, document) == spec


def test_what_is_missing_has_its_default() -> None:
    assert stored.decode(MachineSpec, {"kernel": "k"}) == MachineSpec(kernel=Path("k"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "not an object"),
        ({"kernel": "k", "cores": 3}, "'cores', which is not known"),
        ({"kernel": 3}, "3 is no text"),
        ({"kernel": "k", "vcpus": "2"}, "vcpus: '2' is no int"),
        ({"kernel": "k", "vcpus": True}, "vcpus: True is no int"),
        ({"kernel": "k", "engine": "steam"}, "'steam' is not a valid EngineChoice"),
        ({"kernel": "k", "disks": {}}, "disks: {} is no list"),
        ({"kernel": "k", "disks": [{}]}, "disks: .*path"),
        ({"kernel": "k", "network": {"ports": [{"host": "x"}]}}, "network: ports: host"),
    ],
)
def test_what_is_none_is_refused(document: object, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        stored.decode(MachineSpec, document)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(stored.encode(SPEC))), values)
def test_no_document_is_a_traceback(member: str, value: object) -> None:
    document = {**stored.encode(SPEC), member: value}
    try:
        found = stored.decode(MachineSpec, document)
    except Unreadable:
        return
    assert stored.decode(MachineSpec, stored.encode(found)) == found
