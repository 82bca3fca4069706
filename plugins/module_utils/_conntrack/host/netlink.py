# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What messages of netlink are made of, whatever they are about: heads, attributes, and how a dump ends. Pure: bytes to values and back.

Sources: include/uapi/linux/netlink.h, and nfnetlink.h of include/uapi/linux/netfilter.
"""

import errno
import struct
from typing import Dict, Iterator, NamedTuple, Tuple

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ERROR, DONE = 2, 3
REQUEST, INTERRUPTED, DUMP = 0x1, 0x10, 0x300
BODY = HEADER.size + 4  # behind struct nfgenmsg: family, version, two bytes more

ATTRIBUTE = struct.Struct("=HH")  # length and kind
KIND = 0x3FFF  # without the bits that say how the value is written

_LAST_ERRNO = 4095  # MAX_ERRNO of linux/err.h


def dump_of(kind: int, more: bytes, sequence: int) -> bytes:
    """Asks for all there are of something, of every family; with more attributes."""
    return HEADER.pack(BODY + len(more), kind, REQUEST | DUMP, sequence, 0) + bytes(4) + more


class Told(NamedTuple):
    """A message of another dump than one of entries."""

    attributes: Dict[int, bytes]  # by their kinds
    interrupted: bool
    error: int  # 0 for none


def told(answer: bytes) -> Iterator[Told]:
    """What an answer has, and the error that a dump ends with."""
    for kind, flags, _sequence, message in each_message(answer):
        ends = kind in (ERROR, DONE)
        yield Told(
            {} if ends else attributes(message[BODY:]), flags & INTERRUPTED != 0, errno_of(message) if ends else 0
        )


def attributes(value: bytes) -> Dict[int, bytes]:
    """By their kinds; what is no attribute ends them."""
    found: Dict[int, bytes] = {}
    start = 0
    while len(value) - start >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(value, start)
        if length < ATTRIBUTE.size:
            break
        found[kind & KIND] = value[start + ATTRIBUTE.size : start + length]
        start += length + -length % 4
    return found


def each_message(answer: bytes) -> Iterator[Tuple[int, int, int, bytes]]:
    """Kind, flags and sequence of each, and all of it."""
    start = 0
    while len(answer) - start >= HEADER.size:
        length, kind, flags, sequence, _port = HEADER.unpack_from(answer, start)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, answer[start : start + length]
        start += length + -length % 4


def errno_of(message: bytes) -> int:
    """Of a message that ends a dump, or of an error."""
    number = -struct.unpack_from("=i", message, HEADER.size)[0] if len(message) >= HEADER.size + 4 else 0
    return number if 0 <= number <= _LAST_ERRNO else errno.EPROTO
