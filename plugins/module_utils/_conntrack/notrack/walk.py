# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's rules do to packets that are not tracked, and did not do to them while they were. Pure.

Packets are followed through each chain twice at once: as they are without tracking, and as they were with it. A rule that drops
them either way is nobody's fault here. One that lets them through by their state does so no more: from there on, whatever drops
them is what loses them.
"""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..ruleset.rules import (
    ACCEPT,
    ALL,
    CONTINUE,
    DROP,
    ESTABLISHED,
    GOTO,
    INVALID,
    JUMP,
    NEW,
    NONE,
    PROXY,
    RELATED,
    RETURN,
    SOME,
    UNTOLD,
    UNTRACKED,
    Chain,
    Packets,
    Rule,
    Ruleset,
    is_by,
    matched,
)
from .matches import ERROR, FORWARDED, INPUT, OUTPUT, POSTROUTING, PREROUTING, REQUEST, Match

# Tracking is at -200; before it nothing has a state.
TRACKED_FROM = -200
# Chains within chains; the kernel takes 16 jumps.
_DEEPEST = 32
# So many kinds of packets are looked at one by one, as a rule may be for some ports or networks alone.
_MOST_KINDS = 64
# What goes for one look at a whole ruleset.
_MOST_STEPS = 200000


class Lost(NamedTuple):
    """Packets that a rule, or a policy, drops because they are not tracked."""

    match: Match
    hook: str
    chain: Chain
    dropped: str  # the rule, or the policy
    by_state: str  # the rule that lets them through as long as they are tracked
    version: int


class TooMuch(Exception):
    """The rules are too many to be followed."""


class _Walk:
    """Through one base chain: what lets packets through by their state, and what loses them."""

    def __init__(
        self, rules: Ruleset, without: Packets, tracked: Packets, steps: List[int], anyone: Optional[str]
    ) -> None:
        self.rules = rules
        self.anyone = anyone  # the address that may be anybody's
        self.without = without
        self.tracked = tracked
        self.steps = steps
        self.by_state: Optional[Rule] = None
        self.lost: Optional[str] = None

    def through(self, chain: Chain, depth: int = 0) -> bool:
        """Whether all of them have met their end, at the latest here."""
        part = False  # whether some have left this chain before its end
        for rule in chain.rules:
            self.steps[0] += 1
            if self.steps[0] > _MOST_STEPS:
                raise TooMuch
            now, before = matched(rule, self.without), matched(rule, self.tracked)
            if rule.verdict == CONTINUE or (now, before) == (NONE, NONE):
                continue
            if rule.verdict in (ACCEPT, JUMP, GOTO) and now < before and self.by_state is None:
                self.by_state = rule
            if now == NONE:
                continue
            if rule.verdict == ACCEPT:
                if now == ALL:
                    return not part
            elif rule.verdict in (DROP, PROXY, UNTOLD):
                if now == SOME and self.anyone and is_by(rule, self.anyone, self.without):
                    # Of a flow with whomever there is, this host wants nothing of these.
                    continue
                if self.by_state or before < now:
                    self.lost = rule.text
                    return True
                if now == ALL and rule.verdict == DROP:
                    return not part
            elif rule.verdict == RETURN:
                if now == ALL:
                    return False
                part = True
            elif rule.verdict in (JUMP, GOTO):
                inner = self.rules.get((chain.table, rule.target))
                ended = inner is None or depth >= _DEEPEST or self.through(inner, depth + 1)
                if self.lost:
                    return True
                if now == ALL and ended:
                    return not part
                if now == ALL and rule.verdict == GOTO:
                    return False
                part = part or (rule.verdict == GOTO and not ended)
        return False


def lost(rules: Ruleset, match: Match, own: Sequence[Tuple[int, int, int]], forwarded: bool) -> Iterator[Lost]:
    """Where packets of one direction of a flow are lost; ``own`` are this host's addresses."""
    steps = [0]
    anyone = match.address if match.networks is None else None
    for version in (4, 6):
        for kinds in packets(match, own, forwarded, version):
            for hook, without, tracked in kinds:
                for chain in base(rules, hook, version):
                    walk = _Walk(rules, without, tracked, steps, anyone)
                    ended = walk.through(chain)
                    if not ended and chain.policy == DROP and walk.by_state:
                        walk.lost = "table {0}, chain {1}: its policy".format(chain.table, chain.name)
                    if walk.lost:
                        by_state = walk.by_state.text if walk.by_state else ""
                        yield Lost(match, hook, chain, walk.lost, by_state, version)


def base(rules: Ruleset, hook: str, version: int, kinds: Sequence[str] = ("filter", "route")) -> List[Chain]:
    """The chains that the kernel itself calls at a hook, once packets are tracked, in their order."""
    found = [
        chain
        for chain in rules.values()
        if chain.hook == hook and chain.kind in kinds and version in chain.versions and chain.priority > TRACKED_FROM
    ]
    return sorted(found, key=lambda chain: chain.priority)


