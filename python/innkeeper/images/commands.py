"""Runs the tools that build an image; none of them outlives this process."""

import contextlib
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from innkeeper.errors import ImageBuildFailed


def require(packages: dict[str, str]) -> None:
    """Checks that every program is there; `packages` maps it to its Debian package.

    Raises:
        ImageBuildFailed: naming what to install.
    """
    missing = sorted({package for tool, package in packages.items() if not shutil.which(tool)})
    if missing:
        raise ImageBuildFailed(f"to build images, install {', '.join(missing)}")


def as_root() -> list[str]:
    """What goes before a command that needs root: nothing for root, for others a namespace in which
    they are, and have their subordinate ids as its other users."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto", "--"]


def remove_tree(path: Path) -> None:
    """Deletes a directory that was built in, with the files that belong to subordinate ids."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        with contextlib.suppress(ImageBuildFailed):
            run([*as_root(), "rm", "-rf", "--", str(path)])


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    stdout: IO[bytes] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """The command's standard output; `on_line` sees each line of its standard error as it comes.

    Raises:
        ImageBuildFailed: when it cannot be started or fails, with its last words.
    """
    last: deque[str] = deque(maxlen=4)
    # The kernel ends the tool when we are killed: no tool works on for an image nobody waits for.
    guarded = ["setpriv", "--pdeathsig", "TERM", "--", *argv]
    try:
        process = subprocess.Popen(
            guarded,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE if on_line else subprocess.STDOUT,
        )
    except OSError as error:
        raise ImageBuildFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    stream = process.stderr if on_line else process.stdout
    output = []
    try:
        for raw in stream or ():
            line = raw.decode(errors="replace").rstrip()
            last.append(line)
            output.append(line)
            if on_line:
                on_line(line)
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if status != 0:
        raise ImageBuildFailed(f"{argv[0]} failed with status {status}: {' / '.join(last)}")
    return "\n".join(output)
