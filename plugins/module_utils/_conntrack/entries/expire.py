# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shorten what entries of the table have left to the timeouts wanted, while the kernel tells them.

Nothing is deleted and nothing is lengthened; an active flow gets its timeout anew with its next packet. Between the telling
of an entry and its update its flow may come to a state with a shorter timeout, as from ESTABLISHED to TIME_WAIT. Such
entries are found by a second look, and get what the kernel gives to that state.
"""

import contextlib
import errno
import math
import time
from collections import Counter
from itertools import compress
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .. import asked, kernel, readers
from ..host.door import Host
from ..host.netfilter import Netfilter
from ..sources.namespaces import timeouts as live_timeouts
from ..values import integer
from . import entry as entries
from .census import Kind, Kinds, Raw
from .netlink import Layout, Update, refusals
from .reading import ATTEMPTS, LONGEST_WORK, NOTHING, Table, TableError, flavour_in_use, read, why, within

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


def _expired(host: Host, wanted: Wanted, check: bool) -> Dict[str, Any]:
    names = flavour_in_use(host)
    if names is None:
        return _told(NOTHING, _Post(None, None), Counter(), {}, 0)
    live = live_timeouts(host, names)
    timeouts = live if wanted.timeouts is None else wanted.timeouts
    forged = 0
    with contextlib.closing(_conversation(host)) as conversation:
        post = _Post(None if check else conversation, wanted.rate)
        for _attempt in range(ATTEMPTS):
            if check:
                post = _Post(None, None)
            most = None if wanted.limit is None else wanted.limit - sum(post.shortened.values())
            look = _Look(wanted.match, _limit(timeouts, wanted.match), post, most, _delay(wanted.rate))
            table = read(host, names, None, look.take, updating=True)
            forged += table.forged
            if not table.interrupted or table.late or sum(post.shortened.values()) == wanted.limit:
                break
        corrected = 0
        if not check:
            corrected, again = _correct(host, names, wanted.match, live, timeouts, post, conversation)
            forged += again.forged
            table = table._replace(interrupted=table.interrupted or again.interrupted)
        forged += conversation.forged
    return _told(table._replace(forged=forged), post, look.examined, timeouts, corrected)


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
    match: Match,
    live: Mapping[str, int],
    timeouts: Mapping[str, int],
    post: "_Post",
    conversation: Netfilter,
) -> Tuple[int, Table]:
    """Shorten, of flows that changed their state meanwhile, what the first look gave them for another one; how many, and
    what has been read for it.

    They get what the kernel gives to their state, or what is wanted for it where that is more.
    """
    given = {
        label: post.seconds[label] for label in post.shortened if entries.NUMBERS.get(label.protocol) in entries.STATES
    }
    longest = max(given.values(), default=0)
    ends = {name: max(seconds, timeouts.get(name, 0)) for name, seconds in live.items()}
    shorter = {name: seconds for name, seconds in ends.items() if seconds < longest}
    if not shorter:
        return 0, NOTHING
    again = _Post(conversation, None)
    # Only protocols with states: of the others no flow comes to a shorter timeout.
    match = match._replace(protocol=tuple({label.protocol for label in given}), state=())

    def suspect(left: int) -> bool:
        oldest = time.monotonic() - post.begun + 2
        return any(seconds - oldest <= left <= seconds for seconds in given.values())

    look = _Look(match, _limit(shorter, match), again, None, suspect=suspect)
    table = read(host, names, None, look.take, updating=True)
    return sum(again.shortened.values()), table


class _Look:
    """Once through the table."""

    def __init__(
        self,
        match: Match,
        limit: Callable[[Kind], float],
        post: "_Post",
        most: Optional[int],
        delay: int = 0,
        suspect: Optional[Callable[[int], bool]] = None,
    ) -> None:
        self.match = match
        self.limit = limit  # by kind, the seconds that it may have left
        self.post = post
        self.most = most
        self.delay = delay  # seconds more that it may have, as it may wait so long
        self.suspect = suspect
        self.examined: Counter[Label] = Counter()
        self._chosen = 0
        self._sorts: Dict[Layout, _Sort] = {}
        self._picky = suspect is not None or match._replace(protocol=(), state=()) != Match()

    def take(self, layout: Layout, block: bytes) -> bool:
        """Shorten those of a block that have more left than they may; whether that is enough."""
        sort = self._sorts.get(layout)
        if sort is None:
            sort = self._sorts[layout] = _Sort(layout, self.limit, self.delay, self.post)
        raw = sort.kinds.raw(block)
        for some, count in Counter(raw).items():
            self.examined[Label.of(sort.kinds.kind(some))] += count
        length = layout.length
        numbers = list(compress(range(len(raw)), sort.kinds.beyond(block, raw)))
        if self._picky:
            numbers = [at for at in numbers if self._means(sort.values(block[at * length : (at + 1) * length]))]
        if self.most is not None:
            numbers = numbers[: self.most - self._chosen]
        self._chosen += len(numbers)
        updates = sort.updates
        self.post.send(
            [updates[raw[at]].request(block, at * length) for at in numbers],
            [updates[raw[at]].sequence for at in numbers],
        )
        return self._chosen == self.most

    def _means(self, parts: Mapping[str, Any]) -> bool:
        return self.match.means(parts) and (self.suspect is None or self.suspect(parts["left"]))


class _Sort:
    """What is known of a layout."""

    def __init__(self, layout: Layout, limit: Callable[[Kind], float], delay: int, post: "_Post") -> None:
        self.kinds = Kinds(layout, lambda kind: limit(kind) + delay)
        self.updates = _Updates(layout, self.kinds, limit, post)
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

    def send(self, requests: List[bytes], sequences: List[int]) -> None:
        """Requests, and the sequence of each; not faster than the rate."""
        self._count(sequences, 1)
        sent = 0
        try:
            while self._conversation is not None and sent < len(requests):
                if self._rate:
                    time.sleep(max(0.0, self.begun + self._sent / self._rate - time.monotonic()))
                batch = requests[sent : sent + self._batch]
                self._conversation.send(b"".join(batch))
                sent += len(batch)
                self._sent += len(batch)
                for answer in self._conversation.received():
                    self._refuse(answer)
        except OSError:
            self._count(sequences[sent:], -1)
            raise

    def _count(self, sequences: List[int], sign: int) -> None:
        for sequence, count in Counter(sequences).items():
            self.shortened[self._labels[sequence - self._first]] += sign * count

    def _refuse(self, answer: bytes) -> None:
        for sequence, number in refusals(answer):
            # What refuses nothing that was sent is none.
            if 0 <= sequence - self._first < len(self._labels):
                self.refused[number] += 1
                self.shortened[self._labels[sequence - self._first]] -= 1


def _told(
    table: Table, post: _Post, examined: Mapping[Label, int], timeouts: Mapping[str, int], corrected: int
) -> Dict[str, Any]:
    failed = sum(post.refused.values())
    gone = sum(post.refused[number] for number in _GONE)
    return {
        "source": table.source,
        "complete": table.all and not table.interrupted,
        "examined": table.examined,
        "shortened": sum(post.shortened.values()),
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
            }
            for label, count in sorted(examined.items(), key=lambda item: (-item[1], item[0]))
        ],
    }
