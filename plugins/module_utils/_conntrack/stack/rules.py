# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that need connection tracking, in the words of nft and of iptables-save. Total.

What is in quotes is a name or a note and never a rule; where a rule goes is no rule either.
"""

import re
from typing import List, NamedTuple, Optional

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')


class Rule(NamedTuple):
    where: str  # the table and the chain
    text: str


# What of the ``ct`` of nft is an expression, or an object; a chain can have that name, too.
_CT = (
    r"state|status|direction|mark|secmark|expiration|helper|labels?|l3proto|protocol|saddr|daddr|proto-src|proto-dst"
    r"|bytes|packets|avgpkt|zone|id|count|timeout|expectation|event|ip6?|original|reply"
)
_NFT = re.compile(
    r"(?:^|\s)(?:ct\s+(?:{0})\b|masquerade\b|redirect\b|[sd]nat\s+(?:ip6?\s+)?(?:to|prefix)\b|synproxy\b|notrack\b"
    r"|flow\s+(?:add|offload)\b|flowtable\s|type\s+nat\s+hook\b)".format(_CT)
)
# Extensions of iptables that nft has no words for.
_COMPATIBLE = re.compile(r'\bxt (?:match|target) "([^"]*)"')
_GOES = re.compile(r"\b(?:jump|goto)\s+\S+")
_HEAD = re.compile(r"^(?:add\s+)?(table|chain)\s+(.*?)\s*\{?\s*$")

_MATCHES = {
    *("conntrack", "state", "connbytes", "connlabel", "connlimit", "connmark", "helper", "cluster", "ctorigin"),
}
_TARGETS = {
    *(
        "MASQUERADE",
        "SNAT",
        "DNAT",
        "REDIRECT",
        "NETMAP",
        "SAME",
        "CT",
        "NOTRACK",
        "CONNMARK",
        "CONNSECMARK",
        "SYNPROXY",
    ),
    *("CLUSTERIP", "FLOWOFFLOAD"),
}


def of_nft(text: Optional[str]) -> List[Rule]:
    """Of a ruleset as nft lists it, or as a file has it."""
    found: List[Rule] = []
    table = chain = ""
    for line in (text or "").split("\n"):
        bare = line.partition("#")[0] if not _COMPATIBLE.search(line) else line
        head = _HEAD.match(bare.strip())
        if head and head.group(1) == "table":
            table, chain = head.group(2), ""
        elif head:
            chain = head.group(2)
        extensions = set(_COMPATIBLE.findall(bare))
        said = _GOES.sub(" ", _QUOTED.sub('""', bare))
        if _NFT.search(said) or extensions & (_MATCHES | _TARGETS):
            found.append(Rule("table {0}{1}".format(table, ", chain " + chain if chain else ""), line.strip()))
    return found


def of_iptables(text: Optional[str]) -> List[Rule]:
    """Of what iptables-save has printed. In its table nat every rule needs it."""
    found: List[Rule] = []
    table = ""
    for line in (text or "").split("\n"):
        words = _QUOTED.sub('""', line).split()
        if line.startswith("*"):
            table = line[1:].strip()
        elif words[:1] == ["-A"] and len(words) > 1 and _needs(table, words):
            found.append(Rule("table {0}, chain {1}".format(table, words[1]), line.strip()))
    return found


def _needs(table: str, words: List[str]) -> bool:
    pairs = set(zip(words, words[1:]))
    return (
        table == "nat"
        or any(flag in ("-m", "--match") and name in _MATCHES for flag, name in pairs)
        or any(flag in ("-j", "--jump") and name in _TARGETS for flag, name in pairs)
    )
