"""Which backups of a guest are kept: the last so many, and the newest one of each of the last so
many days, weeks, months and years that have one. Each rule is counted for itself, and a backup that
any of them keeps stays. Weeks are ISO 8601's; all is by the host's local time.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innkeeper.errors import InvalidInput
from innkeeper.services.backups.manifest import Backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How many are kept by each rule."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


def kept(backups: Sequence[Backup], rules: Rules) -> set[str]:
    """The IDs of those that stay, of each guest's.

    Raises:
        InvalidInput: when no rule keeps any.
    """
    counts = (rules.last, rules.daily, rules.weekly, rules.monthly, rules.yearly)
    if any(count < 0 for count in counts) or not any(counts):
        raise InvalidInput("say how many backups are to be kept, such as --keep-daily 7")
    periods: tuple[Callable[[datetime.datetime, Backup], object], ...] = (
        lambda _, backup: backup.id,
        lambda time, _: time.date(),
        lambda time, _: time.isocalendar()[:2],
        lambda time, _: (time.year, time.month),
        lambda time, _: time.year,
    )
    found: set[str] = set()
    for guest in {backup.guest for backup in backups}:
        newest_first = sorted(
            (backup for backup in backups if backup.guest == guest),
            key=lambda backup: backup.created,
            reverse=True,
        )
        for count, period in zip(counts, periods, strict=True):
            seen: set[object] = set()
            for backup in newest_first:
                when = period(_local(backup.created), backup)
                if when not in seen and len(seen) < count:
                    seen.add(when)
                    found.add(backup.id)
    return found


def _local(moment: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment).astimezone()
