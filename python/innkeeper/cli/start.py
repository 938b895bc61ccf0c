"""The entry point `inn`. Loading the command line takes part of a second, in which Ctrl-C just ends
it, as it does with any other program, and not with a traceback of half an import."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

# Where a shell asks what could be typed.
COMPLETING: Final = "_INN_COMPLETE"
# What is collected in the time in which so many objects are made is not worth the search, but for
# a guest that runs for days.
_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    _open_standard_streams()
    run = _directly() or _parsed()
    signal.signal(signal.SIGINT, before)
    try:
        run()
    finally:
        # All of it goes now. To look for cycles in it first took a fifth of a short command's time.
        gc.freeze()


def _directly() -> Callable[[], None] | None:
    """What is asked for, where nothing has to be parsed."""
    if sys.argv[1:2] != ["exec"] or COMPLETING in os.environ:
        return None
    from innkeeper.cli import direct
    from innkeeper.cli.outcome import ended

    command = direct.command(sys.argv[1:])
    return command and (lambda: sys.exit(ended(lambda: direct.execute(*command))))


def _parsed() -> Callable[[], None]:
    from innkeeper.cli.main import main

    return main


def _open_standard_streams() -> None:
    """Those that we were started without: the next file to be opened would become one. An output
    cannot be written to then, as it could not before; what is remarked beside it is lost.
    """
    for stream, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, stream) is None:
            # The lowest number that is free, which is the stream's.
            fd = os.open(os.devnull, flags)
            os.set_inheritable(fd, True)
            setattr(sys, stream, os.fdopen(fd, "r" if stream == "stdin" else "w", closefd=False))
