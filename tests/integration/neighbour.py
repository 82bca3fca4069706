# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A neighbour who means ill: sends what looks like ctnetlink's answers to everybody else who talks to netfilter here.

usage: neighbour.py KIND...

Says "ready", and at the end, which is when a line comes, how many it could send. Needs CAP_NET_ADMIN in this network namespace, and
nothing else; only the standard library.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

NETLINK_NETFILTER = 12
HEADER = struct.Struct("=IHHII")
NEW, ERROR, DONE, MULTI, INTERRUPTED = 0x100, 2, 3, 0x2, 0x10
FOREIGN = 0xBADC0DE
# Messages to one port, before it is looked again who there is.
BURST = 50


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def entry(number: int, sequence: int, flags: int = MULTI) -> bytes:
    """An entry of UDP that nobody has."""
    sides = attribute(1, b"\x0a\x09\x00\x01") + attribute(2, b"\x0a\x09\x00\x02")
    ports = attribute(1, b"\x11") + attribute(2, struct.pack("!H", number)) + attribute(3, b"\x00\x35")
    name = attribute(0x8001, attribute(0x8001, sides) + attribute(0x8002, ports))
    body = (
        bytes([socket.AF_INET, 0, 0, 0]) + name + attribute(3, bytes([0, 0, 0, 8])) + attribute(7, bytes([0, 9, 0, 0]))
    )
    return HEADER.pack(16 + len(body), NEW, flags, sequence, 0) + body


def end(kind: int, error: int, sequence: int) -> bytes:
    return HEADER.pack(36, kind, MULTI, sequence, 0) + struct.pack("=i", -error) + bytes(16)


def refused(number: int) -> bytes:
    return b"".join(end(ERROR, number, sequence) for sequence in (0, 1, 7, 4096, FOREIGN, 0xFFFFFFFF))


# The sequence 1 is that of a simple client.
KINDS: dict[str, list[bytes]] = {
    "entries": [b"".join(entry(number, sequence) for number in range(250)) for sequence in (1, FOREIGN)],
    "ends": [end(kind, error, sequence) for kind in (DONE, ERROR) for error in (0, 1) for sequence in (1, FOREIGN)],
    "interruptions": [b"".join(entry(number, 1, MULTI | INTERRUPTED) for number in range(3))],
    "pieces": [entry(1, 1)[:60], entry(1, 1)[:9], b"\xff" * 30, b"\0", entry(1, 1) * 20 + b"\x10\0\0"],
    "layouts": [entry(1, 1)[:-8] + attribute(28 + number, bytes(number)) for number in range(200)],
    "refusals": [refused(number) for number in (1, 2, 16, 105)],
    "small": [HEADER.pack(16, NEW, 0, 0, 0)],
}


def ports(own: set[int]) -> Iterator[int]:
    """Whom one sees, and whom one guesses: a port is its process' number, if it can be."""
    for line in Path("/proc/net/netlink").read_text().splitlines()[1:]:
        _socket, protocol, port = line.split()[:3]
        if int(protocol) == NETLINK_NETFILTER and int(port) not in own:
            yield int(port)
    last = int(Path("/proc/loadavg").read_text().split()[-1])
    yield from range(last, last + 3)


def main(kinds: list[str]) -> None:
    messages = [message for kind in kinds for message in KINDS[kind]]
    random.shuffle(messages)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sender:
        sender.bind((0, 0))
        own, sent = {0, os.getpid(), sender.getsockname()[0]}, 0
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            for port in ports(own):
                try:
                    for number in range(BURST):
                        sender.sendto(messages[(sent + number) % len(messages)], socket.MSG_DONTWAIT, (port, 0))
                    sent += BURST
                except (ConnectionRefusedError, BlockingIOError):
                    sent += 1
        print(sent, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
