"""How rules of a guest's network are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import InvalidInput
from innkeeper.machine.firewall import Action, parse_firewall, parse_rule, written

WORDS = (
    "in",
    "out",
    "accept",
    "tcp",
    "icmp",
    "from",
    "to",
    "port",
    "::/0",
    "1.2.3.4/8",
    "7",
    "any",
)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("in accept", "in accept"),
        ("out  reject icmp", "out reject icmp"),
        ("in accept port 22 tcp from 192.0.2.9/24", "in accept tcp from 192.0.2.0/24 port 22"),
        ("out drop to any udp ports 53-54", "out drop udp port 53-54"),
        ("in drop from 192.0.2.9", "in drop from 192.0.2.9"),
        ("out accept tcp to fd00::1/64 port 1-65535", "out accept tcp to fd00::/64 port 1-65535"),
    ],
)
def test_rules(text: str, same: str) -> None:
    rule = parse_rule(text)
    assert str(rule) == same
    assert parse_rule(same) == rule


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with in or out"),
        ("in", "begins with in or out"),
        ("through accept", "begins with in or out"),
        ("in allow", "'allow' is none of accept, drop, reject"),
        ("in accept tcp udp", "no use for 'udp'"),
        ("in accept to 192.0.2.1", "named by 'from'"),
        ("out accept from 192.0.2.1", "named by 'to'"),
        ("in accept from", "no use for 'from'"),
        ("in accept from host", "'host' is no address"),
        ("in accept from 192.0.2.1/33", "is no address"),
        ("in accept port ssh", "'ssh' is no port"),
        ("in accept port 0", "is no port"),
        ("in accept port 9-8", "is no port"),
        ("in accept port 65536", "is no port"),
        ("in accept port ٣", "is no port"),
        ("in accept icmp port 8", "icmp has none"),
    ],
)
def test_what_is_no_rule(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_rule(text)


@given(st.lists(st.sampled_from(WORDS)))
def test_whatever_is_read_is_written_alike(words: list[str]) -> None:
    try:
        rule = parse_rule(" ".join(words))
    except InvalidInput:
        return
    assert parse_rule(str(rule)) == rule


def test_what_holds_without_a_rule() -> None:
    firewall = parse_firewall(["in accept tcp port 22"], "in=drop")
    assert (firewall.into, firewall.out) == (Action.DROP, Action.ACCEPT)
    assert written(firewall) == {"in": "drop", "out": "accept", "rules": ["in accept tcp port 22"]}
    for wrong in ("drop", "in=no", "through=drop"):
        with pytest.raises(InvalidInput):
            parse_firewall([], wrong)
    with pytest.raises(InvalidInput, match="at most 256 rules"):
        parse_firewall(["in drop"] * 257)