Kind = List[Tuple[str, Packets, Packets]]


def packets(match: Match, own: Sequence[Tuple[int, int, int]], forwarded: bool, version: int) -> Iterator[Kind]:
    """The kinds of packets of one direction, each at every hook on its way, without tracking and with it."""
    narrow = match.of(version)
    if narrow.networks is not None and not narrow.networks:
        return
    spans = (
        None
        if narrow.networks is None
        else [(int(one.network_address), int(one.broadcast_address)) for one in narrow.networks]
    )
    mine = [(low, high) for its, low, high in own if its == version] or None
    if match.direction == ERROR:
        yield _errors(narrow, None if forwarded else mine, forwarded, version)
        return
    for ports, networks, interfaces in _kinds(narrow, spans):
        is_out = match.hook == OUTPUT
        for opens in _opens(match):
            without = Packets(
                version,
                match.protocol,
                ports if match.port == "sport" else None,
                ports if match.port == "dport" else None,
                networks if match.address == "saddr" else (mine if is_out else None),
                networks if match.address == "daddr" else (None if is_out or forwarded else mine),
                () if is_out else interfaces,
                interfaces if is_out else (None if forwarded else ()),
                not (is_out or forwarded),
                UNTRACKED,
                opens,
            )
            state = NEW if match.direction == REQUEST else ESTABLISHED
            # The first packet decides about a request: what follows is let through by the state that it has made.
            tracked = without._replace(state=state, opens=_first(match))
            yield [(hook, _at(without, hook, is_out), _at(tracked, hook, is_out)) for hook in way(match, forwarded)]


def _errors(match: Match, mine: Optional["_Spans"], forwarded: bool, version: int) -> Kind:
    """They are about no connection that tracking knows, which is what it calls invalid."""
    protocol, oif = ("icmp" if version == 4 else "icmpv6"), (None if forwarded else ())
    interfaces = match.interfaces or None
    without = Packets(version, protocol, None, None, None, mine, interfaces, oif, not forwarded, INVALID, None)
    tracked = without._replace(state=RELATED)
    return [(hook, _at(without, hook, False), _at(tracked, hook, False)) for hook in way(match, forwarded)]


def way(match: Match, forwarded: bool) -> Tuple[str, ...]:
    if match.hook == OUTPUT:
        # What goes out over the loopback comes in again.
        return (OUTPUT, POSTROUTING, PREROUTING, INPUT) if match.interfaces == ("lo",) else (OUTPUT, POSTROUTING)
    return (PREROUTING, FORWARDED, POSTROUTING) if forwarded else (PREROUTING, INPUT)


def _at(found: Packets, hook: str, is_out: bool) -> Packets:
    if is_out and hook in (PREROUTING, INPUT):
        return found._replace(iif=found.oif, oif=(), to_host=True)
    if hook == PREROUTING:
        return found._replace(oif=())
    if hook == POSTROUTING:
        # Where it came in is told no more.
        return found._replace(iif=found.iif or ())
    return found


def _opens(match: Match) -> Tuple[Optional[bool], ...]:
    if match.protocol != "tcp":
        return (None,)
    return (True, False) if match.direction == REQUEST else (False,)


def _first(match: Match) -> Optional[bool]:
    return None if match.protocol != "tcp" else match.direction == REQUEST


_Spans = List[Tuple[int, int]]
_Kinds = Iterator[Tuple[_Spans, Optional[_Spans], Optional[Tuple[str, ...]]]]


def _kinds(match: Match, spans: Optional[_Spans]) -> _Kinds:
    """Ports, networks and interfaces, one by one as long as they are not too many."""
    ports = [[one] for one in match.ports]
    networks: List[Optional[_Spans]] = [None] if spans is None else [[one] for one in spans]
    interfaces: List[Optional[Tuple[str, ...]]] = [(one,) for one in match.interfaces] or [None]
    if len(networks) * len(ports) * len(interfaces) > _MOST_KINDS:
        networks = [spans]
    if len(ports) * len(interfaces) > _MOST_KINDS:
        ports = [list(match.ports)]
    for port in ports:
        for network in networks:
            for interface in interfaces:
                yield port, network, interface


def reached(rules: Ruleset, chain: Chain, found: Packets, verdicts: Sequence[str], depth: int = 0) -> Optional[Rule]:
    """The first rule of one of some verdicts that some of these packets meet in a chain, or in one that it leads to."""
    for rule in chain.rules:
        now = matched(rule, found)
        if now == NONE:
            continue
        if rule.verdict in verdicts:
            return rule
        if rule.verdict in (JUMP, GOTO):
            inner = rules.get((chain.table, rule.target))
            there = reached(rules, inner, found, verdicts, depth + 1) if inner and depth < _DEEPEST else None
            if there:
                return there
            if now == ALL and rule.verdict == GOTO:
                return None
        if now == ALL and rule.verdict in (ACCEPT, DROP, RETURN):
            return None
    return None
