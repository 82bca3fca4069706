# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Entries for the table of the network namespace that this runs in, by ctnetlink, without a packet or a rule.

usage: entries.py COUNT [SEED]

Without a seed they are UDP flows from one host to one port; with one, a mixed table that looks like a real one.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

NETLINK_NETFILTER = 12
# nfnetlink_conntrack.h and netlink.h: IPCTNL_MSG_CT_NEW of ctnetlink; a request that creates, and nothing else.
CT_NEW, FLAGS = 1 << 8, 0x1 | 0x400 | 0x200
NESTED = 0x8000
ERROR = 2
ICMP, TCP, UDP, DCCP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 132, 136
# nf_conntrack_common.h; every entry of a table has the third.
SEEN_REPLY, ASSURED, CONFIRMED, FIXED_TIMEOUT = 1 << 1, 1 << 2, 1 << 3, 1 << 10
BOTH, ORIGINAL, REPLY = range(3)
HEADER = struct.Struct("=IHHII")
# Messages in one go, of some 150 bytes; there is room for as many refusals.
BATCH = 100
# Seconds: longer than whoever looks at them takes, however busy the machine.
DAY = 86400


class Flow(NamedTuple):
    """An entry; its reply is the inverse."""

    protocol: int
    source: bytes  # 4 or 16
    destination: bytes
    source_port: int = 0  # of ICMP the identifier, of GRE the key
    destination_port: int = 0
    state: int = 0  # for protocols that have some
    status: int = CONFIRMED
    left: int = DAY
    mark: int = 0
    zone: int = 0
    zone_of: int = BOTH  # directions


def add(count: int, lifetime: int = DAY) -> None:
    """``count`` UDP flows, at most 60000, that end after ``lifetime`` seconds."""
    here, there = socket.inet_aton("10.255.0.1"), socket.inet_aton("10.255.0.2")
    for _protocol, error in make(Flow(UDP, here, there, 1024 + number, 53, left=lifetime) for number in range(count)):
        raise OSError(error, os.strerror(error))


