# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shorten what entries of the table have left to the timeouts wanted, while the kernel tells them.

Nothing is deleted and nothing is lengthened; an active flow gets its timeout anew with its next packet. Between the telling
of an entry and its update its flow may come to a state with a shorter timeout, as from ESTABLISHED to TIME_WAIT. Such
entries are found by a second look among those that were shortened, and get what the kernel gives to that state.
"""

import contextlib
import errno
import math
import time
from array import array
from bisect import bisect_left
from collections import Counter
from itertools import compress
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from .. import asked, kernel, readers
from ..host.door import Host
from ..host.netfilter import Netfilter
from ..sources.namespaces import timeouts as live_timeouts
from ..values import integer
from . import entry as entries
from .census import Kind, Kinds, Raw
from .netlink import Layout, Update, named, refusals
from .policies import Policies
from .policies import read as read_policies
from .reading import (
    ATTEMPTS,
    LONGEST_WORK,
    LOST,
    NOTHING,
    Table,
    TableError,
    flavour_in_use,
    not_taken,
    read,
    why,
    within,
)

# Requests that are sent in one go, of some 100 bytes each; with a rate those of a twentieth of a second at most.
BATCH = 256
# Entries that may have been told and wait for their turn: 18 answers of 32 KiB, in messages of 110 bytes.
_BACKLOG = 5400
# Seconds, eleven days. What a rate may make of it at most.
_SLOWEST = 1000000.0
# An entry that ended by itself, or is ending.
_GONE = (errno.ENOENT, errno.ETIME)


class Network(NamedTuple):
    """Addresses that begin alike."""

    size: int  # bytes of an address
    unused: int  # bits behind the prefix
    prefix: int

    def holds(self, packed: bytes) -> bool:
        return len(packed) == self.size and int.from_bytes(packed, "big") >> self.unused == self.prefix


class Match(NamedTuple):
    """Which entries are meant; what is empty means all."""

    protocol: Tuple[str, ...] = ()
    state: Tuple[str, ...] = ()
    source_network: Tuple[Network, ...] = ()
    destination_network: Tuple[Network, ...] = ()
    destination_port: Tuple[int, ...] = ()

    def means(self, parts: Mapping[str, Any]) -> bool:
        """Whether an entry has such addresses, and such a port."""
        return (
            _within(parts["source"], self.source_network)
            and _within(parts["destination"], self.destination_network)
            and (not self.destination_port or parts.get("destination_port") in self.destination_port)
        )


def _within(packed: bytes, networks: Tuple[Network, ...]) -> bool:
    return not networks or any(network.holds(packed) for network in networks)


class Wanted(NamedTuple):
    """What is asked for."""

    timeouts: Optional[Dict[str, int]] = None  # seconds; None for those that the kernel has now
    match: Match = Match()
    limit: Optional[int] = None  # entries to shorten
    rate: Optional[int] = None  # entries a second
    most: Optional[int] = (
        None  # entries that are shortened without a second word, 0 for all; None for half of the table
    )
    under_policies: bool = False  # whether to shorten what a timeout policy may have given as well


def read_options(options: Mapping[str, Any]) -> Wanted:
    """The options of the module. Raises TableError for what would not do."""
    match = options["match"] or {}
    try:
        return Wanted(
            asked.timeouts(options["timeout_profile"], options["timeouts"])
            if options["timeout_profile"] or options["timeouts"]
            else None,
            Match(**{name: tuple(_MATCHED[name](value) for value in match.get(name) or ()) for name in _MATCHED}),
            asked.whole("limit", options["limit"], 0, kernel.LARGEST_LIMIT, "entries") or None,
            asked.whole("rate", options["rate"], 0, kernel.LARGEST_LIMIT, "entries a second") or None,
            None
            if options["most"] is None
            else asked.whole("most", options["most"], 0, kernel.LARGEST_LIMIT, "entries"),
            options["under_policies"],
        )
    except readers.Wrong as wrong:
        raise TableError(str(wrong)) from None


def _network(text: Any) -> Network:
    # Seldom asked for, and slow to import.
    import ipaddress

    try:
        found = ipaddress.ip_network(str(text))
    except ValueError as error:
        expected = "expected a network such as 10.0.0.0/8 ({0})".format(error)
        raise readers.Wrong(readers.problem("match", text, expected)) from None
    unused = found.max_prefixlen - found.prefixlen
    return Network(found.max_prefixlen // 8, unused, int(found.network_address) >> unused)


_MATCHED: Dict[str, Callable[[Any], Any]] = {
    "protocol": lambda value: asked.known("match", value, entries.NUMBERS, "one of " + ", ".join(entries.NUMBERS)),
    "state": lambda value: asked.known("match", value, entries.STATE_NAMES, "a state such as ESTABLISHED or UNREPLIED"),
    "source_network": _network,
    "destination_network": _network,
    "destination_port": lambda value: asked.whole("match", value, 0, 65535, "the port"),
}


class Label(NamedTuple):
    """Entries that are counted together."""

    protocol: str
    state: str
    timeout: Optional[str]

    @classmethod
    def of(cls, kind: Kind) -> "Label":
        return cls(entries.protocol_name(kind.protocol), entries.state_name(*kind), entries.timeout_name(*kind))


def expire(host: Host, wanted: Wanted, namespace: Optional[str], check: bool) -> Dict[str, Any]:
    """Shorten entries of a network namespace, the own one unless another is named. Raises TableError."""
    return within(host, namespace, lambda: _expired(host, wanted, check), LONGEST_WORK + _slowly(host, wanted))


def _slowly(host: Host, wanted: Wanted) -> float:
    """Seconds that the rate takes for as many entries as there can be."""
    if wanted.rate is None:
        return 0.0
    names = flavour_in_use(host)
    limit = integer(host.read(kernel.sysctl_path(names.prefix + "max"))) if names else None
    return min((wanted.limit or limit or kernel.LARGEST_LIMIT) / wanted.rate, _SLOWEST)


def bound(most: Optional[int], there: int) -> float:
    """Entries, of so many that are there, that may be shortened without a second word."""
    return there // 2 if most is None else most or math.inf


def _expired(host: Host, wanted: Wanted, check: bool) -> Dict[str, Any]:
    names = flavour_in_use(host)
    if names is None:
        return _told(_Through(NOTHING, _Post(None, None), None), {}, 0)
    live = entries.lived_by(live_timeouts(host, names))
    timeouts = live if wanted.timeouts is None else entries.lived_by(wanted.timeouts)
    aim = _Aim(
        wanted.match,
        _limit(timeouts, wanted.match),
        _delay(wanted.rate),
        Policies([]) if wanted.under_policies else read_policies(host),
    )
    limit = math.inf if wanted.limit is None else wanted.limit
    counted, most = None, math.inf
    if wanted.most is None or 0 < wanted.most < limit:
        counted = _through(host, names, aim, math.inf, math.inf, _counting)
        most = _bounded(counted, wanted.most, limit)
    if check:
        if counted is None or wanted.limit is not None:
            counted = _through(host, names, aim, limit, most, _counting)
        return _told(counted, timeouts, 0)
    with contextlib.closing(_conversation(host)) as conversation:
        post = _Post(conversation, wanted.rate)
        done = _through(host, names, aim, limit, most, lambda: post)
        corrected, again = _correct(host, names, aim, live, timeouts, post)
        if post.barred() and not sum(post.shortened.values()):
            raise TableError(not_taken(max(post.barred()), 0))
        forged = done.table.forged + again.forged + conversation.forged
        table = done.table._replace(interrupted=done.table.interrupted or again.interrupted, forged=forged)
    return _told(done._replace(table=table), timeouts, corrected)


def _counting() -> "_Post":
    return _Post(None, None)


def _bounded(counted: "_Through", asked_for: Optional[int], limit: float) -> float:
    """Entries that may be shortened, whatever comes meanwhile. Raises TableError where there are more."""
    found, there = min(sum(counted.post.shortened.values()), limit), counted.table.examined
    most = bound(asked_for, there)
    if found <= most:
        return most
    raise TableError(
        "{0} of {1} entries would be shortened, more than the {2} that one run may shorten without a second word{3}: nothing was "
        "changed. If it is meant, say most: {0}, or 0 for no bound (in the playbook relieve relieve_most, of the role "
        "conntrack_expire_most); or mean less of them, with match, longer timeouts or a limit".format(
            int(found), there, int(most), " (half of the table)" if asked_for is None else ""
        )
    )


class _Aim(NamedTuple):
    """Which entries are meant, and what they may have left."""

    match: Match
    limit: Callable[[Kind], float]  # seconds
    delay: int  # seconds more that one may have, as it may wait so long
    policies: Policies
    # Of those that were shortened, the few that a second look is for; None for all.
    suspect: Optional[Callable[[int, bytes], bool]] = None


class _Through(NamedTuple):
    """What came of it to go through the table, the last time if it was gone through anew."""

    table: Table
    post: "_Post"
    look: "Optional[_Look]"


def _through(
    host: Host, names: kernel.Flavour, aim: _Aim, limit: float, most: float, a_post: Callable[[], "_Post"]
) -> _Through:
    forged = 0
    for _attempt in range(ATTEMPTS):
        post = a_post()
        already = sum(post.shortened.values())
        look = _Look(aim, post, limit - already, most - already)
        table = read(host, names, None, look.take, updating=True)
        forged += table.forged
        if not table.interrupted or table.late or sum(post.shortened.values()) == limit:
            break
    return _Through(table._replace(forged=forged), post, look)


def _conversation(host: Host) -> Netfilter:
    """One in which requests to change entries are sent. What is not the kernel's is not let in, so that no refusal is lost."""
    try:
        conversation = host.netfilter()
    except OSError as error:
        raise TableError(why(error, None)) from None
    conversation.shut_out()
    return conversation


