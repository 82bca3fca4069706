# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic that is not to be tracked, or not for long: what a user asks for, read strictly. Pure.

A flow is told by the service's ports, whoever of both ends this host is; its networks are those of the other end.
"""

import contextlib
import ipaddress
import json
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .. import readers
from ..readers import PolicyError, Wrong, problem, shown

SERVER, CLIENT, FORWARD = "server", "client", "forward"
ROLES = (SERVER, CLIENT, FORWARD)
PROTOCOLS = ("tcp", "udp", "sctp")
# Those whose timeouts nftables can name.
TIMED = ("tcp", "udp")
LOOPBACK = "lo"
LIFELINE = "lifeline"

# Networks of one flow; a table of 70,000 is loaded in two seconds.
MOST_NETWORKS = 100000
MOST_FLOWS = 200
# In a sentence: what is wrong with a list.
_MOST_PROBLEMS = 20

# Goes into a comment of a rule, of which iptables takes 255 characters and nftables 127.
_NAME = re.compile("[a-z][a-z0-9_-]{0,31}")
_INTERFACE = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")

Network = Any  # ipaddress.IPv4Network or IPv6Network
Ports = Tuple[int, int]  # the first and the last
T = TypeVar("T")


class Flow(NamedTuple):
    """Some traffic of a service."""

    name: str
    protocol: str
    ports: Tuple[Ports, ...]
    networks: Optional[Tuple[Network, ...]]  # None for any
    interfaces: Tuple[str, ...]  # none for any but the loopback
    role: str  # what this host is to it
    comment: str = ""
    timeouts: Dict[str, int] = {}  # of one that stays tracked


class Wanted(NamedTuple):
    """What is asked for."""

    flows: Tuple[Flow, ...] = ()
    timed: Tuple[Flow, ...] = ()  # what stays tracked, but not for long
    accept: bool = False
    backend: str = "auto"

    @property
    def is_empty(self) -> bool:
        return not (self.flows or self.timed)


def read(options: Mapping[str, Any]) -> Wanted:
    """By the names of options, without the role's prefix. Raises PolicyError, which has a line for each that will not do."""
    problems: List[str] = []
    simple, wrong = readers.read_each(
        {"notrack_" + name: options.get(name) for name in ("accept", "backend")},
        {"notrack_accept": readers.truth, "notrack_backend": readers.one_of(BACKENDS)},
    )
    problems += wrong.values()
    flows = _list("notrack_flows", options.get("flows"), problems, _flow)
    timed = _list("notrack_timeouts", options.get("timeouts"), problems, _timed)
    networks = _lifeline(options.get("lifeline"), problems)
    ports = _value("notrack_lifeline_ports", options.get("lifeline_ports", [22]), problems, _ports)
    if networks and ports:
        flows.insert(0, Flow(LIFELINE, "tcp", ports, networks, (), SERVER, "ssh to this host"))
    if not problems:
        problems += _among(flows, timed)
    if problems:
        raise PolicyError(problems[:_MOST_PROBLEMS])
    return Wanted(
        tuple(flows), tuple(timed), simple.get("notrack_accept", False), simple.get("notrack_backend", "auto")
    )


BACKENDS = ("auto", "nftables", "iptables")


def _list(
    variable: str,
    value: Any,
    problems: List[str],
    reader: Callable[[str, Mapping[str, Any], List[str]], Optional[Flow]],
) -> List[Flow]:
    """Nothing at all is no flow; what is in the list has to be whole."""
    value = _json(value)
    if value is None or value == "":
        return []
    if not isinstance(value, list) or len(value) > MOST_FLOWS:
        wanted = "expected a list of at most {0} flows, each such as {1}".format(MOST_FLOWS, _EXAMPLE)
        problems.append(problem(variable, value, wanted))
        return []
    found = []
    for place, item in enumerate(value):
        at = "{0}[{1}]".format(variable, place)
        if not isinstance(item, Mapping):
            problems.append(problem(at, item, "expected a mapping such as " + _EXAMPLE))
            continue
        flow = reader(at, item, problems)
        if flow:
            found.append(flow)
    return found


_EXAMPLE = "{name: dns, protocol: udp, ports: [53], role: server}"


