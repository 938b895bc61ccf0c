"""Disks of a guest that keep what it writes waiting, since the host has no room for it: its machine
has paused itself for them.
"""

import errno
import os

from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.qmp.media import PERIPHERAL
from innkeeper.vm.qmp.server import Server
from innkeeper.vm.running import Control


class FullDisks:
    """Those that are known of."""

    def __init__(self, home: Home) -> None:
        self._home = home
        # With the names of their images.
        self.known: tuple[tuple[str, str], ...] = ()

    def forget(self) -> None:
        """Whoever resumes the guest has what is kept tried again."""
        self.known = ()

    def look(self, control: Control, server: Server) -> bool:
        """Tells of those that are new; whether there were any."""
        before, self.known = self.known, tuple(control.full_disks())
        found = [disk for disk in self.known if disk not in before]
        for disk, image in found:
            server.event(
                "BLOCK_IO_ERROR",
                **{"qom-path": f"{PERIPHERAL}{disk}"},
                device=disk,
                operation="write",
                action="stop",
                nospace=True,
                reason=os.strerror(errno.ENOSPC),
            )
            journal.tell(self._home, "full", disk=disk, file=image)
        return bool(found)

    @property
    def sentence(self) -> str | None:
        """Why the guest is paused, and what to do."""
        if not self.known:
            return None
        images = " and ".join(image for _, image in self.known)
        return f"the host has no room for {images}: make some, then inn resume {self._home.name}"