def _delay(rate: Optional[int]) -> int:
    """Seconds that an entry may wait for its turn: of those that have hardly more left than they may, none is lengthened."""
    return -(-_BACKLOG // rate) if rate else 0


def _limit(timeouts: Mapping[str, int], match: Match) -> Callable[[Kind], float]:
    def limit(kind: Kind) -> float:
        label = Label.of(kind)
        if kind.status & entries.LEFT_ALONE:
            return math.inf
        if match.protocol and label.protocol not in match.protocol:
            return math.inf
        if match.state and label.state not in match.state:
            return math.inf
        return timeouts.get(label.timeout or "", math.inf)

    return limit


def _correct(
    host: Host,
    names: kernel.Flavour,
    aim: _Aim,
    live: Mapping[str, int],
    timeouts: Mapping[str, int],
    post: "_Post",
) -> Tuple[int, Table]:
    """Shorten, of the entries that the first look has shortened, those whose flows changed their state meanwhile, and that have what
    it gave them for another one; how many, and what has been read for it.

    They get what the kernel gives to their state, or what is wanted for it where that is more.
    """
    given = {label: post.seconds[label] for label in post.shortened if _has_states(entries.NUMBERS.get(label.protocol))}
    longest = max(given.values(), default=0)
    ends = {name: max(seconds, timeouts.get(name, 0)) for name, seconds in live.items()}
    shorter = {name: seconds for name, seconds in ends.items() if seconds < longest}
    if not shorter:
        return 0, NOTHING
    again = post.another()

    def suspect(left: int, name: bytes) -> bool:
        oldest = time.monotonic() - post.begun + 2
        return any(seconds - oldest <= left <= seconds for seconds in given.values()) and name in post.tried

    # Only protocols with states: of the others no flow comes to a shorter timeout.
    match = aim.match._replace(protocol=tuple({label.protocol for label in given}), state=())
    look = _Look(_Aim(match, _limit(shorter, match), 0, Policies([]), suspect), again, math.inf, math.inf)
    table = read(host, names, None, look.take, updating=True)
    return sum(again.shortened.values()), table


def _has_states(protocol: Optional[int]) -> bool:
    return protocol in entries.STATES


class _Names:
    """Very many names, of which it is asked seldom whether one is among them: eight bytes each, a hash."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._in_order = True

    def add(self, names: Iterable[bytes]) -> None:
        self._hashes.extend(map(hash, names))
        self._in_order = False

    def __contains__(self, name: bytes) -> bool:
        if not self._in_order:
            self._hashes = array("q", sorted(self._hashes))
            self._in_order = True
        at = bisect_left(self._hashes, hash(name))
        return at < len(self._hashes) and self._hashes[at] == hash(name)


class _Look:
    """Once through the table."""

    def __init__(self, aim: _Aim, post: "_Post", limit: float, most: float) -> None:
        self.aim = aim
        self.post = post
        self.limit = limit  # entries, after which it ends
        self.most = most  # entries, after which it only looks
        self.stopped = False  # whether it came to one of them
        self.examined: Counter[Label] = Counter()
        self.spared: Counter[Label] = Counter()  # what a timeout policy may have given
        self._chosen = 0
        self._sorts: Dict[Layout, _Sort] = {}
        self._picky = aim.suspect is not None or aim.match._replace(protocol=(), state=()) != Match()

    def take(self, layout: Layout, block: bytes) -> bool:
        """Shorten those of a block that have more left than they may; whether that is enough."""
        sort = self._sorts.get(layout)
        if sort is None:
            sort = self._sorts[layout] = _Sort(layout, self.aim, self.post)
        raw = sort.kinds.raw(block)
        for some, count in Counter(raw).items():
            self.examined[Label.of(sort.kinds.kind(some))] += count
        numbers = self._beyond(sort, sort.kinds, block, raw)
        if sort.plain:
            meant = Counter(raw[at] for at in self._beyond(sort, sort.plain, block, raw))
            for some, count in (meant - Counter(raw[at] for at in numbers)).items():
                self.spared[Label.of(sort.kinds.kind(some))] += count
        room = min(self.limit, self.most) - self._chosen
        if len(numbers) > room:
            numbers = numbers[: int(room)]
            self.stopped = True
        self._chosen += len(numbers)
        updates, length = sort.updates, layout.length
        self.post.send(
            [updates[raw[at]].request(block, at * length) for at in numbers],
            [updates[raw[at]].sequence for at in numbers],
            _has_states(layout.protocol),
        )
        self.stopped |= self._chosen == self.limit
        return self._chosen == self.limit

    def _beyond(self, sort: "_Sort", kinds: Kinds, block: bytes, raw: List[Raw]) -> List[int]:
        """The numbers of the records that are meant, and have more left than they may."""
        numbers = list(compress(range(len(raw)), kinds.beyond(block, raw)))
        if self._picky:
            length = sort.layout.length
            numbers = [at for at in numbers if self._means(sort, block[at * length : (at + 1) * length])]
        return numbers

    def _means(self, sort: "_Sort", record: bytes) -> bool:
        parts = sort.values(record)
        suspect = self.aim.suspect
        return self.aim.match.means(parts) and (suspect is None or suspect(parts["left"], sort.layout.name(record, 0)))


class _Sort:
    """What is known of a layout."""

    def __init__(self, layout: Layout, aim: _Aim, post: "_Post") -> None:
        def plain(kind: Kind) -> float:
            return aim.limit(kind) + aim.delay

        def spared(kind: Kind) -> float:
            return max(plain(kind), aim.policies.most(layout.family, kind))

        self.layout = layout
        self.kinds = Kinds(layout, spared)
        # As if there were no policies, where there are some.
        self.plain = Kinds(layout, plain) if aim.policies.policies else None
        self.updates = _Updates(layout, self.kinds, aim.limit, post)
        self._reader, self._names = layout.reader({name: None for name, _offset, _code in layout.parts})

    def values(self, record: bytes) -> Dict[str, Any]:
        return dict(zip(self._names, self._reader.unpack(record)))


class _Updates(Dict[Raw, Update]):
    """What makes requests, by the raw values of a kind."""

    def __init__(self, layout: Layout, kinds: Kinds, limit: Callable[[Kind], float], post: "_Post") -> None:
        super().__init__()
        self._layout, self._kinds, self._limit, self._post = layout, kinds, limit, post

    def __missing__(self, raw: Raw) -> Update:
        kind = self._kinds.kind(raw)
        seconds = int(self._limit(kind))
        self[raw] = update = Update(self._layout, seconds, self._post.sequence(Label.of(kind), seconds))
        return update


class _Post:
    """Sends requests, and counts what came of them; without a conversation it only counts them."""

    def __init__(self, conversation: Optional[Netfilter], rate: Optional[int]) -> None:
        self.shortened: Counter[Label] = Counter()
        self.seconds: Dict[Label, int] = {}
        self.refused: Counter[int] = Counter()  # by errno
        self.begun = time.monotonic()
        self.tried = _Names()  # of the entries of protocols with states that were to be changed
        self._conversation = conversation
        self._first = conversation.sequence if conversation else 0
        self._rate = rate
        self._batch = min(BATCH, max(1, rate // 20)) if rate else BATCH
        self._labels: List[Label] = []  # in the order of the sequences of their requests
        self._sent = 0

    def sequence(self, label: Label, seconds: int) -> int:
        if label not in self.seconds:
            self.seconds[label] = seconds
            self._labels.append(label)
        return self._first + self._labels.index(label)

    def another(self) -> "_Post":
        """For requests in the same conversation, at the same rate."""
        return _Post(self._conversation, self._rate)

    def barred(self) -> List[int]:
        """Why requests were refused, as errno, where it is not for the entry's sake."""
        return [number for number in self.refused if number not in _GONE and number != errno.EBUSY]

    def send(self, requests: List[bytes], sequences: List[int], keep: bool) -> None:
        """Requests, and the sequence of each; not faster than the rate. Names are kept where entries may have to be found again.
        Raises TableError where the kernel does not take them."""
        self._count(sequences, 1)
        sent = 0
        taken = False
        try:
            while self._conversation is not None and sent < len(requests):
                if self._rate:
                    time.sleep(max(0.0, self.begun + self._sent / self._rate - time.monotonic()))
                batch = requests[sent : sent + self._batch]
                taken = False
                self._conversation.send(b"".join(batch))
                taken = True
                sent += len(batch)
                self._sent += len(batch)
                if keep:
                    self.tried.add(map(named, batch))
                for answer in self._conversation.received():
                    self._refuse(answer)
        except OSError as error:
            self._count(sequences[sent:], -1)
            if taken and error.errno in LOST:
                raise
            raise TableError(not_taken(error.errno or 0, sum(self.shortened.values()))) from None

    def _count(self, sequences: List[int], sign: int) -> None:
        for sequence, count in Counter(sequences).items():
            self.shortened[self._labels[sequence - self._first]] += sign * count

    def _refuse(self, answer: bytes) -> None:
        for sequence, number in refusals(answer):
            # What refuses nothing that was sent is none.
            if 0 <= sequence - self._first < len(self._labels):
                self.refused[number] += 1
                self.shortened[self._labels[sequence - self._first]] -= 1


def _told(through: _Through, timeouts: Mapping[str, int], corrected: int) -> Dict[str, Any]:
    table, post, look = through
    failed = sum(post.refused.values())
    gone = sum(post.refused[number] for number in _GONE)
    examined, spared = (look.examined, look.spared) if look else (Counter(), Counter())
    return {
        "source": table.source,
        "complete": table.all and not table.interrupted and not (look and look.stopped),
        "examined": table.examined,
        "shortened": sum(post.shortened.values()),
        "spared": sum(spared.values()),
        "gone": gone,
        "busy": failed - gone,
        "corrected": corrected,
        "forged": table.forged,
        "states": [
            {
                "protocol": label.protocol,
                "state": label.state,
                "timeout_class": label.timeout,
                "timeout": timeouts.get(label.timeout or ""),
                "examined": count,
                "shortened": post.shortened[label],
                "spared": spared[label],
            }
            for label, count in sorted(examined.items(), key=lambda item: (-item[1], item[0]))
        ],
    }
