# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is to an entry: by its own addresses, and by whether addresses are translated."""

import contextlib
import re
import socket
from typing import FrozenSet, Iterator, Optional

from ..host.door import Host
from .entry import TRANSLATED as _TRANSLATED

SERVER, CLIENT, FORWARD, LOCAL, TRANSLATED = "server", "client", "forward", "local", "translated"


def addresses(host: Host) -> Optional[FrozenSet[bytes]]:
    """Those of the network namespace; None where they are not told, as of a router with very many routes."""
    text = host.read("/proc/net/fib_trie")
    return None if text is None else frozenset(_four(text)) | frozenset(_six(host.read("/proc/net/if_inet6") or ""))


def _four(text: str) -> Iterator[bytes]:
    address = ""
    for line in text.split("\n"):
        found = re.search(r"\|-- ([0-9.]{7,15})$", line)
        if found:
            address = found.group(1)
        elif address and "/32 host LOCAL" in line:
            with contextlib.suppress(OSError):
                yield socket.inet_pton(socket.AF_INET, address)


def _six(text: str) -> Iterator[bytes]:
    for line in text.split("\n"):
        if re.match("[0-9a-f]{32} ", line):
            yield bytes.fromhex(line[:32])


def role(own: Optional[FrozenSet[bytes]], source: bytes, destination: bytes, status: int) -> Optional[str]:
    """By the addresses of the first packet. What is sent to many at once comes to this host, too."""
    if own is None:
        return None
    if status & _TRANSLATED:
        return TRANSLATED
    from_here, to_here = (address in own or _is_loopback(address) for address in (source, destination))
    if from_here:
        return LOCAL if to_here else CLIENT
    return SERVER if to_here or _is_of_many(destination) else FORWARD


def _is_loopback(address: bytes) -> bool:
    return len(address) == 4 and address[0] == 127


def _is_of_many(address: bytes) -> bool:
    return address[0] >= (224 if len(address) == 4 else 255)
