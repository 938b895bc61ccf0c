"""Two hosts on this machine, each with a home, that trust each other and take guests in."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from benches.homes import INN


class Refused(Exception):
    """A command has failed, with these words."""


def inn(
    *words: str | Path, home: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What `inn` prints, in `home` or in the one that this process has.

    Raises:
        Refused: when it fails.
    """
    done = subprocess.run(
        [INN, *words],
        capture_output=True,
        text=True,
        env=_environment(home) | dict(environment or {}),
        check=False,
    )
    if done.returncode != 0:
        raise Refused(f"inn {' '.join(map(str, words))}: {done.stderr}{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def friends(*homes: Path) -> Iterator[None]:
    """They answer, each by TLS under the name of its directory, and trust each other."""
    with contextlib.ExitStack() as stack:
        for home in homes:
            words = [str(INN), "host", "serve", "--listen", "127.0.0.1:0"]
            serving = subprocess.Popen(
                words, stdout=subprocess.PIPE, text=True, env=_environment(home)
            )
            stack.enter_context(serving)
            stack.callback(serving.terminate)
            assert serving.stdout is not None
            address = f"127.0.0.1:{serving.stdout.readline().split()[-1]}"
            pem = home / f"{home.name}.pem"
            pem.write_text(inn("host", "identity", home=home))
            for other in homes:
                if other != home:
                    inn("host", "trust", home.name, pem, "--address", address, home=other)
        yield


def _environment(home: Path | None) -> dict[str, str]:
    return dict(os.environ) | ({} if home is None else {"INNKEEPER_HOME": str(home)})
