"""python -m benches.soak [--minutes 15] [--seed N]

Stops at the first difference, says which step it was and by which seed it comes again, and leaves
everything where it is.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benches.homes import furnish
from benches.hosts import Refused, friends, inn

_WORKER: Final = Path(__file__).with_name("worker.c")
_MEMORY: Final = 48  # MiB of the guest's that are checked
_BLOCKS: Final = 4096  # of 4 KiB, of its file
_FILE: Final = "/root/soak"
_STATUS: Final = "/run/soak"
_PATIENCE: Final = 120.0
_MOST_SNAPSHOTS: Final = 5
_HOSTS: Final = ("here", "there")
_BOOKS: Final = "/root/books"
# Money goes to and fro; how much there is in all stays. A row more each time, until there are many.
_ACCOUNTS: Final = 100
_OPEN: Final = f"""
    pragma journal_mode = wal;
    create table account (id integer primary key, has integer not null);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < {_ACCOUNTS})
        insert into account select i, 1000 from n;
    create table entry (id integer primary key, at text, note blob);
    create index entry_at on entry (at);
"""
_BOOK: Final = f"""
    begin immediate;
    update account set has = has - 7 where id = 1 + abs(random()) % {_ACCOUNTS};
    update account set has = has + {_ACCOUNTS} * 1000 - (select sum(has) from account)
        where id = 1 + abs(random()) % {_ACCOUNTS};
    insert into entry (at, note) values (hex(randomblob(8)), randomblob(3000));
    delete from entry where id < (select max(id) from entry) - 2000;
    commit;
