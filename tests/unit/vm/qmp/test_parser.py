"""Texts come apart where they end, however they come; what is beyond the bounds is refused."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.vm.qmp.parser import DEEPEST, LONGEST, Malformed, Overrun, Splitter, parse

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), values)


@settings(deadline=None)
@given(
    st.lists(st.tuples(objects, st.sampled_from([b"", b" ", b"\n", b"\r\n\t "]))),
    st.integers(1, 60),
    st.booleans(),
)
def test_objects_come_out_as_they_went_in(
    sent: list[tuple[dict[str, object], bytes]], step: int, ascii_only: bool
) -> None:
    stream = b"".join(
        json.dumps(each, ensure_ascii=ascii_only).encode() + between for each, between in sent
    )
    splitter = Splitter()
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    found = [parse(text) for piece in pieces for text in splitter.push(piece)]
    assert found == [each for each, _ in sent]


# Whatever the bytes are: no exception but ours, and no more memory than the bound.
@settings(deadline=None)
@given(st.lists(st.binary() | st.text(alphabet='{}[]":,\\\n 1ea').map(str.encode)))
def test_any_bytes_at_all(pieces: list[bytes]) -> None:
    splitter = Splitter()
    for piece in pieces:
        for text in splitter.push(piece):
            assert len(text) <= LONGEST
            with contextlib.suppress(Malformed):
                parse(text)


@given(st.binary(max_size=200))
def test_after_a_line_of_nonsense_the_next_is_understood(nonsense: bytes) -> None:
    splitter = Splitter()
    # Two line ends: the first may be in what a backslash takes for its own.
    splitter.push(nonsense + b"\n\n")
    # Nothing but brackets that are still open can keep it from being seen.
    opened = splitter._depth > 0
    found = splitter.push(b'{"execute": "x"}\n')
    assert opened or found[-1].endswith(b'{"execute": "x"}')


def push_by_pieces(text: bytes) -> None:
    splitter = Splitter()
    for at in range(0, len(text), 1000):
        splitter.push(text[at : at + 1000])


@pytest.mark.parametrize(
    "text",
    [
        b"[" * (DEEPEST + 1),
        b'{"a":' * (DEEPEST + 1),
        b'{"a": "' + b"x" * LONGEST,
        b'{"a": "' + b"x" * LONGEST + b'"}',
        b"x" * (LONGEST + 1),
    ],
)
def test_what_is_too_long_or_too_deep(text: bytes) -> None:
    with pytest.raises(Overrun):
        Splitter().push(text)
    with pytest.raises(Overrun):
        push_by_pieces(text)


def test_what_is_just_short_and_flat_enough() -> None:
    deep = b"[" * DEEPEST + b"]" * DEEPEST
    assert Splitter().push(deep) == [deep]
    long = b'{"a": "' + b"x" * (LONGEST - 9) + b'"}'
    assert Splitter().push(long + b"\n") == [long]


@pytest.mark.parametrize(
    "text", [b"{", b"{]", b"}", b"nope", b"NaN", b'{"a": Infinity}', b'{"\xff": 1}', b"9" * 5000]
)
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(Malformed, match="JSON parse error"):
        parse(text)
