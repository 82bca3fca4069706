# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why traffic is not to be left untracked on a host, and what would have to be let through for it. Pure."""

import ipaddress
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..ruleset.rules import MASQUERADE, NAT, NEW, PROXY, Packets, Rule, Ruleset
from .flows import CLIENT, FORWARD, LIFELINE, LOOPBACK, SERVER, Flow, Wanted
from .matches import OUTPUT, POSTROUTING, PREROUTING, REPLY, REQUEST, Match, errors, matches
from .walk import Lost, TooMuch, base, lost, packets, reached

Span = Tuple[int, int, int]  # version, first, last address


class Connection(NamedTuple):
    """By which somebody has come to this host."""

    client: str
    client_port: int
    port: int


class Service(NamedTuple):
    """That this host hands on to others, as IPVS does."""

    protocol: str
    port: int
    text: str


class Seen(NamedTuple):
    """What there is on a host, as far as it decides."""

    rules: Ruleset
    owned: Tuple[str, ...] = ()  # tables that only their owner may change
    untold: Tuple[str, ...] = ()  # what could not be read of the rules, in words
    addresses: Tuple[Span, ...] = ()  # of this host
    forwarding: Tuple[int, ...] = ()  # versions of IP of which it forwards packets
    ephemeral: Tuple[int, int] = (32768, 60999)  # ports of connections that are made
    connection: Optional[Connection] = None
    services: Tuple[Service, ...] = ()


class Judged(NamedTuple):
    refusals: List[str]
    lost: List[Lost]  # what is let through where it is to be
    warnings: Tuple[str, ...] = ()


def judged(wanted: Wanted, seen: Seen) -> Judged:
    """What speaks against flows, and where their packets would be lost, each chain once."""
    refusals = ["{0}; nothing is left untracked where rules cannot be read".format(one) for one in seen.untold]
    refusals += [refusal for flow in wanted.flows for refusal in _in_the_way(flow, seen)]
    found: List[Lost] = []
    told: List[Lost] = []  # errors about them
    if not refusals:
        try:
            found, told = _lost(wanted.flows, matches, seen), _lost(wanted.flows, errors, seen)
        except TooMuch:
            refusals.append("the rules of this host are too many to be followed for these flows; name fewer flows")
    if wanted.accept:
        clients = {flow.name: flow for flow in wanted.flows}
        refusals += [refusal for one in found for refusal in _not_acceptable(one, clients[one.match.flow], seen)]
        found += [one for one in told if one.chain.table not in seen.owned]
    else:
        refusals += _once(map(_said, found))
    dropped = [one for one in told if one.match.protocol == "tcp" and one not in found]
    return Judged(_once(refusals), found, tuple(_once(map(_blind, dropped))))


def _lost(flows: Iterable[Flow], kinds: Callable[[Flow], List[Match]], seen: Seen) -> List[Lost]:
    """Each chain once."""
    places: Dict[Tuple[Match, str, str], Lost] = {}
    for flow in flows:
        for match in kinds(flow):
            for one in lost(seen.rules, match, seen.addresses, flow.role == FORWARD):
                places.setdefault((match, one.chain.table, one.chain.name), one)
    return list(places.values())


def _blind(one: Lost) -> str:
    return (
        "{0}: errors of ICMP about its packets, by which TCP learns how long they may be, are dropped by [{1}]: they belong to no "
        "connection that is tracked; notrack_accept=true lets them through there, or allow destination-unreachable and "
        "packet-too-big before it".format(one.match.flow, one.dropped)
    )


def _said(one: Lost) -> str:
    return (
        "{0}: its {1} would be lost: what is not tracked does not meet [{2}], and is dropped by [{3}]; notrack_accept=true lets "
        "exactly these packets through there, or allow them by a rule without state before it".format(
            one.match.flow, _which(one), one.by_state, one.dropped
        )
    )


def _which(one: Lost) -> str:
    return "requests" if one.match.direction == REQUEST else "replies"


def _once(texts: Iterable[str]) -> List[str]:
    return list(dict.fromkeys(texts))


def _not_acceptable(one: Lost, flow: Flow, seen: Seen) -> Iterator[str]:
    if one.chain.table in seen.owned:
        how = "port" if one.match.port == "dport" else "source-port"
        yield (
            "{0}: its {1} would be lost by [{2}], and table {3} belongs to a program that lets nobody else change it: allow them by that "
            "program{4}".format(
                one.match.flow,
                _which(one),
                one.dropped,
                one.chain.table,
                ", as with firewall-cmd --permanent --add-{0}={1}/{2}".format(
                    how, _ports(one.match), one.match.protocol
                )
                if one.match.hook == PREROUTING
                else "",
            )
        )
    if one.match.direction == REPLY and one.match.hook == PREROUTING and one.match.networks is None:
        yield (
            "{0}: its replies would be lost by [{1}]; to let them through, from anywhere, would open every port of {2} to whoever sends "
            "from port {3}: name the networks of the service".format(
                one.match.flow,
                one.dropped,
                "those behind this host" if flow.role == FORWARD else "this host",
                _ports(one.match),
            )
        )


