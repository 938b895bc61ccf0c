"""A systemd unit for a guest, so that it comes with the host and goes with it.

Spec: systemd.service(5), systemd.kill(5).
"""

import os
import sys
from typing import Final

from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.registry import registry

# The supervisor restarts the guest, by the guest's own policy. `mixed`: it alone is asked to end,
# asks the guest, and whatever is left after the time is killed with it.
_UNIT: Final = """\
# {name}.service, made by: inn systemd {name}
[Unit]
Description=Innkeeper guest {name}
Wants=network-online.target
After=network-online.target

[Service]
Type=forking
Environment="INNKEEPER_HOME={home}" INNKEEPER_TEMPLATE=0
PIDFile={directory}/{pid}
ExecStart={inn} start {name}
ExecStop={inn} stop --timeout {grace}s {name}
KillMode=mixed
TimeoutStopSec={patience}
Delegate=yes

[Install]
WantedBy={target}
"""


def unit(name: str, *, grace: int, for_system: bool) -> str:
    """The text of a unit, for the user's own systemd or the system's.

    Raises:
        InvalidInput, GuestNotFound.
    """
    with registry().open(name) as home:
        directory = home.path
    return _UNIT.format(
        name=name,
        home=quoted(os.path.dirname(os.path.dirname(directory))),  # noqa: PTH120 - no pathlib
        directory=quoted(directory),
        pid=files.SUPERVISOR_PID,
        inn=quoted(program()),
        grace=grace,
        patience=grace + 20,
        target="multi-user.target" if for_system else "default.target",
    )


def program() -> str:
    """`inn` as it was called now, wherever systemd looks for programs."""
    return os.path.abspath(sys.argv[0])  # noqa: PTH100 - no pathlib


def quoted(text: str) -> str:
    """As it stands between quotes in a unit."""
    # Specifiers, variables, and what ends a quoted word.
    for character, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        text = text.replace(character, written)
    return text
