# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's rules, whoever has made them, as far as they decide about a packet; and whether a packet meets a condition. Pure.

What is asked is asked of many packets at once, so that the answer may be that some do. What is not understood may be met by any.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

# Whether packets meet a condition: none of them, some, all.
NONE, SOME, ALL = 0, 1, 2

ACCEPT, DROP, RETURN, JUMP, GOTO, CONTINUE = "accept", "drop", "return", "jump", "goto", "continue"
NAT, MASQUERADE, PROXY, UNTOLD = "nat", "masquerade", "proxy", "untold"

UNTRACKED, NEW, ESTABLISHED, RELATED, INVALID = "untracked", "new", "established", "related", "invalid"
# Errors of ICMP without which a connection hangs or is waited for, by version of IP.
ERRORS = {4: ("destination-unreachable",), 6: ("destination-unreachable", "packet-too-big")}

Span = Tuple[int, int]


class Packets(NamedTuple):
    """Packets of one kind; None for anything."""

    version: int  # of IP
    protocol: str
    sport: Optional[Sequence[Span]]
    dport: Optional[Sequence[Span]]
    saddr: Optional[Sequence[Span]]
    daddr: Optional[Sequence[Span]]
    iif: Optional[Sequence[str]]  # none for what is made here; None for any but the loopback
    oif: Optional[Sequence[str]]
    to_host: bool
    state: str
    opens: Optional[bool]  # whether it is the first of a connection of TCP


class Condition(NamedTuple):
    field: str
    values: Sequence[Any]
    negated: bool = False


class Rule(NamedTuple):
    text: str  # as it is shown
    conditions: Sequence[Condition]
    verdict: str
    target: str = ""


class Chain(NamedTuple):
    table: str  # "inet filter"; of iptables "iptables filter", "ip6tables filter"
    name: str
    versions: Tuple[int, ...]
    hook: str
    kind: str  # filter, route, nat; nothing for a chain that others jump to
    priority: int
    policy: str
    rules: List[Rule]


Ruleset = Dict[Tuple[str, str], Chain]  # by table and name


def matched(rule: Rule, packets: Packets) -> int:
    return min((met(condition, packets) for condition in rule.conditions), default=ALL)


def is_by(rule: Rule, field: str, packets: Packets) -> bool:
    """Whether it depends on this field alone if some packets meet a rule."""
    return all(met(one, packets) == ALL for one in rule.conditions if one.field != field)


def met(condition: Condition, packets: Packets) -> int:
    found = _met(condition.field, condition.values, packets)
    # What has no entry has no mark, helper or status, nor another one.
    if condition.field in ("entry", "translated") and packets.state in (UNTRACKED, INVALID):
        return NONE
    return ALL - found if condition.negated else found


def _met(field: str, values: Sequence[Any], packets: Packets) -> int:
    if field in ("protocol", "version", "state"):
        return ALL if getattr(packets, field) in values else NONE
    if field in ("sport", "dport"):
        return _spans(getattr(packets, field), values, 65536)
    if field in ("saddr", "daddr"):
        own = [(low, high) for version, low, high in values if version == packets.version]
        return _spans(getattr(packets, field), own, 2**32 if packets.version == 4 else 2**128)
    if field in ("iif", "oif"):
        return _names(getattr(packets, field), values)
    if field == "to":
        return _kind(values, packets)
    if field == "translated":
        # Flows that are translated are refused before anything else is asked.
        return NONE
    if field == "opens":
        return SOME if packets.opens is None else ALL if packets.opens else NONE
    if field == "error":
        known = [one in values for one in ERRORS[packets.version]]
        return ALL if all(known) else SOME if any(known) else NONE
    if field == "any":
        return max((min((met(one, packets) for one in each), default=ALL) for each in values), default=NONE)
    return SOME


def _spans(found: Optional[Sequence[Span]], values: Sequence[Any], size: int) -> int:
    merged = _merged(values)
    every = [(0, size - 1)] if found is None else found
    within = [any(low <= first and last <= high for low, high in merged) for first, last in every]
    if all(within):
        return ALL
    meet = any(low <= last and first <= high for low, high in merged for first, last in every)
    return SOME if meet else NONE


def _merged(values: Sequence[Any]) -> List[Span]:
    found: List[Span] = []
    for low, high in sorted(values):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def _names(found: Optional[Sequence[str]], values: Sequence[Any]) -> int:
    names = [str(value) for value in values]
    if found is None:
        if "*" in names:
            return ALL
        return NONE if all(name == "lo" for name in names) else SOME
    known = [any(_named(name, pattern) for pattern in names) for name in found]
    if not known:
        return NONE
    return ALL if all(known) else SOME if any(known) else NONE


def _named(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _kind(values: Sequence[Any], packets: Packets) -> int:
    """Of the type of an address to which packets go."""
    if packets.to_host:
        others = {"broadcast", "multicast"} & set(map(str, values))
        return ALL if "local" in values else SOME if others else NONE
    return ALL if set(values) == {"unicast"} else SOME if "unicast" in values else NONE