def _ports(match: Match) -> str:
    low, high = match.ports[0]
    return str(low) if low == high else "{0}-{1}".format(low, high)


def _in_the_way(flow: Flow, seen: Seen) -> Iterator[str]:
    for match in matches(flow):
        yield from _connection(flow, match, seen)
        if match.direction == REQUEST:
            yield from _service(flow, match, seen)
        for version in (4, 6):
            rule = _translated(flow, match, seen, version)
            if rule:
                yield "{0}: [{1}] translates addresses in its way, which it does to tracked packets alone{2}".format(
                    flow.name, rule.text, _narrower(flow)
                )
                break
            rule = _proxied(flow, match, seen, version)
            if rule:
                yield "{0}: [{1}] hands its packets to a proxy{2}".format(flow.name, rule.text, _narrower(flow))
                break
            rule = _of_others(flow, match, seen, version)
            if rule:
                yield (
                    "{0}: this host forwards packets of others, containers among them, under its own address [{1}]: replies to "
                    "them could be taken for this flow, and would not find their way back{2}".format(
                        flow.name, rule.text, _narrower(flow)
                    )
                )
                break


def _narrower(flow: Flow) -> str:
    missing = [name for name in ("networks", "interfaces") if not getattr(flow, name)]
    return "; leave the flow out, or narrow it down{0}".format(" by its " + " or ".join(missing) if missing else "")


def _connection(flow: Flow, match: Match, seen: Seen) -> Iterator[str]:
    """Of the connection by which this is asked for."""
    asked = seen.connection
    if asked is None or flow.name == LIFELINE or match.protocol != "tcp":
        return
    client = ipaddress.ip_address(asked.client)
    own = any(version == client.version and low <= int(client) <= high for version, low, high in seen.addresses)
    if own or client.is_loopback:
        if match.interfaces != (LOOPBACK,):
            return
    elif match.hook != PREROUTING or not match.to_host:
        return
    port = asked.port if match.port == "dport" else asked.client_port
    if not any(low <= port <= high for low, high in match.ports):
        return
    if match.networks is None or any(
        client in network for network in match.networks if network.version == client.version
    ):
        yield (
            "{0}: it takes in the connection by which this was asked for, tcp port {1} from {2}; only notrack_lifeline, by the networks "
            "in it, leaves that untracked".format(flow.name, asked.port, asked.client)
        )


def _service(flow: Flow, match: Match, seen: Seen) -> Iterator[str]:
    for service in seen.services:
        if service.protocol == match.protocol and any(low <= service.port <= high for low, high in match.ports):
            yield "{0}: IPVS hands it on to other hosts [{1}]; leave the flow out".format(flow.name, service.text)


def _translated(flow: Flow, match: Match, seen: Seen, version: int) -> Optional[Rule]:
    """The first packet of a flow decides about its addresses."""
    if match.direction != REQUEST:
        return None
    for kinds in packets(match, seen.addresses, flow.role == FORWARD, version):
        for hook, _without, tracked in kinds:
            # A masquerade gives what comes from here an address of this host, which it has.
            verdicts = (NAT,) if match.hook == OUTPUT else (NAT, MASQUERADE)
            for chain in base(seen.rules, hook, version, ("nat",)):
                rule = reached(seen.rules, chain, tracked, verdicts)
                if rule:
                    return rule
    return None


def _proxied(flow: Flow, match: Match, seen: Seen, version: int) -> Optional[Rule]:
    for kinds in packets(match, seen.addresses, flow.role == FORWARD, version):
        for hook, without, tracked in kinds:
            for chain in base(seen.rules, hook, version):
                for found in (without, tracked):
                    rule = reached(seen.rules, chain, found, (PROXY,))
                    if rule:
                        return rule
    return None


def _of_others(flow: Flow, match: Match, seen: Seen, version: int) -> Optional[Rule]:
    """What makes packets of others come from here, to whom replies would be as those of this flow, or as its requests."""
    if version not in seen.forwarding or match.hook != PREROUTING or not match.to_host:
        return None
    narrow = match.of(version)
    if narrow.networks is not None and not narrow.networks:
        return None
    ends = None if narrow.networks is None else [(int(one[0]), int(one[-1])) for one in narrow.networks]
    # The service's port is the far end's of what a client asks; of a server it is the own one, from which connections may be made.
    far = match.ports if flow.role == CLIENT else None
    near = None
    if flow.role == SERVER:
        low, high = seen.ephemeral
        near = [(max(low, first), min(high, last)) for first, last in match.ports if first <= high and last >= low]
        if not near:
            return None
    found = Packets(version, match.protocol, near, far, None, ends, (), match.interfaces or None, False, NEW, None)
    for chain in base(seen.rules, POSTROUTING, version, ("nat",)):
        rule = reached(seen.rules, chain, found, (NAT, MASQUERADE))
        if rule:
            return rule
    return None
