"""The benchmarks' arithmetic and their page, without measuring anything."""

import pytest
from benches import page, parallel
from benches.boot import Boot
from benches.page import Results
from benches.pair import Measured
from benches.parallel import Scaling


def results(measures: dict[str, Measured]) -> Results:
    return Results(
        measures=measures,
        engines=("translator",),
        peers=("max", "qemu64"),
        rounds=(3, 1),
        disk={"disk.random_4k": {"translator": 50_000.0}},
        scaling={"host": Scaling(clock=1.5, processor=2.0)},
        boots={"translator": [Boot(to_init=1.0, processor=0.8, peak_memory=64 << 20)]},
        speeds={"translator": 1500},
    )


def measured(host: float, ours: float, tcg: dict[str, float]) -> Measured:
    guests = {"translator": [(ours, host)], **{cpu: [(ns, host)] for cpu, ns in tcg.items()}}
    return Measured(host=[host], guests=guests)


def test_a_ratio_is_the_median_over_pairs() -> None:
    # The second round's neighbour slowed host and guest alike.
    rounds = [(20.0, 10.0), (90.0, 30.0), (21.0, 10.0)]
    it = Measured(host=[10.0, 30.0, 10.0], guests={"translator": rounds})
    assert it.ratio("translator") == pytest.approx(2.1)
    assert it.ns("translator") == 21.0
    assert it.host_ns() == 10.0
    assert it.ratio("interpreter") is None


def test_the_peer_is_the_better_of_its_processors() -> None:
    it = measured(1.0, 2.0, {"max": 30.0, "qemu64": 12.0})
    assert page.peer_ratio(it, ("max", "qemu64")) == 12.0
    assert page.peer_ratio(it, ()) is None


def test_groups_have_geometric_means() -> None:
    two = {
        "int.one": measured(1.0, 2.0, {"max": 4.0}),
        "int.two": measured(1.0, 8.0, {"max": 4.0}),
    }
    row = next(line for line in page.groups(results(two)) if "int:" in line)
    assert row == "| int: integer | 2 | 2.5 | 4.00 | 4.00 |"


def test_the_page_names_what_is_slower_than_the_peer() -> None:
    slow = {"sys.one": measured(1.0, 6.0, {"max": 3.0}), "sys.two": measured(1.0, 2.0, {"max": 3})}
    text = page.page(results(slow))
    assert "Slower under the translator than under QEMU TCG: sys.one (2.0 times)." in text
    assert "| random, 4 KiB, reads a second | 40000 | 50000 |" in text
    assert "| translator | 0.80 | 1.00 | 64 |" in text


def test_scaling_by_processor_time_leaves_out_the_neighbours() -> None:
    # Two threads had one processor between them, and lost nothing by themselves.
    one = parallel.Work(rounds=100.0, seconds=1.0, processor=1.0)
    two = parallel.Work(rounds=100.0, seconds=1.0, processor=1.0)
    scaling = parallel.scaling(one, two)
    assert (scaling.clock, scaling.processor) == (1.0, 2.0)
