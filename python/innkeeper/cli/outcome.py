"""How `inn` ends: every error of ours is one sentence and a documented exit status."""

import os
import sys
from collections.abc import Callable

from innkeeper.cli.output import FAILURE, remark, status_of
from innkeeper.errors import DeviceFailed, InnkeeperError


def ended(do: Callable[[], object]) -> int:
    """The exit status, once `do` has run and all that it printed is written. What it returns is
    one, if it is a number.
    """
    status = _status(do)
    return status if _flushed() else FAILURE


def _status(do: Callable[[], object]) -> int:
    try:
        status = do()
    except InnkeeperError as error:
        status = _explain(error)
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to say, and nobody to say it to.
        _drop_output()
        status = FAILURE
    except OSError as error:
        if _flushed():
            remark(_of_host(error))
        status = FAILURE
    return status if isinstance(status, int) else 0


def _explain(error: InnkeeperError) -> int:
    if isinstance(error, DeviceFailed) and error.details:
        print(error.details, file=sys.stderr)
    remark(str(error))
    return status_of(error)


def _flushed() -> bool:
    """Whether all output is written. If not, it is said why."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if not isinstance(error, BrokenPipeError):
            remark(f"cannot write to standard output: {error.strerror}")
        return False
    return True


def _drop_output() -> None:
    """What could not be written is not tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _of_host(error: OSError) -> str:
    """What nobody has found better words for."""
    reason = error.strerror or str(error)
    what = "the host refuses" if error.filename is None else f"cannot use {error.filename}"
    return f"{what}: {reason}"
