"""`inn host`: what the host has, and what it has promised."""

from dataclasses import asdict

from innkeeper.cli.columns import columns
from innkeeper.cli.output import AsJson, print_json
from innkeeper.machine.limits import format_cpu_limit
from innkeeper.machine.size import format_size
from innkeeper.services import admission, merging
from innkeeper.services.admission import Claim, HostShares

_TITLES = ("GUEST", "CPUS", "LIMIT", "SHARES", "ON", "MEMORY", "PROMISED")


def host(as_json: AsJson = False) -> None:
    """Show the host's processors and memory, and what its running guests were given of them."""
    found = admission.look()
    if as_json:
        sums = {"promised": found.promised, "granted": found.granted, "vcpus": found.vcpus}
        merged = merging.look()
        print_json({**asdict(found), **sums, "merging": merged and asdict(merged)})
        return
    print("\n".join(_summary(found)))
    if found.claims:
        print()
        print("\n".join(columns(_TITLES, [_row(claim) for claim in found.claims])))


def _summary(found: HostShares) -> list[str]:
    return [
        f"processors  {found.cpus}; guests have {found.vcpus}{_over(found.vcpus, found.cpus)}",
        f"memory      {format_size(found.memory)}, {format_size(found.available)} available; "
        f"guests have {format_size(found.granted)}{_over(found.granted, found.memory)}",
        f"promised    {format_size(found.promised)} of {format_size(found.promisable)} that can be"
        f"{_to_others(found.others)}",
        *_merged(found),
    ]


def _to_others(promised: int) -> str:
    return f"; {format_size(promised)} to guests of others" if promised else ""


def _merged(found: HostShares) -> list[str]:
    """Where somebody wants it."""
    state = merging.look()
    if state is None or not (state.saved or any(claim.merges_memory for claim in found.claims)):
        return []
    off = "" if state.on else "; the kernel does not look now: /sys/kernel/mm/ksm/run is not 1"
    return [f"merged      {format_size(state.saved)} saved by {format_size(state.shared)}{off}"]


def _over(given: int, there: int) -> str:
    return f", {given / there:.2g} times as many" if given > there else ""


def _row(claim: Claim) -> tuple[str, ...]:
    return (
        claim.name,
        str(claim.cpus),
        "-" if claim.cpu_limit is None else format_cpu_limit(claim.cpu_limit),
        "-" if claim.cpu_shares is None else str(claim.cpu_shares),
        ",".join(map(str, claim.cpuset)) or "-",
        format_size(claim.memory),
        format_size(claim.memory_min) if claim.memory_min else "-",
    )
