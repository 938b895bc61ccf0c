"""The entry point `inn`. Loading the command line takes part of a second, in which Ctrl-C just ends
it, as it does with any other program, and not with a traceback of half an import."""

import signal


def main() -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from innkeeper.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    command_line.main()
