"""`inn image`: the images of this user."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from innkeeper.cli.help import Command, Group
from innkeeper.cli.progress import build_progress, wide_console
from innkeeper.cli.run import complete_image
from innkeeper.images import Image
from innkeeper.machine import format_size
from innkeeper.services import images

app = typer.Typer(cls=Group, help="Images: list, build, remove, look into.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="Such as debian.", metavar="NAME", autocompletion=complete_image)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("ls", cls=Command)
def list_images(as_json: AsJson = False) -> None:
    """List the images that are built."""
    found = images.listed()
    if as_json:
        print(json.dumps([_document(image) for image in found], indent=2))
        return
    table = Table("NAME", "SYSTEM", "KERNEL", "SIZE", "BUILT", "DIGEST", box=None, pad_edge=False)
    for image in found:
        manifest = image.manifest
        size = format_size(image.size_on_disk)
        built = manifest.created[:16].replace("T", " ")
        table.add_row(
            image.name, manifest.system, manifest.kernel_release, size, built, image.digest[:12]
        )
    wide_console().print(table)


@app.command(cls=Command)
def build(name: Name) -> None:
    """Build an image anew from its distribution's mirrors."""
    with build_progress(name) as report:
        image = images.build(name, report)
    print(f"{image.name} {image.digest[:12]} {image.manifest.system}")


@app.command(cls=Command)
def rm(name: Name) -> None:
    """Remove an image. Guests that run from it are not disturbed."""
    images.remove(name)


@app.command(cls=Command)
def inspect(name: Name) -> None:
    """Print all that is known about an image, as JSON."""
    print(json.dumps(_document(images.find(name)), indent=2))


def _document(image: Image) -> dict[str, object]:
    return {
        **asdict(image.manifest),
        "name": image.name,
        "digest": image.digest,
        "directory": str(image.directory),
        "size_on_disk": image.size_on_disk,
    }
