# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Once through the table: which entries have more left than they may, and the requests that shorten them."""

import errno
import time
from array import array
from bisect import bisect_left
from collections import Counter
from itertools import compress
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional

from ..host.netfilter import Netfilter
from . import entry as entries
from .census import Kind, Kinds, Raw
from .netlink import Layout, Update, named, refusals
from .policies import Policies
from .reading import LOST, TableError, not_taken
from .wanted import Match

# Requests that are sent in one go, of some 100 bytes each; with a rate those of a twentieth of a second at most.
BATCH = 256
# An entry that ended by itself, or is ending.
GONE = (errno.ENOENT, errno.ETIME)


class Label(NamedTuple):
    """Entries that are counted together."""

    protocol: str
    state: str
    timeout: Optional[str]

    @classmethod
    def of(cls, kind: Kind) -> "Label":
        return cls(entries.protocol_name(kind.protocol), entries.state_name(*kind), entries.timeout_name(*kind))


def has_states(protocol: Optional[int]) -> bool:
    return protocol in entries.STATES


class Aim(NamedTuple):
    """Which entries are meant, and what they may have left."""

    match: Match
    limit: Callable[[Kind], float]  # seconds
    delay: int  # seconds more that one may have, as it may wait so long
    policies: Policies
    # Of those that were shortened, the few that a second look is for; None for all.
    suspect: Optional[Callable[[int, bytes], bool]] = None


class Names:
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


class Post:
    """Sends requests, and counts what came of them; without a conversation it only counts them."""

    def __init__(self, conversation: Optional[Netfilter], rate: Optional[int]) -> None:
        self.shortened: Counter[Label] = Counter()
        self.seconds: Dict[Label, int] = {}
        self.refused: Counter[int] = Counter()  # by errno
        self.begun = time.monotonic()
        self.tried = Names()  # of the entries of protocols with states that were to be changed
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

    def another(self) -> "Post":
        """For requests in the same conversation, at the same rate."""
        return Post(self._conversation, self._rate)

    def barred(self) -> List[int]:
        """Why requests were refused, as errno, where it is not for the entry's sake."""
        return [number for number in self.refused if number not in GONE and number != errno.EBUSY]

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


class Look:
    """Once through the table."""

    def __init__(self, aim: Aim, post: Post, limit: float, most: float) -> None:
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
            has_states(layout.protocol),
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

    def __init__(self, layout: Layout, aim: Aim, post: Post) -> None:
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

    def __init__(self, layout: Layout, kinds: Kinds, limit: Callable[[Kind], float], post: Post) -> None:
        super().__init__()
        self._layout, self._kinds, self._limit, self._post = layout, kinds, limit, post

    def __missing__(self, raw: Raw) -> Update:
        kind = self._kinds.kind(raw)
        seconds = int(self._limit(kind))
        self[raw] = update = Update(self._layout, seconds, self._post.sequence(Label.of(kind), seconds))
        return update
