# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who fills the table: entries counted by what they have in common, all of them or the first ones of a dump. Pure.

The kernel tells entries in the order of its hash table, by a key that it makes at random when it starts. So the first
ones are a random sample of all. The groups told are chosen by what was met of them, so their margins have to hold for any.
"""

import hmac
import math
import socket
from collections import Counter
from itertools import compress
from operator import gt
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import entry as entries
from . import own
from .netlink import Layout

# Groups that are kept apart, of all groupings together. Beyond them the smallest are dropped, which the result tells.
MOST_GROUPS = 131072
# In 5 of 100 cases at most, any of the margins of a grouping does not hold.
_RISK = 0.05

# What a record holds of some parts, and what a grouping makes of it.
Raw = Tuple[Any, ...]
Key = Tuple[Any, ...]
Grouping = Tuple[str, ...]


class Terms(NamedTuple):
    """How addresses are told."""

    prefix_lengths: Mapping[int, int]  # bits of a network, by socket.AF_INET and AF_INET6
    pseudonyms: Optional[bytes] = None  # the key by which addresses get other names
    own: Optional[FrozenSet[bytes]] = None  # addresses of the host; None where they are not known

    def network_of(self, family: int, start: bytes) -> bytes:
        """The address of the network, from as many of its first bytes as the prefix needs."""
        size = _SIZES[family]
        unused = 8 * size - self.prefix_lengths[family]
        return (int.from_bytes(start.ljust(size, b"\0"), "big") >> unused << unused).to_bytes(size, "big")

    def address(self, packed: bytes) -> str:
        family = _family(packed)
        if self.pseudonyms is None:
            return socket.inet_ntop(family, packed)
        digest = hmac.new(self.pseudonyms, packed, "sha256").hexdigest()
        return "{0}-{1}".format("ipv4" if family == socket.AF_INET else "ipv6", digest[:12])

    def network(self, packed: bytes) -> str:
        return "{0}/{1}".format(self.address(packed), self.prefix_lengths[_family(packed)])


_SIZES: Dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}


def _family(packed: bytes) -> int:
    return socket.AF_INET if len(packed) == 4 else socket.AF_INET6


class Kind(NamedTuple):
    """What decides the state of an entry, and its timeout."""

    protocol: int
    status: int
    state: Optional[int]

    @classmethod
    def of(cls, layout: Layout, parts: Mapping[str, Any]) -> "Kind":
        return cls(layout.protocol, parts.get("status", 0), parts.get("state"))


class Field(NamedTuple):
    """Something that entries can have in common."""

    parts: Tuple[str, ...]  # of a record
    value: Callable[[Terms, Layout, Mapping[str, Any]], Any]  # small: there may be very many
    told: Callable[[Terms, Any], Any] = lambda terms, value: value


def _address(part: str) -> Field:
    return Field((part,), lambda terms, layout, parts: parts[part], Terms.address)


def _network(part: str) -> Field:
    return Field((part,), lambda terms, layout, parts: terms.network_of(layout.family, parts[part]), Terms.network)


def _number(part: str, absent: Optional[int]) -> Field:
    return Field((part,), lambda terms, layout, parts: parts.get(part, absent))


_OF_KIND = ("status", "state")
# What the host is to an entry.
ROLE = "role"
FIELDS: Dict[str, Field] = {
    "protocol": Field((), lambda terms, layout, parts: entries.protocol_name(layout.protocol)),
    "state": Field(_OF_KIND, lambda terms, layout, parts: entries.state_name(*Kind.of(layout, parts))),
    "source": _address("source"),
    "destination": _address("destination"),
    "source_network": _network("source"),
    "destination_network": _network("destination"),
    "destination_port": _number("destination_port", None),
    "zone": _number("zone", 0),
    "mark": _number("mark", 0),
    "assured": Field(("status",), lambda terms, layout, parts: bool(parts.get("status", 0) & entries.ASSURED)),
    "timeout_class": Field(_OF_KIND, lambda terms, layout, parts: entries.timeout_name(*Kind.of(layout, parts))),
    ROLE: Field(
        ("source", "destination", "status"),
        lambda terms, layout, parts: own.role(terms.own, parts["source"], parts["destination"], parts.get("status", 0)),
    ),
}


class Group(NamedTuple):
    """Entries that have something in common."""

    values: Key  # in the order of the grouping's fields
    entries: int  # of a sample: reckoned for the whole table
    share: float  # of all entries, 0 to 1
    margin: Optional[float]  # in 95 of 100 cases no true share of any group is farther off; None where all were counted


class Counted(NamedTuple):
    """The largest groups of a grouping."""

    grouping: Grouping
    groups: List[Group]
    others: int  # how many groups there are besides
    missed: int  # entries at most that each group may have more of, because smaller ones were dropped


class Limits(Dict[Raw, float]):
    """By the raw values of a kind, the seconds that an entry may have left."""

    def __init__(self, limit: Callable[[Raw], float]) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, raw: Raw) -> float:
        self[raw] = limit = self._limit(raw)
        return limit


class Kinds:
    """The kinds of the records of a layout, and those among them that have more seconds left than they may."""

    def __init__(self, layout: Layout, limit: Callable[[Kind], float]) -> None:
        self._layout = layout
        self._kinds, self.names = layout.reader(dict.fromkeys(_OF_KIND))
        self._limits = Limits(lambda raw: limit(self.kind(raw)))

    def kind(self, raw: Raw) -> Kind:
        return Kind.of(self._layout, dict(zip(self.names, raw)))

    def raw(self, block: bytes) -> List[Raw]:
        return list(self._kinds.iter_unpack(block))

    def beyond(self, block: bytes, raw: List[Raw]) -> Iterator[bool]:
        """For each record, whether it has more left than it may; for none where a layout does not tell."""
        left = self._layout.numbers(block, "left")
        return iter(()) if left is None else map(gt, left, map(self._limits.__getitem__, raw))


class _Common:
    """What the entries of a layout have in common by a grouping: counted as it stands in the records."""

    def __init__(self, layout: Layout, wanted: Dict[str, Optional[int]]) -> None:
        self._layout = layout
        self._reader, self.names = layout.reader(wanted)
        codes = [code for name, _offset, code in layout.parts if name in wanted]
        # One number is had at once for a whole block.
        self._number = self.names[0] if len(codes) == 1 and not codes[0].endswith("s") else None
        self._counter: Counter[Any] = Counter()

    def __len__(self) -> int:
        return len(self._counter)

    def add(self, block: bytes, raw: Optional[List[Raw]]) -> None:
        """Count the records of a block, whose raw values may have been read already."""
        if raw is not None:
            self._counter.update(raw)
        elif self._number:
            self._counter.update(self._layout.numbers(block, self._number) or ())
        else:
            self._counter.update(self._reader.iter_unpack(block))

    def taken(self) -> Iterator[Tuple[Dict[str, Any], int]]:
        """The parts of each that was met, and how often; they are forgotten."""
        met, self._counter = self._counter, Counter()
        for value, count in met.items():
            yield dict(zip(self.names, value if isinstance(value, tuple) else (value,))), count


class _Tally:
    """What has been counted of one layout."""

    def __init__(self, layout: Layout, groupings: Sequence[Grouping], terms: Terms, limit: Callable[[Kind], float]):
        self.layout = layout
        self.common = [_Common(layout, _wanted(grouping, layout.family, terms)) for grouping in groupings]
        self.kinds = Kinds(layout, limit)
        self.stale: Counter[Raw] = Counter()
        self.groups = 0

    def add(self, block: bytes) -> None:
        raw = self.kinds.raw(block)
        for common in self.common:
            common.add(block, raw if common.names == self.kinds.names else None)
        self.stale.update(compress(raw, self.kinds.beyond(block, raw)))
        self.groups = sum(map(len, self.common))


def _wanted(grouping: Grouping, family: int, terms: Terms) -> Dict[str, Optional[int]]:
    """The parts of the fields, and how many bytes of an address: a network needs no more than its prefix has."""
    wanted: Dict[str, Optional[int]] = {}
    for field in grouping:
        for part in FIELDS[field].parts:
            if field.endswith("_network"):
                wanted.setdefault(part, -(-terms.prefix_lengths[family] // 8))
            else:
                wanted[part] = None
    return wanted


class Census:
    """Counts entries, in memory that has a bound whatever there is to count."""

    def __init__(self, groupings: Sequence[Grouping], terms: Terms, timeouts: Mapping[str, int]) -> None:
        self.groupings = list(groupings)
        self.terms = terms
        self.timeouts = timeouts  # seconds by name: an entry that has more left is stale
        self.most = MOST_GROUPS // max(1, len(self.groupings))  # groups of a grouping
        self._tallies: Dict[Layout, _Tally] = {}
        self._folded: List[Counter[Key]] = [Counter() for _grouping in self.groupings]
        self._missed = [0] * len(self.groupings)

    def add(self, layout: Layout, block: bytes) -> None:
        """Count the records of a block."""
        tally = self._tallies.get(layout)
        if tally is None:
            tally = self._tallies[layout] = _Tally(layout, self.groupings, self.terms, self._limit)
        tally.add(block)
        if sum(each.groups for each in self._tallies.values()) > self.most:
            self._fold()

    def _limit(self, kind: Kind) -> float:
        name = None if kind.status & entries.LEFT_ALONE else entries.timeout_name(*kind)
        return self.timeouts.get(name or "", math.inf)

    def _fold(self) -> None:
        """Bring together what the layouts have counted; of too many groups the larger half stays."""
        for number, (grouping, folded) in enumerate(zip(self.groupings, self._folded)):
            fields = [FIELDS[field] for field in grouping]
            for tally in self._tallies.values():
                for parts, count in tally.common[number].taken():
                    folded[tuple([field.value(self.terms, tally.layout, parts) for field in fields])] += count
                tally.groups = 0
            while len(folded) > self.most:
                dropped = sorted(folded.values())[len(folded) // 2]
                self._missed[number] += dropped
                folded = Counter({key: count for key, count in folded.items() if count > dropped})
            self._folded[number] = folded

    def stale(self) -> Dict[str, int]:
        """Entries that have more seconds left than the timeout they live by, by its name."""
        found: Counter[str] = Counter()
        for tally in self._tallies.values():
            for raw, count in tally.stale.items():
                found[entries.timeout_name(*tally.kinds.kind(raw)) or ""] += count
        return dict(found)

    def counted(self, examined: int, total: int, top: int) -> List[Counted]:
        """The ``top`` largest groups of each grouping, of so many entries examined of a total."""
        self._fold()
        return [
            Counted(
                grouping,
                [
                    Group(
                        tuple(FIELDS[field].told(self.terms, value) for field, value in zip(grouping, key)),
                        *reckoned(count, examined, total, missed),
                    )
                    for key, count in _largest(folded, top)
                ],
                max(0, len(folded) - top),
                missed,
            )
            for grouping, folded, missed in zip(self.groupings, self._folded, self._missed)
        ]


def _largest(folded: Mapping[Key, int], top: int) -> List[Tuple[Key, int]]:
    """So many of the largest; of those that are alike by their names."""
    least = min(sorted(folded.values(), reverse=True)[:top], default=0)
    some = [item for item in folded.items() if item[1] >= least]
    return sorted(some, key=lambda item: (-item[1], str(item[0])))[:top]


def reckoned(count: int, examined: int, total: int, missed: int = 0) -> Tuple[int, float, Optional[float]]:
    """Entries in the whole table, their share, and the margin of it: so many among those examined of a total, and perhaps as many
    more as were missed.

    The margins of all groups of a grouping hold at once, so that it does not matter which of them are told, or why. A share is
    possible as long as it gives so few, or so many, with a probability of half of _RISK times the share itself. The shares of all
    groups add up to 1, however many there are, met or not; so with a probability of _RISK at most, any of them is beyond.
    """
    if examined == 0:
        return 0, 0.0, None
    share = count / examined
    if examined >= total:
        return count, round(share, 6), None
    # As many, put back each time, tell as much as these do.
    weight = examined * (total - 1) / (total - examined)
    least = _farthest((count - 1) / examined, 0.0, weight)
    most = _farthest((count + missed + 1) / examined, 1.0, weight)
    told = round(share, 6)
    return round(share * total), told, math.ceil(max(told - least, most - told) * 1e6) / 1e6


def _farthest(met: float, end: float, weight: float) -> float:
    """The share that is farthest from what was met, towards an end, and still possible.

    The tail of a binomial distribution is below that of a normal one at the root of twice the divergence, where one less, or
    more, was met (Zubkov and Serov, A complete proof of universal inequalities for the distribution function of the binomial
    law, 2013).
    """
    possible, impossible = min(max(met, 0.0), 1.0), end
    while abs(possible - impossible) > 1e-7:
        share = (possible + impossible) / 2
        if math.erfc(math.sqrt(weight * _divergence(met, share))) > _RISK * share:
            possible = share
        else:
            impossible = share
    return impossible


def _divergence(met: float, share: float) -> float:
    """Of Kullback and Leibler, of two that each happen or not."""
    return max(0.0, sum(one * math.log(one / other) for one, other in ((met, share), (1 - met, 1 - share)) if one))