"""
_AUDIT: Final = "pragma integrity_check; select sum(has) from account;"


class Difference(Exception):
    """Something is not what it was."""


class Soak:
    """One guest, and what is done to it."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self.home = home
        self.chance = chance
        self.host = _HOSTS[0]
        self.guest = "soak"
        self.count = 0
        self.snapshots: list[str] = []
        self.read: list[int] = []

    def inn(self, *words: str) -> str:
        return inn(
            *words, home=self.home / self.host, environment={"INNKEEPER_BACKUP_PASSPHRASE": "soak"}
        )

    def begin(self) -> None:
        worker = self.home / "worker"
        subprocess.run(["cc", "-O2", "-static", "-o", worker, _WORKER], check=True)
        self.inn("backup", "init", str(self.home / "vault"))
        self.inn("run", "--detach", "--name", self.guest, "--memory", "192M", "debian")
        self.inn("wait", "--ready", self.guest)
        self.inn("exec", self.guest, "sh", "-c", "apt-get update && apt-get install -y sqlite3")
        self.inn("cp", str(worker), f"{self.guest}:/usr/local/bin/worker")
        work = ["worker", "run", str(_MEMORY), str(_BLOCKS), _FILE, _STATUS]
        self.inn("exec", self.guest, *work)
        self.inn("exec", self.guest, "sqlite3", _BOOKS, _OPEN)
        book = f'while sqlite3 -cmd ".timeout 60000" {_BOOKS} "$1"; do sleep 0.1; done'
        keep = f"setsid sh -c '{book}' - \"$1\" >/run/books 2>&1 </dev/null &"
        self.inn("exec", self.guest, "sh", "-c", keep, "-", _BOOK)
        self.look(self.guest)

    def look(self, guest: str) -> None:
        """The program in the guest goes on, and has found no difference; its books are right."""
        for count, what in ((self._status, "program"), (self._booked, "bookkeeper")):
            before = count(guest)
            until = time.monotonic() + _PATIENCE
            while count(guest) <= before:
                if time.monotonic() > until:
                    raise Difference(f"the {what} in {guest} does not go on after step {before}")
                time.sleep(0.1)
        self.audit(guest)

    def audit(self, guest: str) -> None:
        said = self._ask(guest, _AUDIT)
        if said.split() != ["ok", str(_ACCOUNTS * 1000)]:
            raise Difference(f"the books in {guest}: {said}")

    def _ask(self, guest: str, question: str) -> str:
        words = ("sqlite3", "-cmd", ".timeout 60000", _BOOKS, question)
        return self.inn("exec", guest, *words)

    def _booked(self, guest: str) -> int:
        return int(self._ask(guest, "select coalesce(max(id), 0) from entry"))

    def _status(self, guest: str) -> int:
        self.inn("wait", "--ready", guest)
        # While it begins, there is none.
        said = self.inn("exec", guest, "sh", "-c", f"cat {_STATUS} 2>/dev/null || echo 0")
        if "DIFFERENCE" in said:
            raise Difference(f"{guest}: {said.strip()}")
        return int(said.split()[0])

    def snapshot(self) -> None:
        self.count += 1
        name = f"s{self.count}"
        self.inn("snapshot", "create", self.guest, name)
        self.snapshots.append(name)
        if len(self.snapshots) > _MOST_SNAPSHOTS:
            gone = self.snapshots.pop(self.chance.randrange(len(self.snapshots)))
            self.inn("snapshot", "rm", self.guest, gone)

    def restore(self) -> None:
        if not self.snapshots:
            return self.snapshot()
        self.inn("snapshot", "restore", self.guest, self.chance.choice(self.snapshots))
        return None

    def fork(self) -> None:
        """And it may be the fork that goes on."""
        self.count += 1
        names = [f"fork-{self.count}-{number}" for number in range(self.chance.randint(1, 3))]
        self.inn("fork", self.guest, *names)
        for name in names:
            self.look(name)
        heir = self.guest
        if self.chance.random() < 0.5:
            heir, self.snapshots = names[0], []
        self.inn("rm", "--force", *({self.guest, *names} - {heir}))
        self.guest = heir

    def back_up(self) -> None:
        """With its memory, or as it boots."""
        self.count += 1
        memory = self.chance.random() < 0.5
        words = ("--memory",) if memory else ()
        vault = str(self.home / "vault")
        (made,) = json.loads(self.inn("backup", "create", vault, self.guest, *words, "--json"))
        self.read.append(made.get("read", 0))
        copy = f"back-{self.count}"
        self.inn("backup", "restore", vault, made["name"], "--name", copy, "--start")
        if memory:
            self.look(copy)
        else:
            self.inn("wait", "--ready", copy)
            said = self.inn("exec", copy, "worker", "look", _FILE)
            if f"{_BLOCKS} blocks are whole" not in said:
                raise Difference(f"{copy}: {said}")
            self.audit(copy)
        self.inn("rm", "--force", copy)

    def move(self) -> None:
        """To the other host. Snapshots stay, so they are done with."""
        there = _HOSTS[1 - _HOSTS.index(self.host)]
        self.inn("migrate", self.guest, there)
        self.inn("rm", "--force", self.guest)
        self.host, self.snapshots = there, []

    def pause(self) -> None:
        self.inn("pause", self.guest)
        time.sleep(self.chance.random())
        self.inn("resume", self.guest)

    def wait(self) -> None:
        time.sleep(3 * self.chance.random())

    def end(self) -> None:
        self.inn("stop", "--timeout", "0", self.guest)
        for image in (self.home / self.host / "guests" / self.guest / "run").glob("disk*.qcow2"):
            self.inn("disk", "check", str(image))
        self.inn("backup", "verify", str(self.home / "vault"))
        self.inn("rm", "--force", self.guest)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="innkeeper-soak-", dir="/var/tmp"))
    homes = [home / host for host in _HOSTS]
    for each in homes:
        furnish(each)
    soak = Soak(home, random.Random(options.seed))
    print(f"seed {options.seed}, {options.minutes:g} minutes, in {home}", flush=True)
    done: dict[str, int] = {}
    step = 0
    until = time.monotonic() + 60 * options.minutes
    acts = [
        *(soak.snapshot, soak.restore, soak.restore, soak.fork),
        *(soak.back_up, soak.move, soak.pause, soak.wait),
    ]
    try:
        with friends(*homes):
            soak.begin()
            while time.monotonic() < until:
                act = soak.chance.choice(acts)
                step += 1
                act()
                soak.look(soak.guest)
                done[act.__name__] = done.get(act.__name__, 0) + 1
            soak.end()
    except (Difference, Refused) as difference:
        print(f"seed {options.seed}, step {step}: {difference}", file=sys.stderr)
        print(f"{home} has all that there was; inn ps --all shows it", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    print(f"no difference in {step} steps: {done}; backups read {soak.read} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
