"""A guest's last words, made harmless: what it printed last must not steer a person's terminal."""

import re
from typing import Final

LINES: Final = 20
PANIC: Final = "Kernel panic - not syncing"
WIDTH: Final = 200  # characters of one line
_LOOKED_AT: Final = 64 * 1024  # characters from the end
# Spec: ECMA-48, "Representation of the control functions"; operating system commands as in
# XTerm Control Sequences.
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)


def last_words(text: str, lines: int = LINES) -> tuple[str, ...]:
    """The last `lines` of `text` that say something, without a control character in them.

    A kernel that panics says why, and then prints its stack and registers, which may be more than
    fits: the lines around the reason are quoted then.
    """
    plain = _ESCAPE.sub("", text[-_LOOKED_AT:])
    spoken = [line.rstrip() for line in plain.splitlines() if line.strip()]
    panic = next((n for n, line in enumerate(spoken) if PANIC in line), len(spoken))
    first = max(0, min(panic - lines // 2, len(spoken) - lines))
    return tuple(_harmless(line) for line in spoken[first : first + lines])


def _harmless(line: str) -> str:
    shown = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line.expandtabs()
    )
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 1]}…"
