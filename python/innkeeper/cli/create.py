"""`inn create`: make a guest that is started later."""

from innkeeper.cli.made_of import MadeOf, with_guest
from innkeeper.cli.progress import build_progress
from innkeeper.services import lifecycle


@with_guest
def create(made: MadeOf) -> None:
    """Make a guest without starting it; print its name.

    [dim]inn create --name web debian && inn start web[/dim]
    """
    request = made.request()
    with build_progress(made.image or "image") as report:
        print(lifecycle.create(request, report, restart=made.restart, autostart=made.autostart))
