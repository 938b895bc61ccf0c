"""Statistics: sums over processors, and the way through JSON."""

import json

from innkeeper.vm.statistics import GuestStatistics, HandlerCalls, VcpuStatistics


def told() -> GuestStatistics:
    mov = HandlerCalls(mnemonic="mov", untranslated=1, stood_in=5)
    iret = HandlerCalls(mnemonic="iretq", untranslated=4, stood_in=0)
    first = VcpuStatistics(
        instructions=10,
        exits={"halt": 1, "kick": 2},
        counters={"page walks": 3},
        handlers=(mov, iret),
        seconds={"guest": 0.5, "asleep": 0.25},
    )
    second = VcpuStatistics(
        instructions=20, exits={"halt": 5}, handlers=(iret,), seconds={"asleep": 1.0}
    )
    return GuestStatistics(engine="translator", reason="it was asked for", vcpus=(first, second))


def test_they_are_summed_over_processors() -> None:
    assert list(told().exits.items()) == [("halt", 6), ("kick", 2)]
    assert told().counters == {"page walks": 3}
    assert list(told().seconds.items()) == [("asleep", 1.25), ("guest", 0.5)]
    assert told().handlers == (
        HandlerCalls(mnemonic="iretq", untranslated=8, stood_in=0),
        HandlerCalls(mnemonic="mov", untranslated=1, stood_in=5),
    )


def test_json_brings_them_back() -> None:
    assert GuestStatistics.from_dict(json.loads(json.dumps(told().as_dict()))) == told()
