# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a host's door that is a socket: Host.netfilter() opens it. What is said through it, netlink.py knows.

Whoever has CAP_NET_ADMIN in the network namespace may send to this socket, too. Believed is what comes from the kernel, whose port
is 0, and has the sequence of what was asked, which nobody else knows.
"""

import array
import contextlib
import errno
import os
import socket
import struct
import time
from itertools import islice
from typing import Generator, Iterator, Optional

from .ahead import ahead

# Bytes. The kernel's answers are of 32 KiB at most (netlink_dump in af_netlink.c).
LONGEST_ANSWER = 65536
# Seconds. What a conversation may spend on receiving; a million entries take 2.
LONGEST_RECEIVING = 120.0

_NETLINK_NETFILTER = 12  # linux/netlink.h
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26  # asm-generic/socket.h
_ROOM = 4 * 1024 * 1024
# Answers that no child is worth.
_FEW = 8

_SEQUENCE = struct.Struct("=8xI")  # of struct nlmsghdr
# The last bits of a sequence number the requests of a conversation; the others are the same in all of them.
_NUMBER = 0xFFF
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_LOAD_WORD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # linux/bpf_common.h


class Netfilter:
    """A socket to the part of the kernel that keeps the table (NETLINK_NETFILTER). Everything raises OSError."""

    def __init__(self) -> None:
        # Of the first request; those of others follow it, up to 4095 of them.
        self.sequence = int.from_bytes(os.urandom(4), "big") & ~_NUMBER
        self.forged = 0  # messages that were passed over
        self._receiving = 0.0  # seconds
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        try:
            # Of refusals there may be as many as requests in one go.
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        self._socket.bind((0, 0))

    def send(self, requests: bytes) -> None:
        """Returns when the kernel has done what it was asked."""
        self._socket.send(requests)

    def shut_out(self) -> None:
        """Make the kernel drop, unseen and uncounted, what has another sequence: so it takes no room, and no time."""
        # As the network has it: that is how a filter reads.
        mask, own = (struct.unpack(">I", struct.pack("=I", word))[0] for word in (~_NUMBER & 0xFFFFFFFF, self.sequence))
        steps = [(_LOAD_WORD, 0, 8), (_AND, 0, mask), (_EQUAL, 1, own), (_RETURN, 0, 0xFFFFFFFF), (_RETURN, 0, 0)]
        program = array.array("B", b"".join(_INSTRUCTION.pack(code, 0, unlike, value) for code, unlike, value in steps))
        # Where it may not be had, there is still the look at each message.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(steps), program.buffer_info()[0])
            )

    def answers(self) -> Generator[bytes, None, None]:
        """All that the kernel has to tell of what it was asked; of more than a few, the next is received while one is looked at.

        It is always ready: to receive some makes the kernel write what comes next. So where none is ready, there is no more.
        """
        few = 0
        for answer in islice(self.received(), _FEW):
            few += 1
            yield answer
        if few == _FEW:
            with contextlib.closing(ahead(LONGEST_ANSWER, self._next, lambda: self.forged, self._count)) as more:
                yield from more

    def _count(self, forged: int) -> None:
        self.forged = forged

    def received(self) -> Iterator[bytes]:
        """What there is already; does not wait."""
        while True:
            try:
                answer = self._next()
            except BlockingIOError:
                return
            if answer is not None:
                yield answer

    def _next(self) -> Optional[bytes]:
        """What the kernel says next; None for what somebody else says. Raises BlockingIOError where nothing is there."""
        begun = time.monotonic()
        answer, _more, flags, sender = self._socket.recvmsg(LONGEST_ANSWER, 0, socket.MSG_DONTWAIT)
        self._receiving += time.monotonic() - begun
        if self._receiving > LONGEST_RECEIVING:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        if sender[0] != 0 or not self._asked_for(answer):
            self.forged += 1
            if self.forged == 1:
                self.shut_out()
            return None
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return answer

    def _asked_for(self, answer: bytes) -> bool:
        return len(answer) >= _SEQUENCE.size and _SEQUENCE.unpack_from(answer)[0] & ~_NUMBER == self.sequence

    def close(self) -> None:
        self._socket.close()
