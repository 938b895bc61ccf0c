"""To what a guest can grow while it runs."""

from dataclasses import dataclass

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """`memory` is in bytes. None is as much as it starts with."""

    memory: int | None = None
    vcpus: int | None = None


def validate_vcpu_growth(vcpus: int, growth: Growth, most: int) -> None:
    """Refuses a guest that starts with more processors than it may ever have.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if growth.vcpus is None:
        return
    if vcpus > growth.vcpus:
        raise InvalidInput(
            f"{vcpus} CPUs are more than the {growth.vcpus} that --max-cpus lets the guest have"
        )
    if growth.vcpus > most:
        raise InvalidInput(f"a guest grows to {most} CPUs at most, not to {growth.vcpus}")


def validate_growth(memory: int, growth: Growth, most_memory: int) -> None:
    """Refuses a guest that starts with more than it may ever have.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if growth.memory is None:
        return
    if memory > growth.memory:
        raise InvalidInput(
            f"{format_size(memory)} is more than the {format_size(growth.memory)} "
            "that --max-memory lets the guest have"
        )
    if growth.memory > most_memory:
        raise InvalidInput(
            f"a guest grows to {format_size(most_memory)} of memory at most, "
            f"not to {format_size(growth.memory)}"
        )
    if growth.memory % 4096:
        raise InvalidInput(f"memory is counted in pages of 4 KiB, not {growth.memory} bytes")
