"""What an image says of the commands in its guests."""

from dataclasses import replace

from innkeeper.guest.frames import Exec
from innkeeper.vm.surroundings import Surroundings


def joined(command: Exec, surroundings: Surroundings) -> Exec:
    """`command` with what `surroundings` say where it says nothing."""
    return replace(
        command,
        env={**surroundings.variables, **command.env},
        cwd=command.cwd or surroundings.cwd,
        user=command.user or surroundings.user,
    )
