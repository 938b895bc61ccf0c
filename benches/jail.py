"""`make bench-jail`: what code could do that has come out of its guest, in the jail and without it.

    python -m benches.jail

A device plays such code, in the guest's own process (tests.run.escaped). Writes
docs/reference/jail.md.
"""

import os
import platform
import re
import tempfile
from pathlib import Path
from typing import Final

from tests.run.escaped import escape
from tests.run.house import House

from benches.page import table

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "jail.md"
_JAILED: Final = "in the jail"
_WAYS: Final = {
    _JAILED: ("--network", "none"),
    "with a network": ("--network", "user"),
    "--no-jail": ("--network", "none", "--no-jail"),
}
_DONE: Final = "done"
# What it may do all the same.
_MEANT: Final = ("fork", "write its own")


def main() -> None:
    found, walls = {}, []
    for way, options in _WAYS.items():
        found[way], standing = _escape(*options)
        walls += standing if way == _JAILED else []
    PAGE.write_text(_page(found, walls))
    print(PAGE.read_text())
    left = {goal for goal, result in found[_JAILED].items() if result == _DONE} - {*_MEANT}
    if left:
        raise SystemExit(f"the jail did not keep it from: {', '.join(sorted(left))}")


def _escape(*options: str) -> tuple[dict[str, str], list[str]]:
    """What it could do, and the walls that this host lets guests have."""
    with tempfile.TemporaryDirectory() as directory:
        house = House(Path(directory) / "home")
        try:
            found = escape(house, Path(directory), *options)
            return found, house.inspect("other")["jail"]
        finally:
            for name in house.states():
                house("rm", "--force", name)


def _page(found: dict[str, dict[str, str]], walls: list[str]) -> str:
    goals = found[_JAILED]
    rows = [["what it tries", *found]]
    rows += [[goal, *(way[goal] for way in found.values())] for goal in goals]
    refused = sum(result != _DONE for result in goals.values())
    # Which one, is the guest's own affair.
    walls = [re.sub(r"^user \d+$", "a user of its own", wall) for wall in walls]
    who = "root" if os.geteuid() == 0 else "a user without privileges"
    return f"""# What the jail refuses

Made by `make bench-jail` on Linux {platform.release()}, as {who}. A device plays code
that has come out of its guest into the guest's process, and tries what is worth having there:
{len(goals)} things, of which {refused} were refused. The error is the kernel's: whether a system
call is not allowed (EPERM), a file is not to be touched (EACCES, EROFS), or is not in the process's
root at all (ENOENT).

The walls that stood: {"; ".join(walls)}.
What each is for is told in [SECURITY.md](../../SECURITY.md#the-jail).

{chr(10).join(table(rows))}
It can *fork*: so a guest is saved while it goes on, and the copy is in the same jail. It can *write
its own* files, which have no name outside of the guest's own directory.
"""


if __name__ == "__main__":
    main()
