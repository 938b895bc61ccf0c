"""`inn disk`: disk images while no guest has them, and the disks of guests."""

from pathlib import Path
from typing import Annotated, Final

import typer

from innkeeper.cli import disk_snapshot, plug
from innkeeper.cli.disk_documents import check_document, info_document
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import print_json, remark
from innkeeper.cli.progress import byte_progress, signals_as_exceptions
from innkeeper.cli.values import is_nbd
from innkeeper.errors import InvalidInput
from innkeeper.machine import format_size
from innkeeper.machine.new_image import ExistingImage, Export, NewImage
from innkeeper.machine.size import parse_size
from innkeeper.machine.spec import DiskFormat
from innkeeper.services import disks
from innkeeper.services.disks import ConvertedFormat, NewFormat, Repair

app = typer.Typer(
    cls=Group,
    help="Disk images: make, look into, convert, resize, check; give them to guests.",
    no_args_is_help=True,
)

app.add_typer(disk_snapshot.app, name="snapshot")
app.command("attach", cls=Command)(plug.attach_disk)
app.command("detach", cls=Command)(plug.detach_disk)
app.command("ls", cls=Command)(plug.list_disks)

# What a check found wrong, and what it found that is merely lost: as qemu-img has it.
WRONG: Final = 2
LEAKING: Final = 3


def _is_file(path: Path) -> Path:
    """A URI has lost one of its slashes by then."""
    if str(path).startswith(("nbd:/", "nbd+unix:/")):
        raise InvalidInput("that is an NBD server's disk, which inn disk convert and inn run take")
    return path


