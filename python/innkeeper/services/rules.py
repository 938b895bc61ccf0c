"""What may come to a guest by its network and leave it: looked at, and changed while it runs."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from innkeeper.errors import InvalidInput, NotFound
from innkeeper.machine.firewall import (
    Action,
    FirewallSpec,
    RuleSpec,
    check_rules,
    parse_rule,
)
from innkeeper.services import adjust
from innkeeper.services import definition as definitions
from innkeeper.services.request import GuestRequest
from innkeeper.vm.detached.registry import registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where no rule fits; None stays as it is."""

    into: Action | None = None
    out: Action | None = None


def find(name: str) -> FirewallSpec:
    """
    Raises:
        GuestNotFound, HostFailure; InvalidInput: when the guest has no network.
    """
    with registry().open(name) as home:
        return _firewall(definitions.read(home).request, name)


def add(name: str, text: str, at: int | None = None) -> None:
    """Puts a rule before the one that is number `at` now, or behind all.

    Raises:
        GuestNotFound, HostFailure; InvalidInput: when it is no rule, or the guest has no network.
    """
    rule = parse_rule(text)
    _change(name, lambda now: with_rule(now, name, rule, at))


def remove(name: str, which: str) -> None:
    """`which` is a rule's number, or the rule as it is written.

    Raises:
        GuestNotFound, HostFailure; InvalidInput: when there is no such rule.
    """
    _change(name, lambda now: without_rule(now, name, which))


def with_rule(
    firewall: FirewallSpec, name: str, rule: RuleSpec, at: int | None = None
) -> FirewallSpec:
    """As `add`, of the guest of that name.

    Raises:
        InvalidInput: when there is no rule `at`.
    """
    rules = firewall.rules
    before = len(rules) if at is None else _index(name, at, len(rules) + 1)
    return replace(firewall, rules=(*rules[:before], rule, *rules[before:]))


def without_rule(firewall: FirewallSpec, name: str, which: str) -> FirewallSpec:
    """As `remove`, of the guest of that name.

    Raises:
        InvalidInput: when there is no such rule.
    """
    rules = firewall.rules
    if re.fullmatch("[0-9]{1,9}", which):
        index = _index(name, int(which), len(rules))
    elif (rule := parse_rule(which)) in rules:
        index = rules.index(rule)
    else:
        raise NotFound(f"the guest {name!r} has no rule {str(rule)!r}")
    return replace(firewall, rules=rules[:index] + rules[index + 1 :])


def with_defaults(firewall: FirewallSpec, defaults: Defaults) -> FirewallSpec:
    return replace(
        firewall,
        into=firewall.into if defaults.into is None else defaults.into,
        out=firewall.out if defaults.out is None else defaults.out,
    )


def clear(name: str) -> None:
    """Removes all rules. What holds without one stays.

    Raises:
        GuestNotFound, HostFailure; InvalidInput: when the guest has no network.
    """
    _change(name, lambda now: replace(now, rules=()))


def set_defaults(name: str, defaults: Defaults) -> None:
    """
    Raises:
        GuestNotFound, HostFailure; InvalidInput: when the guest has no network.
    """
    _change(name, lambda now: with_defaults(now, defaults))


def _index(name: str, number: int, count: int) -> int:
    if not 1 <= number <= count:
        raise NotFound(f"the guest {name!r} has no rule {number}; see inn network rule ls")
    return number - 1


def _change(name: str, change: Callable[[FirewallSpec], FirewallSpec]) -> None:
    def changed(request: GuestRequest) -> GuestRequest:
        firewall = check_rules(change(_firewall(request, name)))
        assert request.network is not None
        return replace(request, network=replace(request.network, firewall=firewall))

    adjust.adjust(name, changed)


def _firewall(request: GuestRequest, name: str) -> FirewallSpec:
    if request.network is None:
        raise InvalidInput(f"the guest {name!r} has no network, for which rules could be")
    return request.network.firewall
