"""What may come to a guest by its network and leave it, and how that is written.

A rule is asked about what opens a connection; see `crates/netio/src/firewall.rs`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from innkeeper.errors import InvalidInput

MAXIMUM_RULES: Final = 256
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_EXAMPLE: Final = "in accept tcp from 192.0.2.0/24 port 22"


class Direction(StrEnum):
    """Seen from the guest."""

    IN = "in"
    OUT = "out"


class Action(StrEnum):
    """`reject` tells the sender, `drop` does not."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


class RuleProtocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpec:
    """What is None does not matter. `address`, of which the first `bits` count, is the other end's;
    `ports`, first and last, are of the side that is called: the guest's of what comes in.
    """

    direction: Direction
    action: Action
    protocol: RuleProtocol | None = None
    address: IPv4Address | IPv6Address | None = None
    bits: int = 0
    ports: tuple[int, int] | None = None

    def __str__(self) -> str:
        """As `parse_rule` reads it."""
        words = [self.direction.value, self.action.value]
        if self.protocol is not None:
            words.append(self.protocol.value)
        if self.address is not None:
            whole = self.bits == self.address.max_prefixlen
            peers = str(self.address) if whole else f"{self.address}/{self.bits}"
            words += [_SIDE[self.direction], peers]
        if self.ports is not None:
            first, last = self.ports
            words += ["port", str(first) if first == last else f"{first}-{last}"]
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallSpec:
    """The first rule that fits decides, else `into` and `out`."""

    into: Action = Action.ACCEPT
    out: Action = Action.ACCEPT
    rules: tuple[RuleSpec, ...] = ()


_SIDE: Final = {Direction.IN: "from", Direction.OUT: "to"}
NO_FIREWALL: Final = FirewallSpec()


def parse_rule(text: str) -> RuleSpec:
    """`in|out accept|drop|reject [tcp|udp|icmp] [from|to ADDRESS[/BITS]] [port N[-M]]`

    Raises:
        InvalidInput: when `text` is something else.
    """
    match text.split():
        case [direction, action, *words] if direction in tuple(Direction):
            rule = _Reading(text, Direction(direction), parse_action(action))
        case _:
            raise InvalidInput(f"{text!r} is no rule: it begins with in or out, as {_EXAMPLE!r}")
    return rule.read(words)


class _Reading:
    """One rule, while its words are read."""

    def __init__(self, text: str, direction: Direction, action: Action) -> None:
        self._text = text
        self._direction = direction
        self._action = action

    def read(self, words: list[str]) -> RuleSpec:
        protocol: RuleProtocol | None = None
        address: IPv4Address | IPv6Address | None = None
        bits = 0
        ports: tuple[int, int] | None = None
        while words:
            match words:
                case [name, *words] if name in tuple(RuleProtocol) and protocol is None:
                    protocol = RuleProtocol(name)
                case ["from" | "to" as side, peers, *words] if address is None:
                    self._check_side(side)
                    address, bits = _peers(peers)
                case ["port" | "ports", text, *words] if ports is None:
                    ports = _ports(text)
                case [word, *_]:
                    raise InvalidInput(
                        f"the rule {self._text!r} has no use for {word!r}; a rule is like "
                        f"{_EXAMPLE!r}"
                    )
        if ports is not None and protocol is RuleProtocol.ICMP:
            raise InvalidInput(f"the rule {self._text!r} names a port, and icmp has none")
        return RuleSpec(
            direction=self._direction,
            action=self._action,
            protocol=protocol,
            address=address,
            bits=bits,
            ports=ports,
        )

    def _check_side(self, side: str) -> None:
        right = _SIDE[self._direction]
        if side != right:
            raise InvalidInput(
                f"the rule {self._text!r} is about what goes {self._direction}: its addresses are "
                f"named by {right!r}"
            )


def parse_action(text: str) -> Action:
    """
    Raises:
        InvalidInput: when it is none.
    """
    if text not in tuple(Action):
        raise InvalidInput(f"{text!r} is none of {', '.join(Action)}")
    return Action(text)


def parse_firewall(rules: Iterable[str], default: str = "") -> FirewallSpec:
    """`default` is what holds where no rule fits: `in=drop,out=accept`, or a part of that.

    Raises:
        InvalidInput: when one is nothing that there is.
    """
    defaults = {"in": Action.ACCEPT, "out": Action.ACCEPT}
    for part in filter(None, default.split(",")):
        direction, _, action = part.partition("=")
        if direction not in defaults:
            raise InvalidInput(f"{default!r} is no default; write it like in=drop,out=accept")
        defaults[direction] = parse_action(action)
    found = tuple(parse_rule(text) for text in rules)
    return check_rules(FirewallSpec(into=defaults["in"], out=defaults["out"], rules=found))


def check_rules(firewall: FirewallSpec) -> FirewallSpec:
    """
    Raises:
        InvalidInput: when they are too many.
    """
    if len(firewall.rules) > MAXIMUM_RULES:
        raise InvalidInput(f"a guest has at most {MAXIMUM_RULES} rules, not {len(firewall.rules)}")
    return firewall


def written(firewall: FirewallSpec) -> dict[str, object]:
    """As the control socket has it."""
    rules = [str(rule) for rule in firewall.rules]
    return {"in": firewall.into.value, "out": firewall.out.value, "rules": rules}


def _peers(text: str) -> tuple[IPv4Address | IPv6Address | None, int]:
    if text == "any":
        return None, 0
    try:
        found = ip_network(text.strip("[]"), strict=False)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no address; write it like 192.0.2.7, 192.0.2.0/24 or fd00::/8"
        ) from error
    return found.network_address, found.prefixlen


def _ports(text: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise InvalidInput(f"{text!r} is no port; write it like 22 or 8000-8080")
    return first, last
