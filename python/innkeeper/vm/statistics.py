"""What a guest's engine did, counted: for people, never for decisions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    # Those who only read statistics have no use for the core.
    from innkeeper._core import Statistics as CoreStatistics

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerCalls:
    """How often translated code called the handler of an instruction instead of doing it itself.

    `untranslated`: of forms that have no translation. `stood_in`: of those that have one, which
    could not do it this time (a TLB miss, a device, a fault).
    """

    mnemonic: str
    untranslated: int
    stood_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VcpuStatistics:
    """One virtual processor.

    `instructions` are those that the engine counts: the interpreter's, of which the translator
    runs what is not worth translating. `exits` are by reason, `counters` by name. `seconds` say
    where its thread was, as samples tell, and are empty where that was not asked for.
    """

    instructions: int
    exits: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    handlers: tuple[HandlerCalls, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestStatistics:
    """A guest since it was started. `reason` says in a sentence why it has this engine."""

    engine: str
    reason: str
    vcpus: tuple[VcpuStatistics, ...]

    @classmethod
    def of(cls, told: "CoreStatistics") -> Self:
        vcpus = [
            VcpuStatistics(
                instructions=vcpu.instructions,
                exits=dict(vcpu.exits),
                counters=dict(vcpu.counters),
                handlers=tuple(
                    HandlerCalls(mnemonic=name, untranslated=untranslated, stood_in=stood_in)
                    for name, untranslated, stood_in in vcpu.handlers
                ),
                seconds=dict(vcpu.seconds),
            )
            for vcpu in told.vcpus
        ]
        return cls(engine=told.engine, reason=told.reason, vcpus=tuple(vcpus))

    def as_dict(self) -> dict[str, object]:
        """For JSON; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, object]) -> Self:
        """
        Raises:
            TypeError, OverflowError: when that is nothing which `as_dict` has made.
        """
        vcpus = _of(list, told.get("vcpus"))
        return cls(
            engine=_of(str, told.get("engine")),
            reason=_of(str, told.get("reason")),
            vcpus=tuple(_vcpu(_of(dict, vcpu)) for vcpu in vcpus),
        )

    @property
    def exits(self) -> dict[str, int]:
        """Of all processors, the most frequent first."""
        return dict(_sum(vcpu.exits for vcpu in self.vcpus).most_common())

    @property
    def counters(self) -> dict[str, int]:
        """Of all processors."""
        return dict(_sum(vcpu.counters for vcpu in self.vcpus))

    @property
    def seconds(self) -> dict[str, float]:
        """Of all processors, the longest first."""
        total: dict[str, float] = {}
        for vcpu in self.vcpus:
            for place, seconds in vcpu.seconds.items():
                total[place] = total.get(place, 0.0) + seconds
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    @property
    def handlers(self) -> tuple[HandlerCalls, ...]:
        """Of all processors, the most called first."""
        untranslated, stood_in = Counter[str](), Counter[str]()
        for calls in (calls for vcpu in self.vcpus for calls in vcpu.handlers):
            untranslated[calls.mnemonic] += calls.untranslated
            stood_in[calls.mnemonic] += calls.stood_in
        both = untranslated + stood_in
        return tuple(
            HandlerCalls(mnemonic=name, untranslated=untranslated[name], stood_in=stood_in[name])
            for name, _ in both.most_common()
        )


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def _vcpu(told: Mapping[str, object]) -> VcpuStatistics:
    handlers = _of(list, told.get("handlers", []))
    seconds = _of(dict, told.get("seconds", {}))
    return VcpuStatistics(
        instructions=_of(int, told.get("instructions")),
        exits=_counts(told.get("exits", {})),
        counters=_counts(told.get("counters", {})),
        handlers=tuple(_calls(_of(dict, calls)) for calls in handlers),
        seconds={name: float(_of((int, float), each)) for name, each in seconds.items()},
    )


def _calls(told: Mapping[str, object]) -> HandlerCalls:
    return HandlerCalls(
        mnemonic=_of(str, told.get("mnemonic")),
        untranslated=_of(int, told.get("untranslated")),
        stood_in=_of(int, told.get("stood_in")),
    )


def _counts(told: object) -> dict[str, int]:
    return {name: _of(int, count) for name, count in _of(dict, told).items()}


def _of(kind: type[Told] | tuple[type[Told], ...], told: object) -> Told:
    if not isinstance(told, kind):
        raise TypeError(f"these are no statistics: {told!r:.100}")
    return told
