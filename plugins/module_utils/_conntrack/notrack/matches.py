# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packets belong to a flow, at which hook: what is not tracked. Pure."""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .flows import CLIENT, LOOPBACK, SERVER, Flow, Network, Ports

PREROUTING, INPUT, OUTPUT, FORWARDED, POSTROUTING = "prerouting", "input", "output", "forward", "postrouting"
REQUEST, REPLY, ERROR = "request", "reply", "error"


class Match(NamedTuple):
    """Packets of one direction of a flow; or errors of ICMP about what goes the other way, whose ports are those of what they are
    about."""

    flow: str
    direction: str
    hook: str
    interfaces: Tuple[str, ...]  # through which they come in, or at the output go out; none for any but the loopback
    to_host: Optional[bool]  # whether they are for this host; None where that is no question
    protocol: str
    port: str  # which of both is the service's: sport, dport
    ports: Tuple[Ports, ...]
    address: str  # whose is the other end's: saddr, daddr
    networks: Optional[Tuple[Network, ...]]

    def of(self, version: int) -> "Match":
        """Of one version of IP; of networks there may be none then."""
        if self.networks is None:
            return self
        return self._replace(networks=tuple(one for one in self.networks if one.version == version))


def matches(flow: Flow) -> List[Match]:
    """Both directions of a flow, each at the hook at which a packet is met first."""
    outside = tuple(name for name in flow.interfaces if name != LOOPBACK)
    found: List[Match] = []
    if outside or not flow.interfaces:
        found += _outside(flow, outside)
    if LOOPBACK in flow.interfaces:
        found += _loopback(flow)
    return found


def errors(flow: Flow) -> List[Match]:
    """What says of a flow's packets that they do not arrive: from whoever is on their way."""
    interfaces = tuple(name for name in flow.interfaces if name != LOOPBACK)
    if flow.interfaces and not interfaces:
        return []
    ports = {SERVER: ("sport",), CLIENT: ("dport",)}.get(flow.role, ("dport", "sport"))
    to_host = flow.role in (SERVER, CLIENT)
    return [
        Match(
            flow.name, ERROR, PREROUTING, interfaces, to_host, flow.protocol, port, flow.ports, "saddr", flow.networks
        )
        for port in ports
    ]


def _outside(flow: Flow, interfaces: Tuple[str, ...]) -> Iterator[Match]:
    def match(direction: str, hook: str, to_host: Optional[bool], port: str, address: str) -> Match:
        return Match(
            flow.name, direction, hook, interfaces, to_host, flow.protocol, port, flow.ports, address, flow.networks
        )

    if flow.role == SERVER:
        yield match(REQUEST, PREROUTING, True, "dport", "saddr")
        yield match(REPLY, OUTPUT, None, "sport", "daddr")
    elif flow.role == CLIENT:
        yield match(REQUEST, OUTPUT, None, "dport", "daddr")
        yield match(REPLY, PREROUTING, True, "sport", "saddr")
    else:
        yield match(REQUEST, PREROUTING, False, "dport", "daddr")
        yield match(REPLY, PREROUTING, False, "sport", "saddr")


def _loopback(flow: Flow) -> Iterator[Match]:
    """What this host says to itself is met at the output in both directions."""
    other = {SERVER: ("saddr", "daddr"), CLIENT: ("daddr", "saddr")}[flow.role]
    for direction, port, address in ((REQUEST, "dport", other[0]), (REPLY, "sport", other[1])):
        yield Match(
            flow.name, direction, OUTPUT, (LOOPBACK,), None, flow.protocol, port, flow.ports, address, flow.networks
        )


def of_flows(flows: Sequence[Flow], hook: str) -> List[Match]:
    return [match for flow in flows for match in matches(flow) if match.hook == hook]
