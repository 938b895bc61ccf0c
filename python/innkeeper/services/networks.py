"""Networks that guests share: make, list, look into, remove."""

from dataclasses import dataclass

from innkeeper.images import Member, Network, Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNetwork:
    """A network, its directory, and who has an address in it."""

    network: Network
    directory: str
    members: tuple[Member, ...]


def create(name: str, *, reach_host: bool, isolated: bool) -> Network:
    return Networks().create(Network(name=name, reach_host=reach_host, isolated=isolated))


def listed() -> list[ListedNetwork]:
    networks = Networks()
    return [_listed(networks, network) for network in networks.all()]


def find(name: str) -> ListedNetwork:
    networks = Networks()
    return _listed(networks, networks.find(name))


def remove(name: str) -> None:
    Networks().remove(name)


def names() -> list[str]:
    return [network.name for network in Networks().all()]


def _listed(networks: Networks, network: Network) -> ListedNetwork:
    return ListedNetwork(
        network=network,
        directory=str(networks.directory(network.name)),
        members=tuple(networks.members(network.name)),
    )
