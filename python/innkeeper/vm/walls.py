"""Which walls this host lets guests' processes have: tried, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.machine.spec import EngineChoice, MachineSpec
from innkeeper.vm.jail import Walls, enter
from innkeeper.vm.scratch import place

_PROBE: Final = "import sys; from innkeeper.vm.walls import probe; probe(sys.argv[1])"


def possible() -> Walls:
    """Which walls a guest without a network would have here. Asks another process.

    Raises:
        HostFailure: when one that this kernel has cannot be put up.
    """
    with place() as own:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, str(own)], capture_output=True, text=True, check=False
        )
    try:
        standing, missing = json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.strip().rpartition("\n")[2]
        raise HostFailure(f"no guest's process can be locked in: {said}") from error
    return Walls(standing=tuple(standing), missing=tuple(missing))


def probe(own: str) -> None:
    """Locks this process in, and prints what `possible` wants to know."""
    spec = MachineSpec(kernel=Path(own), devices=(), engine=EngineChoice.TRANSLATOR)
    walls = enter(spec, (Path(own),), None, own)
    print(json.dumps((walls.standing, walls.missing)))