def make(flows: Iterable[Flow]) -> Counter[tuple[int, int]]:
    """Entries for the table; how many were refused, by protocol and errno."""
    refused: Counter[tuple[int, int]] = Counter()
    messages = (_shape(len(flow.source), flow.protocol, flow.zone > 0, flow.zone_of)(flow) for flow in flows)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        while batch := b"".join(islice(messages, BATCH)):
            kernel.send(batch)
            while True:
                try:
                    answer = kernel.recv(65536, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                _length, kind, _flags, protocol, _port, error = struct.unpack_from("=IHHIIi", answer)
                assert kind == ERROR, answer
                refused[protocol, -error] += 1
    return refused


# What a table is made of, and how often each is met: protocols, of which connection tracking knows nothing of 99; what is
# added to the status; ports, 0 for any; states of TCP; zones, with their direction.
_PROTOCOLS = {TCP: 60, UDP: 25, ICMP: 3, ICMPV6: 2, SCTP: 3, GRE: 2, UDPLITE: 1, DCCP: 1, 99: 3}
_STATUSES = {0: 20, SEEN_REPLY: 18, SEEN_REPLY | ASSURED: 58, ASSURED: 2, SEEN_REPLY | ASSURED | FIXED_TIMEOUT: 2}
_PORTS = {443: 40, 80: 18, 53: 15, 22: 5, 5432: 4, 123: 3, 0: 15}
_TCP_STATES = {1: 2, 2: 1, 3: 60, 4: 3, 5: 4, 6: 1, 7: 20, 8: 2, 9: 1}
_ZONES = {(0, BOTH): 85, (7, BOTH): 8, (65535, BOTH): 3, (7, ORIGINAL): 2, (9, REPLY): 2}
_MARKS = {0: 80, 1: 10, 0x10: 8, 0xFFFFFFFF: 2}
_LEFT = {9000: 40, 40000: 20, 400000: 40}
_NETWORKS = {4: (b"\x0a\x01", b"\xac\x10"), 16: (b"\xfd" + bytes(12) + b"\x01", b"\xfd" + bytes(12) + b"\x02")}


def mixed(count: int, seed: int) -> Iterator[Flow]:
    """Flows as a busy gateway has them: few ports and few hosts have most. For a seed they are always the same."""
    dice = random.Random(seed)
    made = 0
    met: set[tuple[Any, int]] = set()
    kinds = (_PROTOCOLS, _STATUSES, _PORTS, _TCP_STATES, _ZONES, _MARKS, _LEFT)
    while made < count:
        picked = [dice.choices(list(kind), list(kind.values()), k=1000) for kind in kinds]
        for protocol, status, port, state, zone, mark, left in zip(*picked):
            six = protocol == ICMPV6 or (protocol != ICMP and dice.random() < 0.25)
            client, server = (network + _host(dice) for network in _NETWORKS[16 if six else 4])
            name = (
                protocol,
                client,
                server,
                dice.randrange(1024, 65536) if protocol in _PORTED or protocol in _ECHO else 0,
                (port or dice.randrange(1, 65536)) if protocol in _PORTED else 0,
            )
            # What has no ports to the kernel is known by its addresses; in a zone of one direction it is in the first as well.
            known = name[:3] if protocol in (DCCP, 99) else name
            places = {(known, zone[0]), (known, zone[0] if zone[1] == BOTH else 0)}
            if made < count and not places & met:
                met |= places
                made += 1
                # Others have fewer states; a number too high is refused, or makes /proc read beyond its list of names.
                state = state if protocol == TCP else 1 + state % (7 if protocol == DCCP else 8)
                yield Flow(*name, state, CONFIRMED | status, left + dice.randrange(500), mark, *zone)


def _host(dice: random.Random) -> bytes:
    return min(int(dice.paretovariate(0.5)), 65535).to_bytes(2, "big")


class _Part(NamedTuple):
    """Of a message: its length, how struct has it, and what it holds, bytes or the name of a part of a flow."""

    length: int
    form: str
    values: tuple[bytes | str, ...]


def _part(form: str, value: bytes | str) -> _Part:
    return _Part(struct.calcsize(">" + form), form, (value,))


def _bytes(value: bytes) -> _Part:
    return _part(f"{len(value)}s", value)


def _attribute(kind: int, *inner: _Part) -> _Part:
    length = 4 + sum(part.length for part in inner)
    padding = -length % 4
    head = struct.pack("=HH", length, kind)
    return _Part(
        length + padding,
        "4s" + "".join(part.form for part in inner) + f"{padding}x",
        (head, *(value for part in inner for value in part.values)),
    )


# With ports, or keys in their place.
_PORTED = (TCP, UDP, DCCP, GRE, SCTP, UDPLITE)
# With an identifier: the first of three attributes, and the types of an echo and of its reply.
_ECHO = {ICMP: (4, b"\x08", b"\0"), ICMPV6: (7, b"\x80", b"\x81")}
# What a protocol knows of an entry besides its state: the kernel wants all of it.
_INFO = {
    TCP: (1, ()),
    DCCP: (2, (_attribute(2, _bytes(b"\0")), _attribute(3, _bytes(bytes(8))))),
    SCTP: (3, (_attribute(2, _bytes(bytes(4))), _attribute(3, _bytes(bytes(4))))),
}


@cache
def _shape(size: int, protocol: int, zoned: bool, zone_of: int) -> Callable[[Flow], bytes]:
    """What makes a message of a flow."""
    zone = _attribute(18, _part("H", "zone"))
    attributes = [
        _tuple(1, size, protocol, ("source", "destination"), (zone,) if zoned and zone_of == ORIGINAL else ()),
        _tuple(2, size, protocol, ("destination", "source"), (zone,) if zoned and zone_of == REPLY else ()),
        _attribute(3, _part("I", "status")),
        _attribute(7, _part("I", "left")),
        _attribute(8, _part("I", "mark")),
    ]
    if zoned and zone_of == BOTH:
        attributes.append(zone)
    if protocol in _INFO:
        kind, more = _INFO[protocol]
        state = _attribute(1, _part("B", "state"))
        attributes.append(_attribute(4 | NESTED, _attribute(kind | NESTED, state, *more)))
    length = HEADER.size + 4 + sum(attribute.length for attribute in attributes)
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    # The kernel's answer has the sequence number of what it answers: the protocol.
    head = _bytes(HEADER.pack(length, CT_NEW, FLAGS, protocol, 0) + bytes([family, 0, 0, 0]))
    form = struct.Struct(">" + "".join(part.form for part in (head, *attributes)))
    values = [value for part in (head, *attributes) for value in part.values]
    constants = tuple(value for value in values if isinstance(value, bytes))
    places = iter(range(len(Flow._fields), len(Flow._fields) + len(constants)))
    pick = itemgetter(*(Flow._fields.index(value) if isinstance(value, str) else next(places) for value in values))
    return lambda flow: form.pack(*pick(flow + constants))


def _tuple(kind: int, size: int, protocol: int, ends: tuple[str, str], zone: tuple[_Part, ...]) -> _Part:
    first = 1 if size == 4 else 3
    addresses = (_attribute(first + place, _part(f"{size}s", end)) for place, end in enumerate(ends))
    named = [_attribute(1, _bytes(bytes([protocol])))]
    if protocol in _ECHO:
        number, *types = _ECHO[protocol]
        named += [
            _attribute(number, _part("H", "source_port")),
            _attribute(number + 1, _bytes(types[kind - 1])),
            _attribute(number + 2, _bytes(b"\0")),
        ]
    elif protocol in _PORTED:
        named += [_attribute(2 + place, _part("H", f"{end}_port")) for place, end in enumerate(ends)]
    return _attribute(kind | NESTED, _attribute(1 | NESTED, *addresses), _attribute(2 | NESTED, *named), *zone)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        for (protocol, error), count in make(mixed(*map(int, sys.argv[1:3]))).items():
            print(f"protocol {protocol}: {count} refused ({os.strerror(error)})")
    else:
        add(int(sys.argv[1]))
