import pytest

from innkeeper.vm.last_words import LINES, PANIC, WIDTH, last_words


def test_the_last_lines_that_say_something() -> None:
    text = "".join(f"line {n}\r\n\r\n" for n in range(100))
    assert last_words(text, 2) == ("line 98", "line 99")
    assert len(last_words(text)) == LINES
    assert last_words("") == ()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "after"),
        ("\x1bcreset", "reset"),
        ("\x9b31mC1", "C1"),
        ("bell\x07 null\0 delete\x7f", "bell\ufffd null\ufffd delete\ufffd"),
        ("\u202eright to left", "\ufffdright to left"),
        ("a\tb", "a       b"),
        ("cut off \x1b[", "cut off"),
    ],
)
def test_no_control_character_reaches_the_terminal(said: str, shown: str) -> None:
    assert last_words(said) == (shown,)


@pytest.mark.parametrize("after", [0, 5, 100])
def test_the_reason_of_a_panic_is_among_them(after: int) -> None:
    said = [*(f"boot {n}" for n in range(50)), f"{PANIC}: no init"]
    words = last_words("\n".join(said + ["stack"] * after + [f"---[ end {PANIC} ]---"]))
    assert len(words) == LINES
    assert f"{PANIC}: no init" in words
    assert "boot 49" in words


def test_a_line_without_end_is_cut() -> None:
    (line,) = last_words("x" * 1_000_000)
    assert len(line) == WIDTH
