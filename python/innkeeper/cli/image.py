"""`inn image`: the images of this user."""

from dataclasses import asdict
from typing import Annotated

import typer

from innkeeper.cli import warm
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.options import complete_image
from innkeeper.cli.output import print_json, print_table, remark, table
from innkeeper.cli.progress import build_progress
from innkeeper.machine import format_size
from innkeeper.services import images
from innkeeper.services.images import ListedImage

app = typer.Typer(
    cls=Group, help="Images: list, build, import, remove, look into.", no_args_is_help=True
)
app.add_typer(warm.app, name="warm")

Name = Annotated[
    str, typer.Argument(help="Such as debian.", metavar="NAME", autocompletion=complete_image)
]


@app.command("ls", cls=Command)
def list_images(as_json: AsJson = False) -> None:
    """List the images that are built.

    One without a name is there for the kept guests that go on from it.
    """
    found = images.listed()
    if as_json:
        print_json([_document(listed) for listed in found])
        return
    if not found:
        remark("no image is built yet; inn run debian builds one, as does inn image build debian")
        return
    rows = table("NAME", "SYSTEM", "KERNEL", "SIZE", "BUILT (UTC)", "DIGEST", "KEPT GUESTS")
    for listed in found:
        image, manifest = listed.image, listed.image.manifest
        rows.add_row(
            listed.name or "-",
            manifest.system,
            manifest.kernel_release,
            format_size(image.size_on_disk),
            manifest.created[:16].replace("T", " "),
            image.digest[:12],
            ", ".join(listed.guests) or "-",
        )
    print_table(rows)


@app.command(cls=Command)
def build(name: Name, as_json: AsJson = False) -> None:
    """Build an image anew from its distribution's mirrors."""
    with build_progress(name) as report:
        built = images.build(name, report)
    if as_json:
        print_json(_document(built))
    else:
        print(f"{name} {built.image.digest[:12]} {built.image.manifest.system}")


@app.command("import", cls=Command)
def import_(
    reference: Annotated[
        str,
        typer.Argument(
            help="oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG].",
            metavar="IMAGE",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What it is called here, if not as it calls itself."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an image of a container's, with the kernel of the image debian.

    Guests of it have a kernel of their own and run what the container would. inn run does this by
    itself for an image that is named so.

    [dim]inn image import docker-archive:nginx.tar --name nginx[/dim]
    """
    with build_progress(name or "image") as report:
        made = images.import_(reference, name, report)
    if as_json:
        print_json(_document(made))
    else:
        print(f"{made.name} {made.image.digest[:12]} {made.image.manifest.system}")


@app.command(cls=Command)
def rm(name: Name, as_json: AsJson = False) -> None:
    """Remove an image. Guests that run from it are not disturbed.

    Its files stay for as long as a kept guest goes on from them; see inn guest.
    """
    removed = images.remove(name)
    if as_json:
        print_json({"name": name, "digest": removed.image.digest, "guests": list(removed.guests)})
    elif removed.guests:
        guests = ", ".join(removed.guests)
        remark(f"the files of {name} stay while it has kept guests: {guests}")


@app.command(cls=Command)
def inspect(
    name: Name,
    _as_json: Annotated[bool, typer.Option("--json", help="As without it.")] = False,
) -> None:
    """Print all that is known about an image, as JSON."""
    print_json(_document(images.find(name)))


def _document(listed: ListedImage) -> dict[str, object]:
    return {
        **asdict(listed.image.manifest),
        "name": listed.name,
        "digest": listed.image.digest,
        "directory": str(listed.image.directory),
        "size_on_disk": listed.image.size_on_disk,
        "guests": list(listed.guests),
    }
