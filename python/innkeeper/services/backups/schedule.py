"""Units of systemd that make backups again and again, and remove old ones.

Spec: systemd.timer(5), systemd.time(7), systemd.service(5).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.services import units
from innkeeper.services.backups.retention import Rules
from innkeeper.vm.detached.registry import home, registry

_CALENDAR: Final = re.compile(r"[\w*:,./~ -]{1,128}")
# Persistent: what was missed while the host was off is made up for.
_TIMER: Final = """\
# {unit}.timer, made by: inn backup schedule
[Unit]
Description=Innkeeper backups of {guests}

[Timer]
OnCalendar={calendar}
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
"""
_SERVICE: Final = """\
# {unit}.service, made by: inn backup schedule
[Unit]
Description=Innkeeper backup of {guests}

[Service]
Type=oneshot
Environment="INNKEEPER_HOME={home}"
Nice=10
IOSchedulingClass=idle
{commands}
"""


def schedule(
    path: Path,
    guests: Sequence[str],
    *,
    calendar: str,
    passphrase_file: Path,
    memory: bool,
    rules: Rules | None,
) -> dict[str, str]:
    """The texts of a timer and of its service, by the names of their files. `calendar` is as
    systemd.time(7) has it; without `rules`, no backup is removed.

    Raises:
        InvalidInput, GuestNotFound.
    """
    if _CALENDAR.fullmatch(calendar) is None:
        raise InvalidInput(f"{calendar!r} is no time as systemd.time(7) has it, such as daily")
    for guest in guests:
        with registry().open(guest):
            pass
    place, secret = _absolute(path), _absolute(passphrase_file)
    options = f'--passphrase-file "{units.quoted(secret)}"'
    program, where = units.quoted(units.program()), units.quoted(place)
    memory_option = " --memory" if memory else ""
    commands = [
        f'ExecStart="{program}" backup create {options}{memory_option} "{where}" {guest}'
        for guest in guests
    ]
    if rules is not None:
        keep = " ".join(
            f"--keep-{rule.name} {count}"
            for rule in fields(rules)
            if (count := getattr(rules, rule.name))
        )
        chosen = " ".join(f"--guest {guest}" for guest in guests)
        commands.append(f'ExecStart="{program}" backup prune {options} {keep} {chosen} "{where}"')
    unit = f"inn-backup-{'-'.join(guests)}"[:200]
    words = {
        "unit": unit,
        "guests": ", ".join(guests),
        "calendar": calendar,
        "home": units.quoted(home()),
        "commands": "\n".join(commands),
    }
    return {f"{unit}.service": _SERVICE.format(**words), f"{unit}.timer": _TIMER.format(**words)}


def _absolute(path: Path) -> str:
    return os.path.abspath(path.expanduser())
