"""The entry point `inn`. Loading the command line takes part of a second, in which Ctrl-C just ends
it, as it does with any other program, and not with a traceback of half an import."""

import gc
import os
import signal
import sys

# What is collected in the time in which so many objects are made is not worth the search, but for
# a guest that runs for days.
_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    _open_standard_streams()
    from innkeeper.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    try:
        command_line.main()
    finally:
        # All of it goes now. To look for cycles in it first took a fifth of a short command's time.
        gc.freeze()


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