Path_ = Annotated[Path, typer.Argument(help="The image's file.", metavar="PATH", callback=_is_file)]
Format = Annotated[
    DiskFormat,
    typer.Option("--format", help="How the image is read, where its first bytes do not tell."),
]
New = Annotated[
    NewFormat | None,
    typer.Option("--to", help="Format of the new image: qcow2, but raw where its name ends so."),
]
Converted = Annotated[
    ConvertedFormat | None,
    typer.Option(
        "--to", help="Format of the new image: qcow2, but raw or vmdk where its name ends so."
    ),
]
ClusterSize = Annotated[
    str, typer.Option(metavar="SIZE", help="Of a qcow2: 512 to 2M, a power of two.")
]
Lazy = Annotated[
    bool,
    typer.Option(
        help="Of a qcow2: write counts when it is closed, and count anew after a power cut."
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")]
TrustBacking = Annotated[
    bool,
    typer.Option(
        help="Follow backing files outside the image's directory; only where you trust its maker."
    ),
]


@app.command(cls=Command)
def create(
    path: Path_,
    size: Annotated[
        str | None, typer.Argument(help="Such as 20G; as its backing file's without.")
    ] = None,
    to: New = None,
    backing: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="What the disk shows until it is written to; as seen from the image's directory.",
        ),
    ] = None,
    backing_format: Annotated[DiskFormat, typer.Option(help="The backing file's.")] = (
        DiskFormat.PROBE
    ),
    cluster_size: ClusterSize = "64K",
    lazy_refcounts: Lazy = False,
    preallocate: Annotated[bool, typer.Option(help="Take all storage at once.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make an empty image, or one over a backing file."""
    new = NewImage(
        format=disks.format_for(path, to),
        size=None if size is None else parse_size(size),
        cluster_size=disks.cluster_size(cluster_size),
        lazy_refcounts=lazy_refcounts,
        backing=backing,
        backing_format=backing_format,
        preallocate=preallocate,
        replace=force,
    )
    made = disks.create(path, new)
    if as_json:
        print_json({"path": str(path), "format": new.format.value, "size": made})
    else:
        print(f"{path} {new.format} {format_size(made)}")


@app.command(cls=Command)
def info(
    path: Path_,
    image_format: Format = DiskFormat.PROBE,
    as_json: AsJson = False,
) -> None:
    """Tell what an image is. Its backing file need not be there."""
    found = disks.info(ExistingImage(path=path, format=image_format))
    document = info_document(path, found)
    if as_json:
        print_json(document)
        return
    print(f"{path}: {found.format}, a disk of {format_size(found.size)}")
    print(f"takes {format_size(found.allocated)} of the host's storage")
    if found.cluster_size is not None:
        lazy = ", lazy reference counts" if found.lazy_refcounts else ""
        packed = ", zstd" if found.zstd else ""
        print(
            f"version {found.version}, clusters of {format_size(found.cluster_size)}{lazy}{packed}"
        )
    if found.backing is not None:
        print(f"backing file {found.backing} ({found.backing_format or 'of unknown format'})")
    if found.was_open:
        print("is open, or was not closed: whoever writes to it next puts it in order first")
    for snapshot in found.snapshots:
        print(f"snapshot {snapshot.id} {snapshot.name}, {format_size(snapshot.size)}")


@app.command(cls=Command)
def convert(
    source: Annotated[
        str,
        typer.Argument(help="The image to copy, or an NBD server's URI.", metavar="SOURCE"),
    ],
    target: Annotated[Path, typer.Argument(help="The new image's file.", metavar="TARGET")],
    to: Converted = None,
    source_format: Annotated[
        DiskFormat,
        typer.Option("--from", help="How SOURCE is read, where its first bytes do not tell."),
    ] = DiskFormat.PROBE,
    compress: Annotated[
        bool, typer.Option("--compress", "-c", help="Compress a qcow2's clusters.")
    ] = False,
    cluster_size: ClusterSize = "64K",
    lazy_refcounts: Lazy = False,
    trust_backing: TrustBacking = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Copy a disk of any format into a new image, with its backing files and without its zeros."""
    path = source if is_nbd(source) else Path(source)
    if isinstance(path, Path) and target.exists() and path.exists() and target.samefile(path):
        raise InvalidInput(f"{target} cannot be converted into itself")
    image = ExistingImage(path=path, format=source_format, trust_backing=trust_backing)
    new = NewImage(
        format=disks.format_for(target, to),
        cluster_size=disks.cluster_size(cluster_size),
        lazy_refcounts=lazy_refcounts,
        replace=force,
    )
    with byte_progress(f"converting {source}") as report:
        disks.convert(image, target, new, report, compress=compress)
    found = disks.info(ExistingImage(path=target, format=new.format))
    if as_json:
        print_json(info_document(target, found))
    else:
        print(f"{target} {found.format} {format_size(found.size)}")


@app.command(cls=Command)
def resize(
    path: Path_,
    size: Annotated[str, typer.Argument(help="Such as 20G, or +5G for so much more.")],
    image_format: Format = DiskFormat.PROBE,
    shrink: Annotated[
        bool, typer.Option(help="Let it become smaller; what lies beyond is lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give the disk of an image another size. Its file systems are the guest's to resize."""
    now = disks.resize(ExistingImage(path=path, format=image_format), size, shrink=shrink)
    if as_json:
        print_json({"path": str(path), "size": now})
    else:
        print(f"{path} {format_size(now)}")


@app.command(cls=Command)
def check(
    path: Path_,
    image_format: Format = DiskFormat.PROBE,
    repair: Annotated[
        Repair, typer.Option(help="leaks frees storage that nothing uses; all mends the rest too.")
    ] = Repair.NOTHING,
    as_json: AsJson = False,
) -> None:
    """Check an image's tables. Ends with 2 when they are wrong, with 3 when storage is lost."""
    report = disks.check(ExistingImage(path=path, format=image_format), repair)
    left = report.errors + report.leaks - report.repaired
    if as_json:
        print_json(check_document(path, report))
    else:
        for finding in report.findings:
            remark(finding)
        if report.repaired:
            print(f"{path}: {report.repaired} of {report.errors + report.leaks} put right")
        elif left:
            print(f"{path}: {report.errors} errors, {report.leaks} clusters lost; see --repair")
        else:
            print(f"{path}: nothing wrong")
    if left and report.errors:
        raise typer.Exit(WRONG)
    if left:
        raise typer.Exit(LEAKING)


@app.command(cls=Command)
def serve(
    path: Path_,
    image_format: Format = DiskFormat.PROBE,
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A Unix socket to be made, which only you can use."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address of this host, without --socket.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 is one that is free.", min=0, max=65535)] = (
        10809
    ),
    read_only: Annotated[bool, typer.Option(help="It cannot be written to.")] = False,
    trust_backing: TrustBacking = False,
    once: Annotated[bool, typer.Option(help="End when the last client has gone.")] = False,
) -> None:
    """Let others have a disk by NBD, and print its URI. Whoever can connect has it: no password.

    Ends with Ctrl-C or SIGTERM, when all that was written is on storage.
    """
    image = ExistingImage(path=path, format=image_format, trust_backing=trust_backing)
    export = Export(
        image=image, read_only=read_only, socket=socket, host=host, port=port, once=once
    )
    with signals_as_exceptions():
        disks.serve(export, lambda uri: print(uri, flush=True))
