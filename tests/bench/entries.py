# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Entries for the table of the network namespace that this runs in: UDP flows, by ctnetlink, without a packet or a rule.

usage: entries.py COUNT
"""

from __future__ import annotations

import os
import socket
import struct
import sys

NETLINK_NETFILTER = 12
# nfnetlink_conntrack.h and netlink.h: IPCTNL_MSG_CT_NEW of ctnetlink; a request, acknowledged, that creates.
CT_NEW, FLAGS = 1 << 8, 0x1 | 0x4 | 0x400
NESTED = 0x8000
UDP = 17
HEADER = struct.Struct("=IHHII")


def add(count: int, lifetime: int = 600) -> None:
    """``count`` flows, at most 60000, that end after ``lifetime`` seconds."""
    here, there = socket.inet_aton("10.255.0.1"), socket.inet_aton("10.255.0.2")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        for port in range(1024, 1024 + count):
            body = (
                struct.pack("!BBH", socket.AF_INET, 0, 0)
                + _tuple(1, here, there, port, 53)
                + _tuple(2, there, here, 53, port)
                + _attribute(7, struct.pack("!I", lifetime))
            )
            kernel.send(HEADER.pack(HEADER.size + len(body), CT_NEW, FLAGS, port, 0) + body)
            error = -struct.unpack_from("=i", kernel.recv(4096), HEADER.size)[0]
            if error:
                raise OSError(error, os.strerror(error))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _tuple(kind: int, source: bytes, target: bytes, source_port: int, target_port: int) -> bytes:
    addresses = _attribute(1 | NESTED, _attribute(1, source) + _attribute(2, target))
    ports = _attribute(2, struct.pack("!H", source_port)) + _attribute(3, struct.pack("!H", target_port))
    return _attribute(kind | NESTED, addresses + _attribute(2 | NESTED, _attribute(1, bytes([UDP])) + ports))


if __name__ == "__main__":
    add(int(sys.argv[1]))