def _flow(at: str, item: Mapping[str, Any], problems: List[str], more: Sequence[str] = ()) -> Optional[Flow]:
    known = len(problems)
    for name in item:
        if name not in Flow._fields or (name == "timeouts" and name not in more):
            wanted = "a flow has no such key; it has {0}".format(", ".join([*Flow._fields[:-1], *more]))
            problems.append(problem(at, name, wanted))
    for name in ("name", "protocol", "ports", "role", *more):
        if item.get(name) in (None, ""):
            problems.append("{0}.{1}: it is missing; a flow is such as {2}".format(at, name, _EXAMPLE))
    read: Dict[str, Any] = {
        name: _value("{0}.{1}".format(at, name), item[name], problems, reader)
        for name, reader in _READERS.items()
        if item.get(name) not in (None, "")
    }
    if len(problems) > known:
        return None
    flow = Flow(
        read["name"],
        read["protocol"],
        read["ports"],
        read.get("networks"),
        read.get("interfaces") or (),
        read["role"],
        read.get("comment") or "",
    )
    problems += _alone(at, flow)
    return flow


def _timed(at: str, item: Mapping[str, Any], problems: List[str]) -> Optional[Flow]:
    flow = _flow(at, item, problems, ("timeouts",))
    if flow is None:
        return None
    seconds = _value(at + ".timeouts", item["timeouts"], problems, readers.timeouts())
    if flow.protocol not in TIMED:
        wanted = "nftables has timeouts of their own for flows of {0} alone".format(" and ".join(TIMED))
        problems.append(problem(at + ".protocol", flow.protocol, wanted))
    elif seconds is not None:
        others = sorted(name for name in seconds if name.partition("_")[0] != flow.protocol)
        if others or not seconds:
            wanted = "expected timeouts of {0}, such as {1}".format(flow.protocol, _TIMEOUT[flow.protocol])
            problems.append(problem(at + ".timeouts", others[0] if others else seconds, wanted))
    return flow._replace(timeouts=seconds or {})


_TIMEOUT = {"tcp": "{tcp_time_wait: 10}", "udp": "{udp: 10, udp_stream: 30}"}


def _alone(at: str, flow: Flow) -> List[str]:
    """What does not go together within one flow."""
    found = []
    if flow.name == LIFELINE:
        found.append(problem(at + ".name", flow.name, "notrack_lifeline makes the flow of that name; choose another"))
    if flow.role == FORWARD:
        if flow.networks is None:
            found.append(
                "{0}.networks: it is missing; what goes through this host is told by the networks in which the service is".format(
                    at
                )
            )
        if LOOPBACK in flow.interfaces:
            found.append(problem(at + ".interfaces", LOOPBACK, "nothing goes through this host over the loopback"))
    return found


def _among(flows: Sequence[Flow], timed: Sequence[Flow]) -> List[str]:
    """What does not go together among several."""
    found = []
    names = [flow.name for flow in [*flows, *timed]]
    found += ["{0}: this name is given twice; each flow has its own".format(name) for name in _twice(names)]
    every = [*flows, *timed]
    for place, flow in enumerate(every):
        for other in every[:place]:
            if overlap(flow, other):
                found.append(
                    "{0} and {1} overlap: {2}, the role {3}, and ports, networks and interfaces that both have; "
                    "keep them apart, or make one of them".format(other.name, flow.name, flow.protocol, flow.role)
                )
    return found


def overlap(one: Flow, other: Flow) -> bool:
    """Whether a packet may belong to both."""
    if (one.protocol, one.role) != (other.protocol, other.role):
        return False
    if not any(low <= last and first <= high for low, high in one.ports for first, last in other.ports):
        return False
    if not _meet(one.interfaces, other.interfaces):
        return False
    if one.networks is None or other.networks is None:
        return True
    return _networks_meet(one.networks, other.networks)


def _meet(one: Sequence[str], other: Sequence[str]) -> bool:
    if one and other:
        return bool(set(one) & set(other))
    # Any is any but the loopback.
    return set(one or other) != {LOOPBACK}


def spans(networks: Sequence[Network]) -> List[Tuple[int, int, int]]:
    """Networks as version, first and last address, in their order."""
    return sorted((one.version, int(one.network_address), int(one.broadcast_address)) for one in networks)


