"""`inn view`: a guest in the browser."""

import contextlib
from typing import Annotated

import typer

from innkeeper.cli.names import Name
from innkeeper.cli.output import remark
from innkeeper.services.view import View
from innkeeper.services.view import view as serve


def view(
    name: Name,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or just print where.")
    ] = True,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where this host has the page; 0 is anywhere.")
    ] = 0,
) -> None:
    """See a guest's screen and console in the browser, until Ctrl-C or its end.

    The address is for this host, and for who knows it: it has a secret in it.
    """

    def ready(url: str) -> None:
        print(url, flush=True)
        if browser:
            import webbrowser

            if not webbrowser.open(url):
                remark("there is no browser here; open that address in one")

    with contextlib.suppress(KeyboardInterrupt):
        serve(name, View(port=port), ready)
