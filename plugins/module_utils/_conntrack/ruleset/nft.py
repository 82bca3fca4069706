# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nft -j list ruleset`` says, as rules. Pure, and total: what is not understood may be met by any packet."""

import ipaddress
import json
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .rules import (
    ACCEPT,
    CONTINUE,
    DROP,
    GOTO,
    JUMP,
    MASQUERADE,
    NAT,
    PROXY,
    RETURN,
    UNTOLD,
    Chain,
    Condition,
    Rule,
    Ruleset,
)

_VERSIONS = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_NUMBERS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite", "th")
_NEGATED = ("!=", "!")
_UNKNOWN = Condition("unknown", ())
_VERDICTS = {
    "accept": ACCEPT,
    "drop": DROP,
    "reject": DROP,
    "return": RETURN,
    "queue": DROP,
    "dnat": NAT,
    "snat": NAT,
    "masquerade": MASQUERADE,
    "redirect": NAT,
    "tproxy": PROXY,
    "synproxy": PROXY,
    "continue": CONTINUE,
}
# Statements by which a rule may end before its verdict.
_DOUBTFUL = ("limit", "quota", "meter", "last", "socket")
# Of one set; what goes beyond is not looked at, and any packet may meet it.
_MOST_ELEMENTS = 200000

Sets = Mapping[Tuple[str, str], Mapping[str, Any]]


class Listing(NamedTuple):
    rules: Ruleset
    owned: List[str]  # tables that nobody but their owner may change
    foreign: List[str]  # tables with rules of iptables, of which nft does not tell all


def read(text: str, ours: str = "") -> Optional[Listing]:
    """None for what is no such listing. Rules whose comment begins with ``ours`` are left out."""
    try:
        items = json.loads(text)["nftables"]
        if not isinstance(items, list):
            return None
        return _read([item for item in items if isinstance(item, dict)], ours)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _read(items: Sequence[Mapping[str, Any]], ours: str) -> Listing:
    found = Listing({}, [], [])
    sets: Dict[Tuple[str, str], Mapping[str, Any]] = {}
    for item in items:
        for kind in ("set", "map"):
            if kind in item:
                sets[_table(item[kind]), "@" + item[kind]["name"]] = item[kind]
        if "table" in item and "owner" in _listed(item["table"].get("flags")):
            found.owned.append(_named(item["table"]))
        if "chain" in item and item["chain"]["family"] in _VERSIONS:
            chain = item["chain"]
            found.rules[_table(chain), chain["name"]] = Chain(
                _table(chain),
                chain["name"],
                _VERSIONS[chain["family"]],
                chain.get("hook", ""),
                chain.get("type", ""),
                _priority(chain.get("prio", 0)),
                chain.get("policy", ACCEPT),
                [],
            )
    for item in items:
        if "rule" in item and (_table(item["rule"]), item["rule"]["chain"]) in found.rules:
            rule = item["rule"]
            if ours and str(rule.get("comment", "")).startswith(ours):
                continue
            if any("xt" in each for each in rule["expr"]) and _table(rule) not in found.foreign:
                found.foreign.append(_table(rule))
            found.rules[_table(rule), rule["chain"]].rules.extend(_rules(rule, sets))
    return found


def _table(item: Mapping[str, Any]) -> str:
    return "{0} {1}".format(item["family"], item["table"])


def _named(item: Mapping[str, Any]) -> str:
    return "{0} {1}".format(item["family"], item["name"])


