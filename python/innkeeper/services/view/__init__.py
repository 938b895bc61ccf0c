"""`inn view`: a page with a guest's screen and console, served to this host's browser."""

from innkeeper.services.view.viewing import View, view

__all__ = ["View", "view"]
