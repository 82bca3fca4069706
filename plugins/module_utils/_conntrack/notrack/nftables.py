# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows as a table of nftables, and as rules of one. Pure."""

from typing import Dict, Iterable, List, Mapping, Optional

from ..kernel import TIMEOUTS
from ..ruleset.rules import ERRORS
from .flows import Flow, Network, Ports, Wanted
from .matches import ERROR, OUTPUT, PREROUTING, REPLY, Match, of_flows

TABLE = "inet headroom_notrack"
# Of comments of rules in chains of others, by which they are known again.
MARK = "headroom_notrack"
# Tracking begins at -200: what is not to be tracked stands before it, and what is to have a timeout of its own after it.
RAW, TIMED = -300, -150

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

# The names that nftables has for timeouts of a protocol, by those of this collection.
STATES: Dict[str, Dict[str, str]] = {
    "tcp": {
        "tcp_syn_sent": "syn_sent",
        "tcp_syn_recv": "syn_recv",
        "tcp_established": "established",
        "tcp_fin_wait": "fin_wait",
        "tcp_close_wait": "close_wait",
        "tcp_last_ack": "last_ack",
        "tcp_time_wait": "time_wait",
        "tcp_close": "close",
        "tcp_max_retrans": "retrans",
        "tcp_unacknowledged": "unack",
    },
    "udp": {"udp": "unreplied", "udp_stream": "replied"},
}


def table(wanted: Wanted, live: Mapping[str, int]) -> str:
    """The file that makes the table anew, whatever there is of it. ``live`` are the host's own timeouts, which those states have that
    a flow does not name: nftables would take the kernel's first ones for them."""
    lines = ["table {0}".format(TABLE), "delete table {0}".format(TABLE), "table {0} {{".format(TABLE)]
    for flow in wanted.timed:
        lines += _object(flow, live)
    for hook in (PREROUTING, OUTPUT):
        rules = [rule for match in of_flows(wanted.flows, hook) for rule in _rules(match, "notrack")]
        lines += _chain("", hook, RAW, rules)
    for hook in (PREROUTING, OUTPUT):
        rules = [
            rule
            for flow in wanted.timed
            for match in of_flows([flow], hook)
            for rule in _rules(match, 'ct timeout set "{0}"'.format(flow.name))
        ]
        lines += _chain("timed_", hook, TIMED, rules)
    return "\n".join([*_comments(wanted), *lines, "}", ""])


def _comments(wanted: Wanted) -> List[str]:
    told = ["#   {0}: {1}".format(flow.name, flow.comment) for flow in [*wanted.flows, *wanted.timed] if flow.comment]
    return ["# Made by the role headroom.netfilter.notrack; what is changed here is made anew.", *told]


def _object(flow: Flow, live: Mapping[str, int]) -> List[str]:
    seconds = {
        name: flow.timeouts.get(state, live.get(state, TIMEOUTS[state]))
        for state, name in STATES[flow.protocol].items()
    }
    policy = ", ".join("{0} : {1}".format(name, seconds[name]) for name in seconds)
    return [
        "\tct timeout {0} {{".format(flow.name),
        "\t\tprotocol {0}".format(flow.protocol),
        "\t\tpolicy = {{ {0} }}".format(policy),
        "\t}",
        "",
    ]


def _chain(kind: str, hook: str, priority: int, rules: Iterable[str]) -> List[str]:
    """Nothing for no rules."""
    inner = ["\t\t" + rule for rule in rules]
    if not inner:
        return []
    head = "\t\ttype filter hook {0} priority {1}; policy accept;".format(hook, priority)
    return ["\tchain {0}{1} {{".format(kind, hook), head, *inner, "\t}", ""]


def _rules(match: Match, verdict: str) -> List[str]:
    return [
        '{0} {1} comment "{2}"'.format(expression, verdict, match.flow) for expression in expressions(match, match.hook)
    ]


def accepts(match: Match, hook: str, family: str) -> List[str]:
    """What lets these packets through a chain at a hook of others, of a table of a family: only those that are not tracked, and no
    new connection in place of a reply."""
    versions = {"ip": (4,), "ip6": (6,)}.get(family, (4, 6))
    if match.direction == ERROR:
        return [rule for version in versions for rule in _errors(match, hook, version)]
    flags = "tcp flags & (fin | syn | rst | ack) != syn " if (match.protocol, match.direction) == ("tcp", REPLY) else ""
    found = [each for version in versions for each in expressions(match.of(version), hook, version)]
    return ["{0} {1}ct state untracked accept".format(one, flags) for one in dict.fromkeys(found)]


def _errors(match: Match, hook: str, version: int) -> List[str]:
    """Errors about packets of these ports, which they repeat behind their own eight bytes; its addresses are for the kernel to know."""
    if match.networks is not None and not match.of(version).networks:
        return []
    kind, header, protocol = ("icmp", 20, 9) if version == 4 else ("icmpv6", 40, 6)
    words = [
        *_interfaces(match, hook),
        "{0} type {1}".format(kind, _set(ERRORS[version])),
        "@th,{0},8 {1}".format(8 * (8 + protocol), _PROTOCOLS[match.protocol]),
    ]
    at = 8 * (8 + header) + (16 if match.port == "dport" else 0)
    return [
        " ".join([*words, "@th,{0},16 {1} ct state {{ invalid, untracked }} accept".format(at, _ports(ports))])
        for ports in match.ports
    ]


def expressions(match: Match, hook: str, version: Optional[int] = None) -> List[str]:
    """What these packets are known by, where need be one for each version of IP."""
    words = _interfaces(match, hook)
    if match.to_host is not None and hook == PREROUTING:
        words.append("fib daddr type {0}{{ local, broadcast, multicast }}".format("" if match.to_host else "!= "))
    words.append("{0} {1} {2}".format(match.protocol, match.port, _set(map(_ports, match.ports))))
    if match.networks is None:
        return [" ".join(words)]
    found = []
    for family, number in (("ip", 4), ("ip6", 6)):
        networks = [one for one in match.networks if one.version == number]
        if networks and version in (None, number):
            found.append(" ".join([*words, "{0} {1} {2}".format(family, match.address, _set(map(_network, networks)))]))
    return found


def _interfaces(match: Match, hook: str) -> List[str]:
    key = "oifname" if hook in (OUTPUT, "postrouting") else "iifname"
    if match.interfaces:
        return ["{0} {1}".format(key, _set('"{0}"'.format(name) for name in match.interfaces))]
    return ['{0} != "lo"'.format(key)]


def _set(items: Iterable[str]) -> str:
    return "{{ {0} }}".format(", ".join(items))


def _ports(ports: Ports) -> str:
    low, high = ports
    return str(low) if low == high else "{0}-{1}".format(low, high)


def _network(network: Network) -> str:
    return str(network)