def _networks_meet(one: Sequence[Network], other: Sequence[Network]) -> bool:
    """Networks do not cross: either they are apart, or one is within the other."""
    last: Dict[Tuple[int, int], int] = {}
    for version, low, high, whose in sorted(
        [(*span, 0) for span in spans(one)] + [(*span, 1) for span in spans(other)]
    ):
        if last.get((version, 1 - whose), -1) >= low:
            return True
        last[version, whose] = max(high, last.get((version, whose), -1))
    return False


def _twice(names: Sequence[str]) -> List[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _value(at: str, value: Any, problems: List[str], reader: Callable[[Any], T]) -> Optional[T]:
    try:
        return reader(value)
    except Wrong as wrong:
        problems.append(problem(at, value, str(wrong)))
        return None


def _lifeline(value: Any, problems: List[str]) -> Optional[Tuple[Network, ...]]:
    value = _json(value)
    # No network is no lifeline.
    if value is None or value in ("", []):
        return None
    return _value("notrack_lifeline", value, problems, _networks)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Wrong("expected up to 32 lower-case letters, digits, dashes and underscores, the first of them a letter")
    return str(value)


def _ports(value: Any) -> Tuple[Ports, ...]:
    wanted = "expected ports from 1 to 65535, such as [53, 8000-8100]"
    items = _json(value)
    items = items if isinstance(items, list) else [items]
    found = []
    for item in items:
        text = str(item) if isinstance(item, int) and not isinstance(item, bool) else item
        match = _PORTS.fullmatch(text.strip()) if isinstance(text, str) else None
        low, high = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (0, 0)
        if not 1 <= low <= high <= 65535:
            raise Wrong("{0}: {1}".format(shown(item), wanted))
        found.append((low, high))
    if not found:
        raise Wrong(wanted + "; no port is not any port")
    found.sort()
    for (_low, high), (low, _high) in zip(found, found[1:]):
        if low <= high:
            raise Wrong("port {0} is given twice".format(low))
    return tuple(found)


def _networks(value: Any) -> Tuple[Network, ...]:
    items = _json(value)
    if not isinstance(items, list) or not 0 < len(items) <= MOST_NETWORKS:
        raise Wrong(
            "expected a list of 1 to {0} networks, such as [192.0.2.0/24, 2001:db8::/32]; no network is not any network: "
            "leave it out for that".format(MOST_NETWORKS)
        )
    found = [_network(item) for item in items]
    ordered = spans(found)
    for (version, _low, high), (another, low, _high) in zip(ordered, ordered[1:]):
        if version == another and low <= high:
            raise Wrong(
                "{0} is in it twice".format(ipaddress.ip_address(low) if version == 4 else ipaddress.IPv6Address(low))
            )
    return tuple(found)


def _network(item: Any) -> Network:
    if not isinstance(item, str):
        raise Wrong("{0}: expected a network as text, such as 192.0.2.0/24".format(shown(item)))
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(str(item).strip())
    try:
        near = "; did you mean {0}?".format(ipaddress.ip_network(str(item).strip(), False))
    except ValueError:
        near = ""
    raise Wrong("{0}: expected a network, such as 192.0.2.0/24 or 2001:db8::/32{1}".format(shown(item), near))


def _interfaces(value: Any) -> Tuple[str, ...]:
    items = _json(value)
    if not isinstance(items, list) or not items:
        raise Wrong(
            "expected a list of names, such as [eth0]; no interface is not any interface: leave it out for that"
        )
    for item in items:
        if not isinstance(item, str) or not _INTERFACE.fullmatch(item):
            raise Wrong(
                "{0}: expected the name of an interface, such as eth0, of up to 15 characters".format(shown(item))
            )
    for name in _twice(items):
        raise Wrong("{0} is in it twice".format(name))
    return tuple(map(str, items))


def _comment(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
        raise Wrong("expected one line of up to 200 characters")
    return str(value)


_READERS: Dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "protocol": readers.one_of(PROTOCOLS),
    "ports": _ports,
    "networks": _networks,
    "interfaces": _interfaces,
    "role": readers.one_of(ROLES),
    "comment": _comment,
}


def _json(value: Any) -> Any:
    """A list that came as text, as from a command line."""
    if isinstance(value, str) and value.strip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
