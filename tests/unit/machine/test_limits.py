"""How limits and shares are written."""

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import (
    Limits,
    Rate,
    check_cpu_shares,
    format_cpu_limit,
    parse_cpu_limit,
    parse_cpuset,
    parse_rate,
)
from innkeeper.machine.limits import written


@pytest.mark.parametrize(
    ("text", "share"),
    [("150%", 1.5), ("1.5", 1.5), ("50%", 0.5), ("2", 2.0), ("12.5%", 0.125), ("none", None)],
)
def test_shares_of_processors(text: str, share: float | None) -> None:
    assert parse_cpu_limit(text) == share
    assert parse_cpu_limit(format_cpu_limit(share)) == share


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "0.5%", "-1", "50 %", "half", "1e3", "99999999%", "9" * 5000, "٣"]
)
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_cpu_limit(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50M", Rate(bytes=50 << 20)),
        ("50M/s", Rate(bytes=50 << 20)),
        ("1000iops", Rate(operations=1000)),
        ("1000pps,2G", Rate(bytes=2 << 30, operations=1000)),
        ("none", Rate()),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "0", "0iops", "50M,60M", "fast", "50M,", "iops", "9999999T", "9" * 5000 + "iops"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-2,5", (0, 1, 2, 5)), ("3,1", (1, 3)), ("all", ())]
)
def test_sets_of_processors(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpuset(text) == cpus


@pytest.mark.parametrize("text", ["", "2-1", "a", "0-", "0,,1", "99999", "-1"])
def test_what_is_no_set_of_processors(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_cpuset(text)


@pytest.mark.parametrize("shares", [0, 1, 262_145, -5])
def test_what_nothing_can_weigh(shares: int) -> None:
    with pytest.raises(InvalidInput):
        check_cpu_shares(shares)


def test_as_the_control_socket_has_them() -> None:
    told = written(Limits(cpu=0.125, disk=Rate(operations=3)))
    assert told == {
        "cpu-permille": 125,
        "disk-bytes": 0,
        "disk-operations": 3,
        "network-bytes": 0,
        "network-operations": 0,
    }
