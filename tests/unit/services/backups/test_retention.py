"""Which backups rules keep."""

import datetime

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import MachineSpec
from innkeeper.services.backups import retention
from innkeeper.services.backups.manifest import Backup, Consistency
from innkeeper.services.backups.retention import Rules
from innkeeper.services.definition import Definition
from innkeeper.services.request import GuestRequest
from innkeeper.vm.order import Order


def at(text: str, guest: str = "web") -> Backup:
    return Backup(
        id=f"{guest} {text}",
        name="",
        guest=guest,
        created=datetime.datetime.fromisoformat(text).astimezone().timestamp(),
        consistency=Consistency.OFF,
        definition=Definition(id="", created=0.0, request=GuestRequest()),
        order=Order(id="", spec=MachineSpec(), restart="no", image=False),
        written=0,
        files=(),
    )


def kept(rules: Rules, *times: str) -> list[str]:
    found = retention.kept([at(time) for time in times], rules)
    return sorted(each.removeprefix("web ") for each in found)


HOURS = ("2026-03-01 01:00", "2026-03-01 23:00", "2026-03-02 12:00", "2026-03-04 12:00")


@pytest.mark.parametrize(
    ("rules", "times", "staying"),
    [
        (Rules(last=2), HOURS, HOURS[2:]),
        (Rules(last=9), HOURS, HOURS),
        # The newest of each day; days without one do not count.
        (Rules(daily=3), HOURS, HOURS[1:]),
        (Rules(daily=2), HOURS, HOURS[2:]),
        # The 1st of March 2026 is a Sunday.
        (Rules(weekly=2), HOURS, (HOURS[1], HOURS[3])),
        # The week goes over the turn of the year.
        (Rules(weekly=2), ("2025-12-29 01:00", "2026-01-02 01:00"), ("2026-01-02 01:00",)),
        (Rules(monthly=1), HOURS, HOURS[3:]),
        (Rules(yearly=2), ("2025-12-31 23:00", *HOURS), ("2025-12-31 23:00", HOURS[3])),
        (Rules(last=1, monthly=2), ("2026-02-03 01:00", *HOURS), ("2026-02-03 01:00", HOURS[3])),
    ],
)
def test_rules(rules: Rules, times: tuple[str, ...], staying: tuple[str, ...]) -> None:
    assert kept(rules, *reversed(times)) == sorted(staying)


def test_each_guest_is_counted_for_itself() -> None:
    all_of_them = [at(HOURS[0]), at(HOURS[1]), at(HOURS[0], "db")]
    assert retention.kept(all_of_them, Rules(last=1)) == {f"web {HOURS[1]}", f"db {HOURS[0]}"}


@pytest.mark.parametrize("rules", [Rules(), Rules(last=1, daily=-1)])
def test_to_keep_none_is_never_meant(rules: Rules) -> None:
    with pytest.raises(InvalidInput, match="how many backups"):
        kept(rules, *HOURS)
