# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a host's door that is a socket: Host.netfilter() opens it. What is said through it, netlink.py knows."""

import contextlib
import queue
import socket
import threading
from typing import Generator, Iterator, Union

# Bytes. The kernel's answers are of 32 KiB at most (netlink_dump in af_netlink.c).
LONGEST_ANSWER = 65536

_NETLINK_NETFILTER = 12  # linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_ROOM = 4 * 1024 * 1024
_AHEAD = 16


class Netfilter:
    """A socket to the part of the kernel that keeps the table (NETLINK_NETFILTER). Everything raises OSError."""

    def __init__(self) -> None:
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

    def answers(self) -> Generator[bytes, None, None]:
        """All that the kernel has to tell of what it was asked, the next of it received while one is looked at.

        It is always ready: to receive some makes the kernel write what comes next. So where none is ready, there is no more.
        """
        told: queue.Queue[Union[bytes, OSError, None]] = queue.Queue(_AHEAD)
        left = threading.Event()

        def receive() -> None:
            try:
                while not left.is_set():
                    told.put(self._socket.recv(LONGEST_ANSWER, socket.MSG_DONTWAIT))
            except BlockingIOError:
                told.put(None)
            except OSError as error:
                told.put(error)

        reader = threading.Thread(target=receive, daemon=True)
        reader.start()
        try:
            answer = told.get()
            while answer is not None:
                if isinstance(answer, OSError):
                    raise answer
                yield answer
                answer = told.get()
        finally:
            left.set()
            while reader.is_alive():
                with contextlib.suppress(queue.Empty):
                    told.get(timeout=0.001)

    def received(self) -> Iterator[bytes]:
        """What there is already; does not wait."""
        while True:
            try:
                yield self._socket.recv(LONGEST_ANSWER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def close(self) -> None:
        self._socket.close()
