"""A guest's place on a bridge: its address, the queues of its interface, its published ports."""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from innkeeper._core import take_lease
from innkeeper.errors import HostFailure
from innkeeper.machine.network import NetworkSpec
from innkeeper.vm.bridge import host
from innkeeper.vm.bridge.rules import Published

_TUN: Final = "/dev/net/tun"
# Spec: Linux include/uapi/linux/if_tun.h, sockios.h; netdevice(7) for `struct ifreq`.
_TUNSETIFF: Final = 0x400454CA
_TAP: Final = 0x0002 | 0x1000 | 0x4000  # no packet information, virtio headers
_SEVERAL_QUEUES: Final = 0x0100
_SIOCBRADDIF: Final = 0x89A2
_SIOCSIFFLAGS: Final = 0x8914
_UP: Final = 0x1
_IFREQ: Final = struct.Struct("16sh22x")
_IFREQ_INDEX: Final = struct.Struct("16si20x")
# Of queues, as the card has (crates/devices/src/virtio/net.rs).
_MAXIMUM_PAIRS: Final = 16


class Plug:
    """Held by the guest's process. The kernel takes the interface away when the last queue closes.

    Raises from the constructor:
        HostFailure: when the host does not let us, a port is taken, or the guest is there already.
    """

    def __init__(self, network: NetworkSpec, vcpus: int) -> None:
        assert network.directory is not None
        assert network.bridge is not None
        self._network = network
        host.lay(network)
        name, bridge = network.member, network.bridge
        tap = host.tap_name(network.directory, name)
        if host.exists(tap):
            raise HostFailure(f"a guest {name} is in the network already")
        others = [lease.split(" ")[0] for lease in _leases(network.directory)]
        present = [it for it in others if host.exists(host.tap_name(network.directory, it))]
        last = take_lease(network.directory, name, network.mac, present)
        address = bridge.ipv4 + last
        # What the machine is told: its guest's address among the others'.
        self.network = replace(network, bridge=replace(bridge, ipv4=address))
        self.taps: tuple[int, ...] = ()
        try:
            for _ in range(min(vcpus, _MAXIMUM_PAIRS)):
                self.taps += (_queue(tap, several=vcpus > 1),)
            _join(tap, host.interface_name(network.directory))
            if network.ports:
                published = Published(
                    guest=name,
                    tap=tap,
                    ipv4=address,
                    ipv6=_made_of(bridge.ipv6, network.mac),
                    ports=network.ports,
                )
                host.publish(network, published)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Where the process may still do that, also what the guest published goes."""
        for fd in self.taps:
            os.close(fd)
        self.taps = ()
        if self._network.ports:
            with contextlib.suppress(HostFailure):
                host.tidy(self._network)


def _leases(directory: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return (directory / "leases").read_text(errors="replace").splitlines()
    return []


def _queue(tap: str, *, several: bool) -> int:
    try:
        fd = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise HostFailure(f"cannot open {_TUN}: {error.strerror}") from error
    try:
        flags = _TAP | (_SEVERAL_QUEUES if several else 0)
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(tap.encode(), flags))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EPERM:
            raise HostFailure(
                "a guest on a bridge needs the right to administer the host's network "
                "(CAP_NET_ADMIN)"
            ) from error
        raise HostFailure(f"cannot make the interface {tap}: {error.strerror}") from error
    return fd


def _join(tap: str, bridge: str) -> None:
    with contextlib.suppress(OSError):
        # It is the bridge that has addresses.
        Path(f"/proc/sys/net/ipv6/conf/{tap}/disable_ipv6").write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            index = socket.if_nametoindex(tap)
            fcntl.ioctl(asker, _SIOCBRADDIF, _IFREQ_INDEX.pack(bridge.encode(), index))
            fcntl.ioctl(asker, _SIOCSIFFLAGS, _IFREQ.pack(tap.encode(), _UP))
        except OSError as error:
            raise HostFailure(
                f"cannot put {tap} on the bridge {bridge}: {error.strerror}"
            ) from error


def _made_of(prefix: IPv6Address, mac: str) -> IPv6Address:
    """The address that a guest makes up of its card's. Spec: RFC 4291, modified EUI-64."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]))
    return prefix + int.from_bytes(identifier)


# Spec: RFC 903; virtio's header before each frame, with its count of buffers.
_HEADER: Final = bytes(12)
_RARP: Final = bytes.fromhex("8035 0001 0800 06 04 0003")


def announce(taps: tuple[int, ...], mac: str) -> None:
    """Tells all on the bridge that the card of this address is here: RARP, in which a card asks for
    an address of its own. That needs none, and switches listen only to who sends.
    """
    own = bytes.fromhex(mac.replace(":", ""))
    frame = b"\xff" * 6 + own + _RARP + own + bytes(4) + own + bytes(4)
    for tap in taps[:1]:
        # A frame can always be lost, and the guest's own will do as well.
        with contextlib.suppress(OSError):
            os.write(tap, _HEADER + frame.ljust(60, b"\0"))
