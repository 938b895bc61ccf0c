"""`make stress`: an hour of compiling and computing by two processors that must not differ.

    python -m benches.stress [--minutes 60] [--engine translator]

In a Debian guest, two workers let csmith invent programs, compile each by gcc without optimization
and with it, and run both: they have to say the same sum, and compiling a program twice has to make
the same bytes. Beside them stress-ng verifies what it computes, sorts and keeps in memory. Ends at
the first difference.
"""

import argparse
import sys
import time
from typing import Final

from benches.homes import a_home
from benches.hosts import Refused, inn

_GUEST: Final = "stress"
_PACKAGES: Final = ("gcc", "libc6-dev", "csmith", "libcsmith-dev", "stress-ng")
# How often it is looked at, and how long a worker may take for a program, in seconds.
_LOOK: Final = 20
_PATIENCE: Final = 600
# Programs that do not end in time say nothing; those that do agree, or are kept.
_WORKER: Final = r"""
set -u
mkdir -p /root/work.$1 && cd /root/work.$1
programs=0
while :; do
    csmith --seed $(($1 * 1000000 + programs)) >p.c 2>/dev/null || exit 3
    gcc -w -O0 -I/usr/include/csmith p.c -o plain || { echo "gcc -O0 fails" >bad; exit 1; }
    gcc -w -O2 -I/usr/include/csmith p.c -o fast || { echo "gcc -O2 fails" >bad; exit 1; }
    gcc -w -O2 -I/usr/include/csmith p.c -o again || { echo "gcc again fails" >bad; exit 1; }
    cmp -s fast again || { echo "the same compiler made other bytes" >bad; exit 1; }
    timeout 10 ./plain >plain.says; one=$?
    timeout 10 ./fast >fast.says; two=$?
    if [ $one -ne 124 ] && [ $two -ne 124 ]; then
        [ $one -eq $two ] && cmp -s plain.says fast.says ||
            { echo "$one, $two differ" >bad; exit 1; }
    fi
    programs=$((programs + 1))
    echo $programs >count.new && mv count.new count
done
"""
_NG: Final = (
    "nice stress-ng --verify --cpu 1 --cpu-method all --matrix 1 --qsort 1 --vm 1 --vm-bytes 64M"
    " --vm-method all --switch 1 --atomic 2 --timeout 0"
)


class Difference(Exception):
    """Something is not what it was."""


def shell(script: str, *words: str) -> str:
    return inn("exec", _GUEST, "sh", "-c", script, "-", *words)


def begin(engine: str) -> None:
    machine = ("--cpus", "2", "--memory", "768M", "--engine", engine)
    inn("run", "--detach", "--name", _GUEST, *machine, "debian")
    inn("wait", "--ready", _GUEST)
    install = "apt-get update && apt-get install -y --no-install-recommends"
    shell(f"DEBIAN_FRONTEND=noninteractive; {install} {' '.join(_PACKAGES)}")
    for worker in ("1", "2"):
        shell("mkdir -p /root/work.$1; echo 0 >/root/work.$1/count", worker)
        shell('setsid sh -c "$1" - "$2" >/run/worker.$2 2>&1 </dev/null &', _WORKER, worker)
    shell(f"cd /tmp; setsid {_NG} >/run/ng 2>&1 </dev/null &")


def look(before: list[int]) -> list[int]:
    """How many programs each worker has done."""
    said = shell("cat /root/work.1/count /root/work.2/count; cat /root/work.?/bad || true")
    if len(said.split()) != 2:
        raise Difference(f"a worker: {said.strip()}")
    # Its own complaints; that a class of work cannot run here is none.
    wrong = shell("grep -E 'fail:|FAILURE|corrupt' /run/ng || true; pgrep -c stress-ng || true")
    if len(wrong.split()) != 1 or wrong.split() == ["0"]:
        raise Difference(f"stress-ng: {wrong}{shell('tail /run/ng')}")
    counts = [int(count) for count in said.split()]
    if any(now < then for now, then in zip(counts, before, strict=True)):
        raise Difference(f"counts went back from {before} to {counts}")
    return counts


def step(before: list[int]) -> list[int]:
    """Waits until one more program is done, and looks."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        time.sleep(_LOOK)
        now = look(before)
        if now > before:
            return now
    raise Difference(f"no program was done in {_PATIENCE} seconds")


def main() -> int:
    parser = argparse.ArgumentParser(prog="stress", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--engine", default="translator")
    options = parser.parse_args()
    counts = [0, 0]
    with a_home():
        try:
            begin(options.engine)
            until = time.monotonic() + 60 * options.minutes
            while time.monotonic() < until:
                counts = step(counts)
                print(f"{sum(counts)} programs", flush=True)
        except (Difference, Refused) as difference:
            print(difference, file=sys.stderr)
            return 1
    print(f"no difference in {options.minutes:g} minutes, {sum(counts)} programs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
