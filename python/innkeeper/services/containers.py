"""Guests of containers' images: what was asked for, once the image is one of ours."""

import socket
from dataclasses import replace

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images import Report, Store, ensure, is_reference
from innkeeper.machine.network import PortSpec, Protocol
from innkeeper.services.request import GuestRequest

_KINDS = {Protocol.TCP: socket.SOCK_STREAM, Protocol.UDP: socket.SOCK_DGRAM}


def settled(request: GuestRequest, report: Report) -> GuestRequest:
    """`request` with an image of the store in place of a reference, and with the ports that the
    image names.

    Raises:
        InvalidInput, ImageBuildFailed, HostFailure: as `images.ensure`.
    """
    if request.image is None:
        return request
    if is_reference(request.image):
        request = replace(request, image=ensure(Store(), request.image, report).name)
    if request.publish_exposed:
        return _published(request, request.image or "", report)
    return request


def _published(request: GuestRequest, name: str, report: Report) -> GuestRequest:
    container = ensure(Store(), name, report).manifest.container
    if container is None:
        raise InvalidInput(f"--publish-all is for a container's image, and {name} is none")
    if request.network is None:
        raise InvalidInput("--publish-all needs a network, and --network is none")
    given = request.network.ports
    known = {(port.guest_port, port.protocol) for port in given}
    wanted = [_port(text) for text in container.ports]
    ports = tuple(_free(*port) for port in wanted if port not in known)
    network = replace(request.network, ports=(*given, *ports))
    return replace(request, network=network, publish_exposed=False)


def _port(text: str) -> tuple[int, Protocol]:
    number, _, protocol = text.partition("/")
    return int(number), Protocol(protocol)


def _free(guest_port: int, protocol: Protocol) -> PortSpec:
    """A port of the host that nobody has now."""
    try:
        with socket.socket(socket.AF_INET, _KINDS[protocol]) as probe:
            probe.bind(("0.0.0.0", 0))
            return PortSpec(
                host_port=probe.getsockname()[1], guest_port=guest_port, protocol=protocol
            )
    except OSError as error:
        raise HostFailure(f"no port of the host is free: {error.strerror}") from error
