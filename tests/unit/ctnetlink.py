# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A kernel's table in memory: what ctnetlink tells of it and does to it, and a reader of it that is slow and plain."""

import base64
import errno
import json
import os
import socket
import struct

from ansible_collections.headroom.netfilter.tests.unit.fakes import FakeKernel

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins/module_utils/_conntrack/entries/golden")

ICMP, TCP, UDP, DCCP, GRE, ESP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 50, 58, 132, 136
SEEN_REPLY, ASSURED, FIXED_TIMEOUT, OFFLOAD, HW_OFFLOAD = 2, 4, 1024, 1 << 14, 1 << 15
ESTABLISHED, CLOSE_WAIT, TIME_WAIT = 3, 5, 7
# Struct members in the order of the wire, and where the attributes begin.
HEADER, ATTRIBUTE, BODY = struct.Struct("=IHHII"), struct.Struct("=HH"), 20
ERROR, DONE, NEW, GET = 2, 3, 0x100, 0x101
REQUEST, MULTI, INTERRUPTED, DUMP = 0x1, 0x2, 0x10, 0x300
NESTED = 0x8000
FULL = 30000  # bytes in an answer
SEQUENCE = 1  # of what a conversation asks for first


def golden_text(name):
    with open(os.path.join(GOLDEN, name), encoding="ascii") as source:
        return source.read()


def golden_answers():
    """What a kernel said, answer by answer."""
    return [base64.b64decode(line) for line in golden_text("table.base64").splitlines()]


def golden_messages():
    return [message for answer in golden_answers() for message in cut(answer) if kind_of(message) == NEW]


# Writing.


def attribute(kind, value):
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind, *inner):
    return attribute(kind | NESTED, b"".join(inner))


def message(body, kind=NEW, flags=MULTI, family=socket.AF_INET, sequence=SEQUENCE):
    inner = bytes([family, 0, 0, 0]) + body
    return HEADER.pack(HEADER.size + len(inner), kind, flags, sequence, 0) + inner


def done(number=0, sequence=SEQUENCE):
    return HEADER.pack(HEADER.size + 4, DONE, MULTI, sequence, 0) + struct.pack("=i", -number)


def refusal(number, sequence=SEQUENCE):
    """A negative acknowledgement, with the head of what it answers."""
    return HEADER.pack(36, ERROR, 0, sequence, 0) + struct.pack("=i", -number) + bytes(16)


class Entry:
    """An entry, as the kernel has it."""

    def __init__(
        self, protocol=TCP, source="10.0.0.1", destination="198.51.100.1", ports=(40000, 443), left=100, **more
    ):
        self.protocol, self.source, self.destination, self.ports, self.left = protocol, source, destination, ports, left
        self.status = more.pop("status", SEEN_REPLY | ASSURED)
        self.state = more.pop("state", ESTABLISHED if protocol == TCP else None)
        self.mark, self.zone = more.pop("mark", None), more.pop("zone", None)
        self.from_zone = more.pop("from_zone", None)
        self.extra = more.pop("extra", b"")  # attributes behind all others
        assert not more

    @property
    def family(self):
        return socket.AF_INET6 if ":" in self.source else socket.AF_INET

    def _tuple(self):
        first = 3 if self.family == socket.AF_INET6 else 1
        sides = [socket.inet_pton(self.family, address) for address in (self.source, self.destination)]
        numbers = attribute(1, bytes([self.protocol]))
        if self.protocol in (TCP, UDP, DCCP, GRE, SCTP, UDPLITE):
            numbers += attribute(2, struct.pack("!H", self.ports[0])) + attribute(3, struct.pack("!H", self.ports[1]))
        elif self.protocol in (ICMP, ICMPV6):
            numbers += attribute(4, struct.pack("!H", 7)) + attribute(5, b"\x08") + attribute(6, b"\0")
        zone = b"" if self.from_zone is None else attribute(3, struct.pack("!H", self.from_zone))
        return nested(1, attribute(first, sides[0]), attribute(first + 1, sides[1])) + nested(2, numbers) + zone

    def name(self):
        """What the kernel finds it by."""
        zone = b"" if self.zone is None else attribute(18, struct.pack("!H", self.zone))
        return nested(1, self._tuple()) + zone

    def told(self, flags=MULTI, sequence=SEQUENCE):
        body = self.name() + attribute(3, struct.pack("!I", self.status)) + attribute(7, struct.pack("!I", self.left))
        if self.mark is not None:
            body += attribute(8, struct.pack("!I", self.mark))
        if self.state is not None:
            which = {TCP: 1, DCCP: 2, SCTP: 3}[self.protocol]
            body += nested(4, nested(which, attribute(1, bytes([self.state])), attribute(2, b"\0")))
        return message(body + self.extra, NEW, flags, self.family, sequence)


