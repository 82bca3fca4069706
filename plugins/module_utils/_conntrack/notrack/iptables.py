# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows as rules of iptables and ip6tables, for hosts without nftables. Pure."""

from typing import List, Sequence

from .flows import Flow, Ports
from .matches import ERROR, OUTPUT, PREROUTING, REPLY, Match, of_flows

# Of each table raw, by the chain of the kernel's that leads there.
CHAINS = {"PREROUTING": "headroom_notrack_in", "OUTPUT": "headroom_notrack_out"}
_HOOKS = {"PREROUTING": PREROUTING, "OUTPUT": OUTPUT}
_ERRORS = {
    4: ["-p icmp -m icmp --icmp-type 3"],
    6: ["-p ipv6-icmp -m icmp6 --icmpv6-type {0}".format(number) for number in (1, 2)],
}
_ENDS = {"saddr": "-s", "daddr": "-d"}
# How many rules a network may make; each packet goes through all of them.
MOST_RULES = 2000


def restored(flows: Sequence[Flow], version: int) -> str:
    """What iptables-restore --noflush, or ip6tables-restore, makes the chains of."""
    lines = ["# Made by the role headroom.netfilter.notrack; what is changed here is made anew.", "*raw"]
    lines += [":{0} - [0:0]".format(chain) for chain in CHAINS.values()]
    for builtin, chain in CHAINS.items():
        for match in of_flows(flows, _HOOKS[builtin]):
            lines += [
                "-A {0} {1} -j CT --notrack".format(chain, rule) for rule in _rules(match, _HOOKS[builtin], version)
            ]
    return "\n".join([*lines, "COMMIT", ""])


def rules_of(flows: Sequence[Flow]) -> int:
    """How many rules there are of one version of IP, at most."""
    return max(restored(flows, version).count("\n-A ") for version in (4, 6))


def accepts(match: Match, hook: str, version: int) -> List[str]:
    """What lets these packets through a chain of others, as nftables.accepts has it; of errors it is not told what they are about."""
    if match.direction == ERROR:
        return [
            '{0} {1} -m conntrack --ctstate INVALID,UNTRACKED -m comment --comment "headroom_notrack {2}" -j ACCEPT'.format(
                interface, kind, match.flow
            )
            for interface in _interfaces(match, hook)
            for kind in _ERRORS[version]
        ]
    flags = "! --syn " if (match.protocol, match.direction) == ("tcp", REPLY) else ""
    return [
        "{0} {1}-m conntrack --ctstate UNTRACKED -j ACCEPT".format(rule, flags) for rule in _rules(match, hook, version)
    ]


def _rules(match: Match, hook: str, version: int) -> List[str]:
    match = match.of(version)
    networks = (
        [""] if match.networks is None else [" {0} {1}".format(_ENDS[match.address], one) for one in match.networks]
    )
    return [
        '{0}{1} -p {2} -m {2} --{3} {4}{5} -m comment --comment "headroom_notrack {6}"'.format(
            interface, network, match.protocol, match.port, _ports(ports), kind, match.flow
        )
        for interface in _interfaces(match, hook)
        for network in networks
        for ports in match.ports
        for kind in _kinds(match, hook, version)
    ]


def _interfaces(match: Match, hook: str) -> List[str]:
    flag = "-o" if hook in (OUTPUT, "postrouting") else "-i"
    return ["{0} {1}".format(flag, name) for name in match.interfaces] or ["! {0} lo".format(flag)]


def _kinds(match: Match, hook: str, version: int) -> List[str]:
    """ip6tables takes several types for one that has to be all of them."""
    if match.to_host is None or hook != PREROUTING:
        return [""]
    if not match.to_host:
        own = "" if version == 6 else ",BROADCAST,MULTICAST"
        return [" -m addrtype ! --dst-type LOCAL" + own]
    return (
        [" -m addrtype --dst-type LOCAL,BROADCAST,MULTICAST"]
        if version == 4
        else [
            " -m addrtype --dst-type LOCAL",
            " -m addrtype --dst-type MULTICAST",
        ]
    )


def _ports(ports: Ports) -> str:
    low, high = ports
    return str(low) if low == high else "{0}:{1}".format(low, high)
