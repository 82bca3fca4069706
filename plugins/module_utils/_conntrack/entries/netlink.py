# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ctnetlink's messages: requests to it, and the entries that it tells. Pure: bytes to values and back.

The messages of a dump have few layouts: where an attribute stands is the same for all entries of a kind. A layout is
learned from one message; all others that have every attribute of it in its place are handed on together, as a block of
equal records, for struct and Counter to go through in C. What cannot be read is counted and left out.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

import contextlib
import socket
import struct
import sys
import time
from array import array
from collections import defaultdict
from typing import Any, Callable, DefaultDict, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..host.netlink import (
    ATTRIBUTE,
    BODY,
    DONE,
    ERROR,
    HEADER,
    INTERRUPTED,
    KIND,
    REQUEST,
    dump_of,
    each_message,
    errno_of,
)
from .entry import WITH_PORTS

_START = struct.Struct("=IHHI")  # of struct nlmsghdr, without the port

_NEW, _GET = 0x100, 0x101  # IPCTNL_MSG_CT_NEW and _GET of NFNL_SUBSYS_CTNETLINK

# enum ctattr_type
_TUPLE_ORIG, _PROTOINFO, _TIMEOUT, _ZONE, _LAST_KNOWN = 1, 4, 7, 18, 27
_NUMBERS = {3: ("status", "I"), _TIMEOUT: ("left", "I"), 8: ("mark", "I"), _ZONE: ("zone", "H")}
# enum ctattr_tuple, ctattr_ip, ctattr_l4proto and ctattr_protoinfo, of which each protocol has its state first
_TUPLE_IP, _TUPLE_PROTO, _TUPLE_ZONE = 1, 2, 3
_ADDRESSES = {1: ("source", "4s"), 2: ("destination", "4s"), 3: ("source", "16s"), 4: ("destination", "16s")}
_SIDES: Dict[int, str] = {socket.AF_INET: "4s", socket.AF_INET6: "16s"}
_PROTOCOL, _PORTS = 1, {2: ("source_port", "H"), 3: ("destination_port", "H")}
_STATE = 1

# Layouts that are kept; a table has some thirty. Beyond them, one is learned again each time.
_MOST_LAYOUTS = 256
# Messages in a block that had to be sorted: so many that a call is cheap beside what it does, and so few that what waits
# stays in the processor's cache.
_BLOCK = 160
# Messages that wait for others of their layout; some 10 MB.
_MOST_WAITING = 32768
# Seconds that they wait where entries are to be updated: none has lost as much as one second then of what it was told to have.
_LONGEST_WAIT = 0.5


