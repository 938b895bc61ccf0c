from innkeeper.vm.ending import EndKind, ending


def test_every_way_to_end_has_a_status_and_failures_a_sentence() -> None:
    for kind in EndKind:
        found = ending(kind, code=5, what="reasons")
        assert 0 <= found.status < 256
        quiet = kind in (EndKind.POWER_OFF, EndKind.STOPPED, EndKind.DEVICE_EXIT)
        assert (found.sentence is None) == quiet


def test_distinct_ends_have_distinct_statuses() -> None:
    loud = [EndKind.PANIC, EndKind.TRIPLE_FAULT, EndKind.RESET, EndKind.ENGINE_FAILED]
    assert len({ending(kind).status for kind in loud}) == len(loud)


def test_only_an_end_with_a_sentence_quotes_the_guest() -> None:
    words = ("Kernel panic - not syncing",)
    assert ending(EndKind.PANIC).quoting(words).last_words == words
    assert ending(EndKind.POWER_OFF).quoting(words).last_words == ()


def test_a_device_decides_the_status() -> None:
    assert ending(EndKind.DEVICE_EXIT, code=3).status == 3
