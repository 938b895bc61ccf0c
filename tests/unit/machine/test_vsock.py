from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import VsockSpec, parse_vsock


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("/run/a.sock", VsockSpec(path=Path("/run/a.sock"))),
        ("a,cid=42", VsockSpec(path=Path("a"), cid=42)),
        ("cid=3", VsockSpec()),
        ("none", None),
    ],
)
def test_what_there_is(text: str, spec: VsockSpec | None) -> None:
    assert parse_vsock(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", ",cid=3", "a,b", "a,cid=2", "a,cid=x", "a,cid=", "cid=4294967295", "a,cid=-1", "x" * 97],
)
def test_what_there_is_not(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_vsock(text)