class Layout(NamedTuple):
    """Where the parts of an entry stand in a record; all its records are equally long."""

    length: int  # bytes, a multiple of 4
    family: int  # as socket.AF_INET
    protocol: int  # its number
    # Name, offset and struct's letter, in the order of the offsets. A number stands at a multiple of its size.
    parts: Tuple[Tuple[str, int, str], ...]
    copied: Tuple[Tuple[int, int], ...]  # from and to: the attributes that name the entry to the kernel
    words: Tuple[Tuple[int, bytes], ...]  # by offset: what is the same in all, four bytes each
    protocol_at: int  # offset
    unknown: int  # attributes that no kernel had when this was written

    def fits(self, block: bytes) -> bool:
        """Whether all records of a block have this layout; those of the right length may have another."""
        count, rest = divmod(len(block), self.length)
        if rest or block[self.protocol_at :: self.length] != bytes([self.protocol]) * count:
            return False
        # Most that have another one differ in their first record.
        if any(block[offset : offset + 4] != word for offset, word in self.words):
            return False
        if count == 1:
            return True
        words, step = array("I", block), self.length // 4
        return all(words[offset // 4 :: step].tobytes() == word * count for offset, word in self.words)

    def numbers(self, block: bytes, name: str) -> "Optional[array[int]]":
        """That of each record of a block; None where the layout has none of the name."""
        for part, offset, code in self.parts:
            if part == name:
                size = struct.calcsize(code)
                found = array(code, block)[offset // size :: self.length // size]
                if sys.byteorder == "little":
                    found.byteswap()
                return found
        return None

    def reader(self, wanted: Mapping[str, Optional[int]]) -> Tuple[struct.Struct, Tuple[str, ...]]:
        """What iterates over the wanted parts of each record of a block, and which of them there are, in its order.

        Addresses are cut to so many bytes as a number says.
        """
        form, position, names = ">", 0, []
        for name, offset, code in self.parts:
            if name in wanted:
                code = "{0}s".format(min(wanted[name] or 16, int(code[:-1]))) if code.endswith("s") else code
                form += "{0}x{1}".format(offset - position, code)
                position = offset + struct.calcsize(">" + code)
                names.append(name)
        return struct.Struct("{0}{1}x".format(form, self.length - position)), tuple(names)

    def name(self, block: bytes, start: int) -> bytes:
        """What names the entry to the kernel, of the record that begins there."""
        return b"".join([block[start + begin : start + end] for begin, end in self.copied])


class _Alike:
    """The layouts of messages of one length, and those of its messages that wait to be handed on."""

    def __init__(self) -> None:
        self.layouts: List[Layout] = []
        self.came: List[bytes] = []  # in whole words, as they came
        self._marks: List[int] = []  # words of a message that tell the layouts apart
        self._waiting: DefaultDict[Any, List[bytes]] = defaultdict(list)  # by their marks

    def of_all(self, block: bytes) -> Optional[Layout]:
        return next((layout for layout in self.layouts if layout.fits(block)), None)

    def add(self, layout: Layout) -> None:
        self._marks += {_difference(layout, other) for other in self.layouts}.difference(self._marks)
        self.layouts.append(layout)

    def taken(self, least: int) -> Iterator[List[bytes]]:
        """Messages that have the same marks, where they are so many at least; they wait no more. Looked for where as many came,
        also where they come back meanwhile."""
        while len(self.came) >= least:
            if self.came:
                self._sort()
            ready = [marks for marks, alike in self._waiting.items() if len(alike) >= least]
            if not ready:
                break
            for marks in ready:
                yield self._waiting.pop(marks)

    def _sort(self) -> None:
        waiting = self._waiting
        if self._marks:
            words, step = array("I", b"".join(self.came)), len(self.came[0]) // 4
            for marks, message in zip(zip(*[words[mark::step] for mark in self._marks]), self.came):
                waiting[marks].append(message)
        else:
            waiting[()] += self.came
        self.came.clear()


def _difference(layout: Layout, other: Layout) -> int:
    """The word by which two layouts of one length differ first: an attribute's head, as all before it are the same, or where
    the protocol is."""
    return (
        next(
            (start for (start, word), (_start, another) in zip(layout.words, other.words) if word != another),
            layout.protocol_at,
        )
        // 4
    )


class Dump:
    """Entries out of what the kernel says, and what came of it so far."""

    def __init__(self, sequence: int, most: Optional[int] = None, prompt: bool = False) -> None:
        self.sequence = sequence  # of the request
        self.most = most  # entries to look at, None for all
        self.prompt = prompt  # whether to hand on what waits for others of its layout before long
        self.examined = 0
        self.skipped = 0  # messages that cannot be read
        self.forged = 0  # messages that answer something else
        self.unknown = 0  # attributes that are not known, of all entries
        self.interrupted = False  # the kernel says that entries may be missing, or be there twice
        self.error = 0  # the kernel's, as errno
        self.done = False
        self._known: DefaultDict[int, _Alike] = defaultdict(_Alike)  # by length
        self._take: Dict[
            int, Callable[[bytes], None]
        ] = {}  # where to put messages of a length, of which an entry was met
        self._layouts = 0
        self._met = 0

    def blocks(self, answers: Iterable[bytes]) -> Iterator[Tuple[Layout, bytes]]:
        """Records of one layout each, until the kernel has told all there are, or enough is met."""
        waiting, since = 0, time.monotonic()
        for answer in answers:
            layout = self._known[_length(answer)].of_all(answer)
            if layout:
                yield self._counted(layout, answer[: layout.length * self._wanted(len(answer) // layout.length)])
            else:
                waiting += self._cut(answer)
                for layout, block in self._sorted(_BLOCK):
                    waiting -= len(block) // layout.length
                    yield layout, block
            # Also where all that came since has been handed on at once; and of enough, some may be found to be no entries.
            late = self.prompt and time.monotonic() - since > _LONGEST_WAIT
            if late or waiting > _MOST_WAITING or self._met == self.most:
                yield from self._sorted(0)
                waiting, since = 0, time.monotonic()
            if self.done or self.error or self._met == self.most:
                break
        yield from self._sorted(0)

    def _wanted(self, count: int) -> int:
        """How many of so many are still to be looked at; they are met then."""
        if self.most is not None:
            count = min(count, self.most - self._met)
        self._met += count
        return count

    def _cut(self, answer: bytes) -> int:
        """Messages of an answer, in whole words, to those as long that wait; how many there are."""
        met, start, end, unpack = 0, 0, len(answer), _START.unpack_from
        last, wanted = end - HEADER.size, end if self.most is None else self.most - self._met
        if end % 4 == 0 and (self.most is None or end <= wanted * min(self._take, default=0)):
            met, start = self._cut_known(answer)
        while start <= last and met < wanted:
            length, kind, _flags, sequence = unpack(answer, start)
            after = start + (length + 3 & ~3)
            if length < HEADER.size or start + length > end:
                break
            message = answer[start:after] if after <= end else answer[start:] + bytes(after - end)
            if sequence == self.sequence and kind == _NEW:
                came = self._known[after - start].came
                came.append(message)
                if length == after - start:
                    self._take[length] = came.append
                met += 1
            else:
                self._no_entry(kind, sequence, message)
            start = after
        self.skipped += start < end and met < wanted
        self._met += met
        return met

    def _cut_known(self, answer: bytes) -> Tuple[int, int]:
        """The same as long as their lengths are known, whatever else they are; also where they end."""
        words, take, met, start, end = memoryview(answer).cast("I"), self._take, 0, 0, len(answer)
        with contextlib.suppress(KeyError):
            while start < end:
                length = words[start >> 2]
                take[length](answer[start : start + length])
                start += length
                met += 1
        if start > end:
            # The last one is cut off.
            self._known[length].came.pop()
            return met - 1, start - length
        return met, start

    def _no_entry(self, kind: int, sequence: int, message: bytes) -> None:
        if sequence != self.sequence:
            self.forged += 1
        elif kind in (ERROR, DONE):
            self.error = self.error or errno_of(message)
            self.done = True
        else:
            self.skipped += 1

    def _sorted(self, least: int) -> Iterator[Tuple[Layout, bytes]]:
        """What waits, by layout, of those that are so many at least."""
        for alike in list(self._known.values()):
            for messages in alike.taken(least):
                block = b"".join(messages)
                layout = alike.of_all(block)
                if layout:
                    yield self._counted(layout, block)
                else:
                    yield from self._one_by_one(alike, messages)

    def _one_by_one(self, alike: _Alike, messages: List[bytes]) -> Iterator[Tuple[Layout, bytes]]:
        """The same, for messages of several layouts, or of one that is not known, or that are no entries. Once another layout is
        known, the rest can be told apart: it waits again, for as many as that takes."""
        sorts: Dict[Layout, List[bytes]] = {}
        layouts = len(alike.layouts)
        for number, message in enumerate(messages):
            _length, kind, flags, sequence = _START.unpack_from(message)
            if sequence != self.sequence or kind != _NEW:
                self._no_entry(kind, sequence, message)
                self._met -= 1
                continue
            self.interrupted |= flags & INTERRUPTED != 0
            layout = alike.of_all(message) or self._learned(alike, message)
            if len(alike.layouts) > layouts:
                alike.came += messages[number:]
                break
            if layout:
                sorts.setdefault(layout, []).append(message)
            else:
                self.skipped += 1
        for layout, those in sorts.items():
            yield self._counted(layout, b"".join(those))

    def _learned(self, alike: _Alike, message: bytes) -> Optional[Layout]:
        try:
            layout = layout_of(message)
        except ValueError:
            return None
        if self._layouts < _MOST_LAYOUTS:
            self._layouts += 1
            alike.add(layout)
        return layout

    def _counted(self, layout: Layout, block: bytes) -> Tuple[Layout, bytes]:
        count = len(block) // layout.length
        self.examined += count
        self.unknown += count * layout.unknown
        return layout, block


def dump_request(sequence: int) -> bytes:
    """Asks for all entries of the network namespace, of every family."""
    return dump_of(_GET, b"", sequence)


class Update:
    """Makes requests that give entries of a layout so many seconds; only a request that is refused is answered."""

    def __init__(self, layout: Layout, seconds: int, sequence: int) -> None:
        self.sequence = sequence
        (self._from, self._to), *self._more = layout.copied
        self._timeout = ATTRIBUTE.pack(ATTRIBUTE.size + 4, _TIMEOUT) + struct.pack("!I", seconds)
        length = BODY + sum(end - start for start, end in layout.copied) + len(self._timeout)
        self._head = HEADER.pack(length, _NEW, REQUEST, sequence, 0) + bytes([layout.family, 0, 0, 0])

    def request(self, block: bytes, start: int) -> bytes:
        """For the record that begins there."""
        copied = block[start + self._from : start + self._to]
        for begin, end in self._more:
            copied += block[start + begin : start + end]
        return self._head + copied + self._timeout


def named(request: bytes) -> bytes:
    """What names the entry to the kernel, of a request of Update's."""
    return request[BODY : len(request) - ATTRIBUTE.size - 4]


def refusals(answer: bytes) -> Iterator[Tuple[int, int]]:
    """The sequence of each request that was refused, and the errno."""
    for kind, _flags, sequence, message in each_message(answer):
        if kind == ERROR:
            yield sequence, errno_of(message)


def layout_of(message: bytes) -> Layout:
    """The layout of a message of an entry. Raises ValueError where the message breaks the rules or lacks what names it."""
    parts: Dict[str, Tuple[int, str]] = {}
    words = [(0, message[:4]), (4, message[4:8]), (8, message[8:12]), (16, message[16:20])]
    copied: Dict[int, Tuple[int, int]] = {}
    protocol_at = unknown = 0

    def part(known: Mapping[int, Tuple[str, str]], kind: int, start: int, end: int) -> None:
        if kind in known:
            name, code = known[kind]
            if end - start != struct.calcsize("=" + code):
                raise ValueError("{0} has {1} bytes".format(name, end - start))
            parts[name] = (start, code)

    for kind, start, end in _attributes(message, BODY, _length(message), words):
        part(_NUMBERS, kind, start, end)
        unknown += kind > _LAST_KNOWN
        if kind in (_TUPLE_ORIG, _ZONE):
            copied[kind] = (start - ATTRIBUTE.size, end + -end % 4)
        if kind == _TUPLE_ORIG:
            for inner, inside, inner_end in _attributes(message, start, end, words):
                if inner == _TUPLE_ZONE:
                    part(_NUMBERS, _ZONE, inside, inner_end)
                elif inner in (_TUPLE_IP, _TUPLE_PROTO):
                    for last, first, last_end in _attributes(message, inside, inner_end, words):
                        part(_ADDRESSES if inner == _TUPLE_IP else _PORTS, last, first, last_end)
                        if (inner, last, last_end - first) == (_TUPLE_PROTO, _PROTOCOL, 1):
                            protocol_at = first
        elif kind == _PROTOINFO:
            for _protocol, inside, inner_end in _attributes(message, start, end, words):
                for last, first, last_end in _attributes(message, inside, inner_end, words):
                    part({_STATE: ("state", "B")}, last, first, last_end)

    family = message[HEADER.size] if len(message) > HEADER.size else 0
    sides = [parts[name][1] for name in ("source", "destination") if name in parts]
    if not protocol_at or sides != [_SIDES.get(family)] * 2:
        raise ValueError("no addresses of its family, or no protocol")
    protocol = message[protocol_at]
    if protocol not in WITH_PORTS:
        parts = {name: place for name, place in parts.items() if not name.endswith("_port")}
    return Layout(
        length=len(message),
        family=family,
        protocol=protocol,
        parts=tuple(sorted(((name,) + place for name, place in parts.items()), key=lambda item: item[1])),
        copied=tuple(copied[kind] for kind in sorted(copied)),
        words=tuple(words),
        protocol_at=protocol_at,
        unknown=unknown,
    )


def _attributes(message: bytes, start: int, end: int, words: List[Tuple[int, bytes]]) -> Iterator[Tuple[int, int, int]]:
    """Kind, and from where to where its value is, of each attribute; their heads are added to the words."""
    while start < end:
        if end - start < ATTRIBUTE.size:
            raise ValueError("an attribute is cut off")
        length, kind = ATTRIBUTE.unpack_from(message, start)
        if not ATTRIBUTE.size <= length <= end - start:
            raise ValueError("an attribute is longer than what holds it")
        words.append((start, message[start : start + ATTRIBUTE.size]))
        yield kind & KIND, start + ATTRIBUTE.size, start + length
        start += length + -length % 4


def _length(message: bytes) -> int:
    return int(HEADER.unpack_from(message)[0]) if len(message) >= HEADER.size else 0
