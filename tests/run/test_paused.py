"""Whoever wants something of the agent of a guest that stands still is told so, at once."""

from pathlib import Path

from tests.run.house import House

ASKING = (
    ("exec", "a", "true"),
    ("shell", "a"),
    ("top", "a"),
    ("cp", "a:/etc/hostname", "-"),
    ("cp", "/etc/hostname", "a:/tmp"),
    ("freeze", "a"),
    ("thaw", "a"),
    ("clipboard", "a", "text"),
)


def test_what_needs_the_agent_of_a_paused_guest_is_refused(house: House, halting: Path) -> None:
    house.start("a", halting)
    house("pause", "a")
    for words in ASKING:
        assert house.refuses(*words) == "inn: the guest 'a' is paused: inn resume a\n"


def test_it_is_paused_whether_that_can_be_written_down_or_not(house: House, halting: Path) -> None:
    house.start("a", halting)
    full = house.home / "guests" / "a" / "run" / ".run.json.new"
    full.mkdir()
    assert house("pause", "a") == "a\n"
    assert house.inspect("a")["state"] == "running"
    full.rmdir()
    house.wait_for_state("a", "paused")
    assert '"event": "pause"' in house("events", "--no-follow", "--json")
