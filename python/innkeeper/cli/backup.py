"""`inn backup`: guests in a repository of encrypted backups."""

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from innkeeper.cli.columns import ago, columns
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.names import Names, complete_guest, for_each
from innkeeper.cli.output import print_json, remark
from innkeeper.cli.progress import signals_as_exceptions, written
from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine import format_size
from innkeeper.services import backups
from innkeeper.services.backups import Backup, Booted, Pruned, Rules

app = typer.Typer(
    cls=Group,
    help="Backups of guests: deduplicated, compressed, encrypted.",
    no_args_is_help=True,
)

_PASSPHRASE: Final = "INNKEEPER_BACKUP_PASSPHRASE"
_LONGEST: Final = 4096

Repository = Annotated[
    Path, typer.Argument(help="A directory of backups: see inn backup init.", metavar="REPOSITORY")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=f"Where the passphrase is. Else it is ${_PASSPHRASE}, or asked for on the terminal.",
    ),
]
Chosen = Annotated[
    str,
    typer.Argument(help="As in inn backup ls; or a guest, for its newest.", metavar="BACKUP"),
]
Several = Annotated[
    list[str] | None,
    typer.Argument(help="As in inn backup ls; or guests, for their newest.", metavar="BACKUP…"),
]
Guests = Annotated[
    list[str] | None,
    typer.Option(
        "--guest",
        metavar="GUEST",
        help="Only of this one. Repeatable.",
        autocompletion=complete_guest,
    ),
]
Memory = Annotated[
    bool, typer.Option("--memory", help="With its memory, so that it goes on as it was.")
]
Last = Annotated[int, typer.Option("--keep-last", metavar="N", help="The newest N.")]
Daily = Annotated[int, typer.Option("--keep-daily", metavar="N", help="Of each of N days, one.")]
Weekly = Annotated[int, typer.Option("--keep-weekly", metavar="N", help="Of N weeks.")]
Monthly = Annotated[int, typer.Option("--keep-monthly", metavar="N", help="Of N months.")]
Yearly = Annotated[int, typer.Option("--keep-yearly", metavar="N", help="Of N years.")]


@app.command(cls=Command)
def init(repository: Repository, passphrase_file: PassphraseFile = None) -> None:
    """Make a directory a repository of backups.

    What is in it can be read by whoever has the passphrase, and by nobody who has lost it.
    """
    backups.initialise(repository, _passphrase(repository, passphrase_file, new=True))


