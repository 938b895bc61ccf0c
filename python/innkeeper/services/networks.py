"""Networks that guests share: make, list, look into, remove."""

from dataclasses import dataclass

from innkeeper.images import Member, Network, Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNetwork:
    """A network, its directory, and who has an address in it."""

    network: Network
    directory: str
    members: tuple[Member, ...]
    # Of the host, where the network is on a bridge.
    interface: str | None


def create(
    name: str, *, reach_host: bool = False, isolated: bool = False, bridge: bool = False
) -> Network:
    """Makes a network, for `Guest(network=name)`. Its guests reach each other, and the world unless
    it is `isolated`; with `reach_host`, also the host's own services. With `bridge`, which needs
    privilege, it is one of the host's.

    Raises:
        InvalidInput: when it cannot have this name, or there is one already.
        HostFailure: when it cannot be written, or the host does not let us make a bridge.
    """
    networks = Networks()
    subnet = networks.free_subnet() if bridge else None
    made = Network(name=name, reach_host=reach_host, isolated=isolated, bridge=subnet)
    return networks.create(made)


def listed() -> list[ListedNetwork]:
    """All of this user's."""
    networks = Networks()
    return [_listed(networks, network) for network in networks.all()]


def find(name: str) -> ListedNetwork:
    """
    Raises:
        InvalidInput: when there is none.
    """
    networks = Networks()
    return _listed(networks, networks.find(name))


def remove(name: str) -> None:
    """
    Raises:
        InvalidInput: when there is none, or guests are in it.
    """
    Networks().remove(name)


def names() -> list[str]:
    return [network.name for network in Networks().all()]


def _listed(networks: Networks, network: Network) -> ListedNetwork:
    return ListedNetwork(
        network=network,
        directory=str(networks.directory(network.name)),
        members=tuple(networks.members(network.name)),
        interface=networks.interface(network),
    )
