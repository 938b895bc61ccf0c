"""The entry point `inn`. Loading the command line takes part of a second, in which Ctrl-C just ends
it, as it does with any other program, and not with a traceback of half an import."""

import gc
import signal

# What is collected in the time in which so many objects are made is not worth the search, but for
# a guest that runs for days.
_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    from innkeeper.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    try:
        command_line.main()
    finally:
        # All of it goes now. To look for cycles in it first took a fifth of a short command's time.
        gc.freeze()