STATISTICS, DYING, UNCONFIRMED = 0x104, 0x106, 0x107  # requests for what is no entry of the table


def statistics(numbers, first=1, cpu=0):
    """What the kernel counts on a processor, from so many an attribute on."""
    body = b"".join(attribute(kind, struct.pack("!I", number)) for kind, number in enumerate(numbers, first))
    return HEADER.pack(BODY + len(body), STATISTICS, MULTI, SEQUENCE, 0) + struct.pack("!BBH", 0, 0, cpu) + body


NFT_OBJECTS, CT_TIMEOUTS = 0xA13, 0x801  # requests for timeout policies


def policy(protocol, seconds, family=None):
    """What the kernel tells of one: of nftables, or where a family is named of nfnetlink_cttimeout."""
    values = nested(
        4 if family else 3, *(attribute(number, struct.pack("!I", each)) for number, each in seconds.items())
    )
    numbers = struct.pack("!H", family or socket.AF_INET), bytes([protocol])
    if family:
        body = attribute(1, b"name\0") + attribute(2, numbers[0]) + attribute(3, numbers[1]) + values
        return message(body, 0x800)
    inside = nested(4, attribute(1, numbers[0]), attribute(2, numbers[1]), values)
    return message(
        attribute(1, b"table\0") + attribute(2, b"name\0") + attribute(3, struct.pack("!I", 7)) + inside, 0xA12
    )


# Reading, one attribute after the other.


def kind_of(one):
    return HEADER.unpack_from(one)[1]


def sequence_of(one):
    return HEADER.unpack_from(one)[3]


def cut(answer):
    """Whole messages; what is no message ends it, and comes as None."""
    found, start = [], 0
    while start < len(answer):
        length = HEADER.unpack_from(answer, start)[0] if len(answer) - start >= HEADER.size else 0
        if length < HEADER.size or length > len(answer) - start:
            return found + [None]
        found.append(answer[start : start + length])
        start += (length + 3) // 4 * 4
    return found


def walked(value):
    """(kind, value) of each attribute; None for what is not made of attributes."""
    found, start = [], 0
    while start < len(value):
        if len(value) - start < 4:
            return None
        length, kind = ATTRIBUTE.unpack_from(value, start)
        if length < 4 or length > len(value) - start:
            return None
        found.append((kind & 0x3FFF, value[start + 4 : start + length]))
        start += (length + 3) // 4 * 4
    return found


def plainly(one):
    """The parts of an entry, by name; None for what cannot be read."""
    outer = walked(one[BODY:])
    if outer is None:
        return None
    found = {"unknown": sum(kind > 27 for kind, _value in outer), "family": one[16:17]}

    def number(name, value, size):
        found[name] = int.from_bytes(value, "big")
        return len(value) == size

    fine = True
    for kind, value in outer:
        if kind in (3, 7, 8):
            fine &= number({3: "status", 7: "left", 8: "mark"}[kind], value, 4)
        elif kind == 18:
            fine &= number("zone", value, 2)
        elif kind == 1:
            fine &= _tuple_read(value, found, number)
        elif kind == 4:
            protocols = walked(value)
            fine &= protocols is not None
            for _protocol, inner in protocols or ():
                states = walked(inner)
                fine &= states is not None
                for state, at in states or ():
                    if state == 1:
                        fine &= number("state", at, 1)
    size = {b"\x02": 4, b"\x0a": 16}.get(found.pop("family"))
    fine &= "protocol" in found and len(found.get("source", b"")) == len(found.get("destination", b"")) == size
    if not fine:
        return None
    if found["protocol"] not in (TCP, UDP, DCCP, SCTP, UDPLITE):
        found.pop("destination_port", None)
        found.pop("source_port", None)
    return found


def _tuple_read(value, found, number):
    inner = walked(value)
    fine = inner is not None
    for kind, part in inner or ():
        if kind == 3:
            fine &= number("zone", part, 2)
        elif kind in (1, 2):
            last = walked(part)
            fine &= last is not None
            for name, at in last or ():
                if kind == 1 and name in (1, 2, 3, 4):
                    found["source" if name in (1, 3) else "destination"] = at
                    fine &= len(at) == (4 if name < 3 else 16)
                elif kind == 2 and name == 1 and len(at) == 1:
                    found["protocol"] = at[0]
                elif kind == 2 and name in (2, 3):
                    fine &= number("source_port" if name == 2 else "destination_port", at, 2)
    return fine


