"""The file descriptors that a machine's serial ports and console are connected to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innkeeper._core import OpenDisk


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Descriptors in this process. The machine duplicates them; closing stays the caller's.

    Without `input` nothing is ever received; without `output` what is sent is lost.
    """

    input: int | None = None
    output: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vsock:
    """The host's side of a virtio socket device; `cid` is the guest's address, 3 or above.

    Programs of the host connect at `listener`, a Unix socket. For connections that the guest makes,
    `outward` is asked; see innkeeper.vm.vsock.
    """

    cid: int = 3
    listener: int | None = None
    outward: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tpm:
    """Sockets of an swtpm, by which it has commands and is controlled; see innkeeper.vm.tpm."""

    data: int
    control: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """`console` is hvc0; `ports` are further virtio-serial ports by name. `taps` are the
    queues of an interface on a bridge, one for each vCPU. `disks` are open already, by their
    URIs, and `plugged` likewise, by their ids, with all that is said of them; so are `media`, by
    the drives that they lie in. What firmware says goes to `firmware_log`.
    """

    com1: Channel | None = None
    com2: Channel | None = None
    console: Channel | None = None
    ports: tuple[tuple[str, Channel], ...] = ()
    vsock: Vsock | None = None
    taps: tuple[int, ...] = ()
    disks: tuple[tuple[str, "OpenDisk"], ...] = ()
    plugged: tuple[tuple[str, "OpenDisk"], ...] = ()
    media: tuple[tuple[str, "OpenDisk"], ...] = ()
    firmware_log: int | None = None
    tpm: Tpm | None = None