@app.command(cls=Command)
def create(
    repository: Repository,
    guests: Names,
    memory: Memory = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> int:
    """Add backups of guests, and print their names.

    Guests that run go on: their file systems are frozen for a moment, through their agents. Only
    what the repository does not have yet is written.
    """
    secret = _passphrase(repository, passphrase_file)
    made: list[Backup] = []

    def add(guest: str) -> None:
        with _counted(f"Reading {guest}") as progress:
            backup = backups.create(
                repository,
                secret,
                guest,
                memory=memory,
                progress=progress,
                waiting=_waiting(repository),
            )
        if backup.consistency is backups.Consistency.POWER_CUT:
            remark(f"no agent answers in {guest}: its disks are as after a power cut")
        made.append(backup)
        if not as_json:
            print(backup.name)

    status = for_each(guests, add, silent=True)
    if as_json:
        print_json([_document(backup) for backup in made])
    return status


@app.command("ls", cls=Command)
def list_backups(
    repository: Repository,
    guest: Guests = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> int:
    """List backups, the oldest first."""
    secret = _passphrase(repository, passphrase_file)
    found, damaged = backups.listed(repository, secret, waiting=_waiting(repository))
    shown = [backup for backup in found if not guest or backup.guest in guest]
    for sentence in damaged:
        remark(sentence)
    if as_json:
        print_json([_document(backup) for backup in shown])
    elif shown:
        rows = [
            (
                backup.name,
                backup.guest,
                f"{ago(backup.created)} ago",
                backup.consistency.value,
                format_size(backup.size),
                format_size(backup.written),
            )
            for backup in shown
        ]
        titles = ("NAME", "GUEST", "CREATED", "DISKS", "SIZE", "ADDED")
        print("\n".join(columns(titles, rows)))
    else:
        remark(f"there are no backups in {repository}; inn backup create makes one")
    return 1 if damaged else 0


@app.command(cls=Command)
def restore(
    repository: Repository,
    backup: Chosen,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What it is called; else as it was.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a guest of that name, which is ended.")
    ] = False,
    start: Annotated[bool, typer.Option("--start", help="Start it.")] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Leave its memory, if that was saved: it boots.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a guest of a backup, and print its name.

    Its image comes back as well where it is missing. A guest that was saved with its memory goes
    on at once.
    """
    secret = _passphrase(repository, passphrase_file)
    with _counted("Writing") as progress:
        made = backups.restore(
            repository,
            secret,
            backup,
            name=name,
            force=force,
            begin=start,
            cold=cold,
            progress=progress,
            waiting=_waiting(repository),
        )
    print(made)


@app.command(cls=Command)
def verify(
    repository: Repository,
    which: Several = None,
    boot: Annotated[
        bool,
        typer.Option("--boot", help="Boot each in a guest that is thrown away, without a network."),
    ] = False,
    check: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="With --boot: what is run in it, and must succeed."),
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="With --boot: until it is up, and for the command.")
    ] = "300s",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> int:
    """Read backups, or the whole repository, and name what is not what it was.

    With --boot and no names, the newest backup of each guest is booted.

    [dim]inn backup verify /backups web --boot --check 'systemctl is-active nginx'[/dim]
    """
    if check is not None and not boot:
        raise InvalidInput("--check is for --boot")
    patience = parse_duration(timeout)
    secret = _passphrase(repository, passphrase_file)
    with _counted("Reading") as progress:
        found = backups.verify(
            repository, secret, which or (), progress=progress, waiting=_waiting(repository)
        )
    names = list({backup.guest: backup.name for backup in found.backups}.values())
    names = [backup.name for backup in found.backups] if which else names
    broken = {name for name, _ in found.broken}
    booted = [
        backups.boot(
            repository,
            secret,
            name,
            check=backups.DEFAULT_CHECK if check is None else ("sh", "-c", check),
            patience=patience,
        )
        for name in names
        if boot and name not in broken
    ]
    failed = [each for each in booted if each.status != 0]
    if as_json:
        print_json(
            {
                "backups": [backup.name for backup in found.backups],
                "chunks": found.chunks,
                "damages": list(found.damages),
                "broken": [{"name": name, "files": list(files)} for name, files in found.broken],
                "booted": [
                    {"name": each.backup, "status": each.status, "said": each.said}
                    for each in booted
                ],
            }
        )
    else:
        for sentence in found.damages:
            print(sentence)
        for name, files in found.broken:
            print(f"{name} is broken: {', '.join(files)}")
        for each in booted:
            print(_told(each))
        if found.is_whole:
            count = len(found.backups)
            print(
                "1 backup is what it was" if count == 1 else f"{count} backups are what they were"
            )
    return 0 if found.is_whole and not failed else 1


@app.command(cls=Command)
def repair(
    repository: Repository,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> int:
    """Set aside what is damaged, so that next backups write again what guests still have.

    What was set aside stays in the repository, by a name that begins with damaged. Status 1 while
    backups are broken.
    """
    secret = _passphrase(repository, passphrase_file)
    with _counted("Reading") as progress:
        done = backups.repair(repository, secret, progress=progress, waiting=_waiting(repository))
    if as_json:
        broken = [{"name": name, "files": list(files)} for name, files in done.broken]
        print_json({"set_aside": list(done.set_aside), "broken": broken})
    else:
        for path in done.set_aside:
            print(path)
        for name, files in done.broken:
            remark(f"{name} is broken: {', '.join(files)}")
    return 1 if done.broken else 0


@app.command(cls=Command)
def prune(
    repository: Repository,
    last: Last = 0,
    daily: Daily = 0,
    weekly: Weekly = 0,
    monthly: Monthly = 0,
    yearly: Yearly = 0,
    guest: Guests = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove backups that no rule keeps, and free what only they needed.

    Rules are counted for each guest, and for themselves: what one keeps stays.

    [dim]inn backup prune /backups --keep-daily 7 --keep-weekly 4 --keep-monthly 12[/dim]
    """
    rules = Rules(last=last, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly)
    secret = _passphrase(repository, passphrase_file)
    with _counted("Writing") as progress:
        done = backups.prune(
            repository,
            secret,
            rules,
            guests=guest or (),
            try_only=dry_run,
            progress=progress,
            waiting=_waiting(repository),
        )
    _print_pruned(done, as_json=as_json)


@app.command(cls=Command)
def rm(
    repository: Repository,
    names: Annotated[list[str], typer.Argument(help="As in inn backup ls.", metavar="BACKUP…")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove backups, and free what only they needed; damaged ones by the names of their files."""
    secret = _passphrase(repository, passphrase_file)
    done = backups.remove(repository, secret, names, waiting=_waiting(repository))
    _print_pruned(done, as_json=as_json)


@app.command(cls=Command)
def passphrase(
    repository: Repository,
    passphrase_file: PassphraseFile = None,
    new_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the new passphrase is.")
    ] = None,
) -> None:
    """Change the passphrase of a repository. Nothing else in it is written again."""
    old = _passphrase(repository, passphrase_file)
    if new_file is None:
        new = _asked(f"New passphrase of {repository}", twice=True)
    else:
        new = _in_file(new_file)
    backups.change_passphrase(repository, old, new)


@app.command(cls=Command)
def schedule(
    repository: Repository,
    guests: Names,
    passphrase_file: Annotated[Path, typer.Option(metavar="FILE", help="Where the passphrase is.")],
    every: Annotated[
        str,
        typer.Option(metavar="TIME", help="As systemd.time(7) has it: hourly, Mon..Fri 02:30."),
    ] = "daily",
    directory: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Write them there, not here.")
    ] = None,
    memory: Memory = False,
    last: Last = 0,
    daily: Daily = 0,
    weekly: Weekly = 0,
    monthly: Monthly = 0,
    yearly: Yearly = 0,
) -> None:
    """Print a timer and a service for systemd that make backups again and again.

    With rules as inn backup prune has them, old ones are removed after each.

    [dim]inn backup schedule /backups web --passphrase-file ~/.backups --keep-daily 7
    --directory ~/.config/systemd/user[/dim]

    [dim]systemctl --user enable --now inn-backup-web.timer[/dim]
    """
    rules = Rules(last=last, daily=daily, weekly=weekly, monthly=monthly, yearly=yearly)
    units = backups.schedule(
        repository,
        guests,
        calendar=every,
        passphrase_file=passphrase_file,
        memory=memory,
        rules=rules if rules != Rules() else None,
    )
    if directory is None:
        print("\n".join(units.values()), end="")
        return
    for name, text in units.items():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        except OSError as error:
            raise HostFailure(f"cannot write {directory / name}: {error.strerror}") from error
        print(directory / name)


@contextlib.contextmanager
def _counted(what: str) -> Iterator[Callable[[int], None]]:
    """Takes how many bytes more were seen to, and says so on a terminal."""
    total = 0
    # A guest that is frozen just now shall not stay so.
    with signals_as_exceptions(), written(what) as show:

        def more(count: int) -> None:
            nonlocal total
            # Not for each: a terminal is slower than that.
            if total >> 22 != (total := total + count) >> 22:
                show(total)

        yield more


def _waiting(repository: Path) -> Callable[[], None]:
    return lambda: remark(f"waiting until nobody else works in {repository}")


def _passphrase(repository: Path, file: Path | None, *, new: bool = False) -> str:
    """
    Raises:
        InvalidInput: when there is none.
    """
    if file is not None:
        return _in_file(file)
    if found := os.environ.get(_PASSPHRASE):
        return found
    return _asked(f"Passphrase of {repository}", twice=new)


def _in_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            words = os.fsdecode(opened.read(_LONGEST)).rstrip("\r\n")
    except OSError as error:
        raise InvalidInput(f"cannot read the passphrase in {file}: {error.strerror}") from error
    if not words:
        raise InvalidInput(f"the passphrase in {file} is empty")
    return words


def _asked(question: str, *, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"say where the passphrase is: --passphrase-file FILE, or ${_PASSPHRASE}"
        )
    words = getpass.getpass(f"{question}: ")
    if twice and getpass.getpass("Again: ") != words:
        raise InvalidInput("that was another one")
    return words


def _told(each: Booted) -> str:
    if each.status == 0:
        return f"{each.backup} is up and well, after {each.seconds:.0f} seconds"
    status = "" if each.status is None else f"the check ended with status {each.status}: "
    return f"{each.backup} is not well: {status}{each.said}".rstrip(": ")


def _print_pruned(done: Pruned, *, as_json: bool) -> None:
    if as_json:
        print_json({"removed": list(done.removed), "kept": list(done.kept), "freed": done.freed})
        return
    for name in done.removed:
        print(name)
    remark(f"{len(done.removed)} removed, {len(done.kept)} kept, {format_size(done.freed)} freed")


def _document(backup: Backup) -> dict[str, object]:
    return {
        "name": backup.name,
        "id": backup.id,
        "guest": backup.guest,
        "created": backup.created,
        "disks": backup.consistency.value,
        "size": backup.size,
        "added": backup.written,
        "read": backup.read,
        "image": backup.definition.request.image,
        "digest": backup.digest,
        "files": [{"name": file.name, "size": file.size} for file in backup.files],
    }