# The machine.


class Table:
    """What all conversations of a host are with. The hooks are for what happens in between."""

    def __init__(self, entries=(), answers=None):
        self.entries = list(entries)
        self._named = {}
        self.answers = answers  # to every dump, in place of the entries
        self.dumps = 0
        self.batches = []  # requests in each
        self.updated = []  # entries, in the order of the updates
        self.refuse = None  # errno of a dump
        self.before_dump = lambda number: None  # may change entries; gives what is wrong with the dump, as below
        self.before_update = lambda entry: None  # gives an errno for a refusal
        self.before_send = lambda requests: None  # of changes; may raise what send does
        self.policies = {}  # and what else is no entry, by the type of the request: answers; an exception among them is raised in its place
        self.asked = []  # types of such requests
        self.forged = lambda dumps: 0  # messages of others in a conversation that began after so many dumps
        self.more_refusals = []  # that nothing was asked for; an exception among them is raised in its place
        self.shut_out = 0  # conversations that others are kept out of
        self.open = 0

    def dumped(self):
        """Answers; an exception among them is raised in its place."""
        self.dumps += 1
        wrong = self.before_dump(self.dumps)
        self._named = {(entry.family, entry.name()): entry for entry in self.entries}
        if self.refuse:
            return [refusal(self.refuse)]
        if self.answers is not None:
            return list(self.answers)
        flags = MULTI | INTERRUPTED if wrong == "interrupted" else MULTI
        answers, part = [], b""
        for entry in self.entries:
            part += entry.told(flags)
            if len(part) > FULL:
                answers.append(part)
                part = b""
        answers += [part] if part else []
        if isinstance(wrong, Exception):
            return answers[: len(answers) // 2] + [wrong]
        return answers + [done()]

    def update(self, request):
        """What the kernel says to it, if anything: ctnetlink_new_conntrack of an entry that is there."""
        length, kind, flags, sequence, _port = HEADER.unpack_from(request)
        assert (length, kind, flags) == (len(request), NEW, REQUEST), "no plain update"
        attributes = walked(request[BODY:])
        assert [name for name, _value in attributes] in ([1, 7], [1, 18, 7]), "more or less than a name and a time"
        name, seconds = request[BODY:-8], struct.unpack("!I", attributes[-1][1])[0]
        entry = self._named.get((request[16], name))
        number = self.before_update(entry) if entry in self.entries else errno.ENOENT
        if number is None and entry.status & FIXED_TIMEOUT:
            number = errno.EPERM
        if number:
            return refusal(number, sequence)
        entry.left = seconds
        self.updated.append(entry)
        return None


class Conversation:
    """In place of host.Netfilter."""

    sequence = SEQUENCE

    def __init__(self, table):
        self._table = table
        self._dump, self._refusals = [], []
        self.forged = table.forged(table.dumps)
        table.open += 1

    def send(self, requests):
        parts = cut(requests)
        if kind_of(parts[0]) == GET:
            assert requests == message(b"", GET, REQUEST | DUMP, 0, self.sequence)
            self._dump = self._table.dumped()
            return
        if kind_of(parts[0]) != NEW:
            self._table.asked.append(kind_of(parts[0]))
            self._refusals += self._table.policies.get(self._table.asked[-1], [refusal(errno.EINVAL)])
            return
        self._table.before_send(parts)
        self._table.batches.append(len(parts))
        self._refusals += [answer for answer in map(self._table.update, parts) if answer]
        self._refusals += self._table.more_refusals

    def shut_out(self):
        self._table.shut_out += 1

    def answers(self):
        while self._dump:
            answer = self._dump.pop(0)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def received(self):
        yield from self.answers()
        while self._refusals:
            answer = self._refusals.pop(0)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def close(self):
        self._table.open -= 1


class TableHost(FakeKernel):
    """A host with a table, or where ``refused`` is an exception, one that gives nobody a socket."""

    def __init__(self, entries=(), answers=None, refused=None, **more):
        super().__init__(**more)
        self.table = Table(entries, answers)
        self.refused = refused
        self.entered, self.longest = [], None

    def netfilter(self):
        if self.refused:
            raise self.refused
        return Conversation(self.table)

    def lines(self, path):
        yield from (self.texts.get(path) or "").splitlines(True)

    def namespace(self, path):
        return 4026532001 if path in self.texts else None

    def within(self, path, work, longest):
        assert self.table.dumps == self.table.open == 0, "what is open stays where it was opened"
        self.entered.append(path)
        self.longest = longest
        return json.loads(json.dumps(work()))


def refused(number):
    return OSError(number, os.strerror(number))