def _priority(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _rules(rule: Mapping[str, Any], sets: Sets) -> List[Rule]:
    """One, or of a map of verdicts one for each of its elements."""
    text = _text(rule)
    conditions: List[Condition] = []
    for each in rule["expr"]:
        (kind, said), *_more = each.items()
        if kind == "match":
            conditions.extend(_match(said, _table(rule), sets))
        elif kind == "vmap":
            found = list(_mapped(said, _table(rule), sets))
            if found:
                return [Rule(text, [*conditions, *inner], *_verdict(verdict)) for inner, verdict in found]
            conditions.append(_UNKNOWN)
        elif kind in _VERDICTS or kind in ("jump", "goto"):
            return [Rule(text, conditions, *_verdict(each))]
        elif kind == "xt":
            if said.get("type") == "target":
                return [Rule(text, [*conditions, _UNKNOWN], UNTOLD)]
            conditions.append(_UNKNOWN)
        elif kind in _DOUBTFUL or kind == "ct count" or (kind == "set" and isinstance(said, dict) and said.get("stmt")):
            conditions.append(_UNKNOWN)
    return [Rule(text, conditions, CONTINUE)]


def _verdict(said: Mapping[str, Any]) -> Tuple[str, str]:
    (kind, inner), *_more = said.items()
    if kind in ("jump", "goto"):
        return (JUMP if kind == "jump" else GOTO), inner["target"]
    return _VERDICTS.get(kind, UNTOLD), ""


def _mapped(said: Mapping[str, Any], table: str, sets: Sets) -> Iterator[Tuple[List[Condition], Mapping[str, Any]]]:
    """The elements of a map of verdicts, with what each is met by."""
    data = said["data"]
    elements = sets.get((table, data), {}).get("elem") if isinstance(data, str) else data.get("set")
    for element in _listed(elements)[:_MOST_ELEMENTS]:
        key, verdict = element
        yield _equal(said["key"], [key], table, sets), verdict


def _match(said: Mapping[str, Any], table: str, sets: Sets) -> List[Condition]:
    left, right, op = said["left"], said["right"], said["op"]
    negated = op in _NEGATED
    if op in ("<", ">", "<=", ">="):
        return _compared(left, right, op)
    if op not in ("==", "in", *_NEGATED):
        return [_UNKNOWN]
    found = _equal(left, _values(right, table, sets), table, sets)
    if not negated:
        return found
    # The last one is what is asked; those before it say of what kind of packets.
    return [*found[:-1], found[-1]._replace(negated=True)]


def _values(right: Any, table: str, sets: Sets) -> Optional[List[Any]]:
    """None where they are not known."""
    if isinstance(right, str) and right.startswith("@"):
        named = sets.get((table, right))
        if named is None or {"timeout", "dynamic"} & set(_listed(named.get("flags"))):
            return None
        right = {"set": named.get("elem", [])}
    if isinstance(right, dict) and "set" in right:
        return _listed(right["set"])[:_MOST_ELEMENTS]
    return _listed(right)


def _listed(value: Any) -> List[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _compared(left: Any, right: Any, op: str) -> List[Condition]:
    found = _equal(left, [{"range": [0, 0]}], "", {})
    if found[-1].field not in ("sport", "dport") or not isinstance(right, int):
        return [_UNKNOWN]
    span = {"<": (0, right - 1), "<=": (0, right), ">": (right + 1, 65535), ">=": (right, 65535)}[op]
    return [*found[:-1], Condition(found[-1].field, [span])]


def _equal(left: Any, values: Optional[Sequence[Any]], table: str, sets: Sets) -> List[Condition]:
    if values is None or not isinstance(left, dict):
        return [_UNKNOWN]
    values = [each["elem"]["val"] if isinstance(each, dict) and "elem" in each else each for each in values]
    try:
        return _of_kind(left, values, table, sets)
    except (AttributeError, KeyError, TypeError, ValueError):
        return [_UNKNOWN]


def _of_kind(left: Mapping[str, Any], values: Sequence[Any], table: str, sets: Sets) -> List[Condition]:
    (kind, said), *_more = left.items()
    if kind == "concat":
        each = [
            [one for part, value in zip(said, item["concat"]) for one in _equal(part, [value], table, sets)]
            for item in values
        ]
        return [Condition("any", each)]
    if kind == "meta":
        return [_meta(said["key"], values)]
    if kind == "payload":
        return _payload(said["protocol"], said["field"], values)
    if kind == "ct":
        return [_entry(said["key"], _states(values))]
    if kind == "fib" and said.get("result") == "type" and said.get("flags") == ["daddr"]:
        return [Condition("to", values)]
    flags = {"payload": {"protocol": "tcp", "field": "flags"}}
    if kind == "&" and said[0] == flags and _flags(said[1]) >= {"syn", "ack"} and _flags(values) == {"syn"}:
        return [Condition("protocol", ["tcp"]), Condition("opens", ())]
    return [_UNKNOWN]


def _flags(value: Any) -> Set[str]:
    """By their names, which versions of nft put together in one way or another."""
    if isinstance(value, dict):
        value = value.get("|")
    if isinstance(value, list):
        return {flag for one in value for flag in _flags(one)}
    return {str(value)}


def _entry(key: str, values: Sequence[Any]) -> Condition:
    if key == "status" and set(values) <= {"dnat", "snat"}:
        return Condition("translated", ())
    return Condition("state" if key == "state" else "entry", values)


def _states(values: Sequence[Any]) -> List[Any]:
    return [state for value in values for state in _listed(value)]


def _meta(key: str, values: Sequence[Any]) -> Condition:
    if key in ("iifname", "iif", "oifname", "oif"):
        return Condition(key[:3], values)
    if key == "l4proto":
        return Condition("protocol", _protocols(values))
    if key in ("nfproto", "protocol"):
        return Condition("version", [{"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}[value] for value in values])
    return _UNKNOWN


def _protocols(values: Sequence[Any]) -> List[Any]:
    return [_NUMBERS.get(value, value) for value in values]


def _payload(protocol: str, field: str, values: Sequence[Any]) -> List[Condition]:
    if protocol in _PORTS and field in ("sport", "dport"):
        of = [] if protocol == "th" else [Condition("protocol", [protocol])]
        return [*of, Condition(field, [_span(value) for value in values])]
    if protocol in ("ip", "ip6"):
        version = Condition("version", [4 if protocol == "ip" else 6])
        if field in ("saddr", "daddr"):
            return [version, Condition(field, [_address(value) for value in values])]
        if field in ("protocol", "nexthdr"):
            return [version, Condition("protocol", _protocols(values))]
        return [version, _UNKNOWN]
    if protocol in ("icmp", "icmpv6") and field == "type":
        return [Condition("protocol", [protocol]), Condition("error", values)]
    if protocol in ("tcp", "udp", "sctp", "icmp", "icmpv6"):
        return [Condition("protocol", [protocol]), _UNKNOWN]
    return [_UNKNOWN]


def _span(value: Any) -> Tuple[int, int]:
    if isinstance(value, dict):
        low, high = value["range"]
        return int(low), int(high)
    return int(value), int(value)


def _address(value: Any) -> Tuple[int, int, int]:
    if isinstance(value, dict) and "range" in value:
        low, high = map(ipaddress.ip_address, value["range"])
        return low.version, int(low), int(high)
    if isinstance(value, dict):
        network = ipaddress.ip_network("{0}/{1}".format(value["prefix"]["addr"], value["prefix"]["len"]), False)
    else:
        network = ipaddress.ip_network(value)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _text(rule: Mapping[str, Any]) -> str:
    """Where it stands, and what it says, in few words."""
    said = rule.get("comment") or " ".join(_words(rule["expr"]))
    return "table {0}, chain {1}, handle {2}: {3}".format(_table(rule), rule["chain"], rule.get("handle"), said)


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "match" in value:
            match = value["match"]
            yield from _words(match["left"])
            if match["op"] not in ("==", "in"):
                yield match["op"]
            yield from _words(match["right"])
            return
        for name, item in value.items():
            if name not in ("key", "protocol", "field", "payload", "meta", "set", "target", "counter"):
                yield str(name)
            if name != "counter":
                yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif value is not None:
        yield str(value)
