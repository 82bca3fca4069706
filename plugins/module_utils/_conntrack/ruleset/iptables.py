# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iptables-save and ip6tables-save say, as rules. Pure, and total: what is not understood may be met by any packet."""

import contextlib
import ipaddress
import shlex
from typing import List, Sequence, Tuple

from .rules import ACCEPT, CONTINUE, DROP, GOTO, JUMP, MASQUERADE, NAT, PROXY, RETURN, Chain, Condition, Rule, Ruleset

_HOOKS = {name.upper(): name for name in ("prerouting", "input", "forward", "output", "postrouting")}
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_VERDICTS = {
    "ACCEPT": ACCEPT,
    "DROP": DROP,
    "REJECT": DROP,
    "QUEUE": DROP,
    "NFQUEUE": DROP,
    "RETURN": RETURN,
    "DNAT": NAT,
    "SNAT": NAT,
    "MASQUERADE": MASQUERADE,
    "REDIRECT": NAT,
    "NETMAP": NAT,
    "TPROXY": PROXY,
    "SYNPROXY": PROXY,
}
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "33": "dccp", "132": "sctp", "136": "udplite", "ipv6-icmp": "icmpv6"}
_OF_ENTRIES = ("connmark", "connbytes", "connlabel", "helper")
_ADDRESSES = {"-s": "saddr", "--source": "saddr", "-d": "daddr", "--destination": "daddr"}
_INTERFACES = {"-i": "iif", "--in-interface": "iif", "-o": "oif", "--out-interface": "oif"}
_PORTS = {
    "--sport": "sport",
    "--source-port": "sport",
    "--sports": "sport",
    "--source-ports": "sport",
    "--dport": "dport",
    "--destination-port": "dport",
    "--dports": "dport",
    "--destination-ports": "dport",
}
_UNKNOWN = Condition("unknown", ())
# By their numbers, whatever more is asked of their code.
_ERRORS = {"--icmp-type": {"3": "destination-unreachable"}}
_ERRORS["--icmpv6-type"] = {"1": "destination-unreachable", "2": "packet-too-big"}
# Bits of the flags of TCP of which those tell a connection's first packet.
_OPENS = {"SYN", "ACK"}


def read(text: str, version: int, program: str, ours: str = "") -> Ruleset:
    """Tables are called by the program that has them. Rules whose comment begins with ``ours`` are left out."""
    found: Ruleset = {}
    lines: List[Tuple[str, List[str], str]] = []
    table = ""
    for line in text.split("\n"):
        if line.startswith("*"):
            table = "{0} {1}".format(program, line[1:].strip())
        elif line.startswith(":") and table:
            name, policy = (line[1:].split() + ["", ""])[:2]
            kind = table.partition(" ")[2]
            hook = _HOOKS.get(name, "") if policy != "-" else ""
            found[table, name] = Chain(
                table,
                name,
                (version,),
                hook,
                ("nat" if kind == "nat" else "filter") if hook else "",
                _priority(kind, hook),
                DROP if policy == "DROP" else ACCEPT,
                [],
            )
        elif line.startswith(("-A ", "[")) and table:
            words = _split(line.partition("] ")[2] if line.startswith("[") else line)
            if words[:1] == ["-A"] and len(words) > 1:
                lines.append((table, words, line))
    for table, words, line in lines:
        comment = words[words.index("--comment") + 1 :] if "--comment" in words else []
        if (table, words[1]) in found and not (ours and comment and comment[0].startswith(ours)):
            found[table, words[1]].rules.append(_rule(table, words, line, found))
    return found


def _priority(table: str, hook: str) -> int:
    if table == "nat" and hook in ("input", "postrouting"):
        return 100
    return _PRIORITIES.get(table, 0)


def _split(line: str) -> List[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _rule(table: str, words: Sequence[str], line: str, chains: Ruleset) -> Rule:
    conditions: List[Condition] = []
    text = "table {0}: {1}".format(table, line)
    module, place, negated = "", 2, False
    while place < len(words):
        word = words[place]
        values = []
        after = place + 1
        while (
            after < len(words) and not (words[after].startswith("-") and len(words[after]) > 1) and words[after] != "!"
        ):
            values.append(words[after])
            after += 1
        if word == "!":
            negated, place = True, place + 1
            continue
        if word in ("-j", "--jump", "-g", "--goto"):
            target = values[0] if values else ""
            if target in _VERDICTS:
                return Rule(text, conditions, _VERDICTS[target])
            if (table, target) in chains:
                return Rule(text, conditions, JUMP if word in ("-j", "--jump") else GOTO, target)
            return Rule(text, conditions, CONTINUE)
        if word in ("-m", "--match"):
            module = values[0] if values else ""
            if module in _OF_ENTRIES:
                conditions.append(Condition("entry", ()))
        elif word not in ("--comment", "-c", "--set-counters"):
            conditions += [
                one._replace(negated=not one.negated) if negated else one for one in _conditions(word, values, module)
            ]
        negated, place = False, after
    return Rule(text, conditions, CONTINUE)


def _conditions(word: str, values: Sequence[str], module: str) -> List[Condition]:
    value = values[0] if values else ""
    with contextlib.suppress(IndexError, ValueError):
        if word in ("-p", "--protocol"):
            return [] if value == "all" else [Condition("protocol", [_NUMBERS.get(value, value)])]
        if word in _ADDRESSES:
            return [Condition(_ADDRESSES[word], [_address(one) for one in value.split(",")])]
        if word in _INTERFACES:
            return [Condition(_INTERFACES[word], [value[:-1] + "*" if value.endswith("+") else value])]
        if word in _PORTS:
            return [Condition(_PORTS[word], [_span(one) for one in value.split(",")])]
        if word == "--ports":
            spans = [_span(one) for one in value.split(",")]
            return [Condition("any", [[Condition("sport", spans)], [Condition("dport", spans)]])]
        if word in ("--state", "--ctstate"):
            # DNAT and SNAT among them, which nothing has that is asked of here.
            return [Condition("state", value.lower().split(","))]
        if module == "conntrack" and word.startswith("--ct"):
            return [Condition("entry", ())]
        if word in _ERRORS and "/" not in value:
            return [] if value == "any" else [Condition("error", [_ERRORS[word].get(value, value)])]
        if word == "--dst-type":
            return [Condition("to", value.lower().split(","))]
        if word == "--tcp-flags" and set(value.split(",")) >= _OPENS and values[1:] == ["SYN"]:
            return [Condition("opens", ())]
        if word == "--syn":
            return [Condition("opens", ())]
    return [_UNKNOWN]


def _address(text: str) -> Tuple[int, int, int]:
    network = ipaddress.ip_network(text, False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _span(text: str) -> Tuple[int, int]:
    low, colon, high = text.partition(":")
    return int(low or 0), int(high or 65535) if colon else int(low)
