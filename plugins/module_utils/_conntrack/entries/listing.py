# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of /proc/net/nf_conntrack and /proc/net/ip_conntrack as records, for hosts whose kernel has no ctnetlink. Pure.

ct_seq_show of nf_conntrack_standalone.c: family (not in ip_conntrack), protocol, seconds left, state, two tuples, marks in
square brackets, and name=value for the rest.
"""

import re
import socket
import struct
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..values import natural
from . import entry as entries
from .netlink import Layout

_LINE = re.compile(
    r"(?:ipv[46] +(?:2|10) +)?(?!ipv[46] )\S+ +(?P<protocol>[0-9]{1,3}) +(?:(?P<left>[0-9]{1,10}) +)?"
    r"(?:(?P<state>[A-Z][A-Z_0-9]*) +)?(?P<rest>.*)"
)
_WORD = re.compile(r"(?<![a-z-])([a-z-]+)=(\S+)|\[([A-Z_]+)\]")
_STATUS = {"ASSURED": entries.ASSURED, "OFFLOAD": entries.OFFLOAD, "HW_OFFLOAD": entries.HW_OFFLOAD}
_BLOCK = 512
# Words of the first tuple, and those of the second that have the same where nothing is translated.
_ANSWERED = (
    (entries.SRC_NAT, (("src", "dst"), ("sport", "dport"))),
    (entries.DST_NAT, (("dst", "src"), ("dport", "sport"))),
)


class _Kind(NamedTuple):
    family: int
    protocol: int
    has_port: bool  # of DCCP only a kernel that knows it
    has_left: bool
    has_state: bool


class Listing:
    """Entries out of lines, and what came of it so far; what a Dump is for messages."""

    def __init__(self, most: Optional[int] = None) -> None:
        self.most = most  # entries to look at, None for all
        self.examined = 0
        self.skipped = 0  # lines that cannot be read
        self.done = False

    def blocks(self, lines: Iterable[str]) -> Iterator[Tuple[Layout, bytes]]:
        """Records of one layout each, until there are no more, or enough."""
        waiting: Dict[_Kind, List[bytes]] = {}
        for line in lines:
            if self.examined == self.most:
                break
            try:
                kind, record = _record(line)
            except ValueError:
                self.skipped += 1
                continue
            self.examined += 1
            alike = waiting.setdefault(kind, [])
            alike.append(record)
            if len(alike) >= _BLOCK:
                yield _layout(kind), b"".join(waiting.pop(kind))
        else:
            self.done = True
        for kind, alike in waiting.items():
            yield _layout(kind), b"".join(alike)


def _parts(kind: _Kind) -> List[Tuple[str, str]]:
    address = "4s" if kind.family == socket.AF_INET else "16s"
    parts = [("status", "I"), ("mark", "I"), ("source", address), ("destination", address)]
    if kind.has_left:
        parts.append(("left", "I"))
    parts.append(("zone", "H"))
    if kind.has_port:
        parts.append(("destination_port", "H"))
    if kind.has_state:
        parts.append(("state", "B"))
    return parts


def _layout(kind: _Kind) -> Layout:
    offset, placed = 0, []
    for name, code in _parts(kind):
        placed.append((name, offset, code))
        offset += struct.calcsize(">" + code)
    return Layout(offset + -offset % 4, kind.family, kind.protocol, tuple(placed), (), (), 0, 0)


def _record(line: str) -> Tuple[_Kind, bytes]:
    """Raises ValueError for a line that is none of an entry, or is cut off."""
    found = _LINE.match(line)
    if not found:
        raise ValueError("no entry")
    protocol = int(found.group("protocol"))
    values: Dict[str, str] = {}
    again: Dict[str, str] = {}
    status = entries.SEEN_REPLY
    for name, value, mark in _WORD.findall(found.group("rest")):
        if mark == "UNREPLIED":
            status &= ~entries.SEEN_REPLY
        status |= _STATUS.get(mark, 0)
        # The first tuple is that of the first packet; the second has the same names.
        (again if name in values else values).setdefault(name, value)
    if not again or "use" not in values or "src" not in values or "dst" not in values:
        raise ValueError("cut off")
    status |= _translation(values, again)
    state = _state(protocol, found.group("state"))
    kind = _Kind(
        socket.AF_INET6 if ":" in values["src"] else socket.AF_INET,
        protocol,
        protocol in entries.WITH_PORTS and "dport" in values,
        found.group("left") is not None,
        state is not None,
    )
    read = {
        "status": status,
        "mark": _number(values.get("mark", "0")),
        "source": _packed(kind.family, values["src"]),
        "destination": _packed(kind.family, values["dst"]),
        "zone": _number(values.get("zone", values.get("zone-orig", "0"))),
        "destination_port": _number(values.get("dport", "0")),
        "left": int(found.group("left") or 0),
        "state": state,
    }
    parts = _parts(kind)
    try:
        record = struct.pack(">" + "".join(code for _name, code in parts), *(read[name] for name, _code in parts))
    except struct.error as error:
        raise ValueError(str(error)) from None
    return kind, record + bytes(-len(record) % 4)


def _translation(first: Dict[str, str], answer: Dict[str, str]) -> int:
    """The bits of what is translated, which a line does not have."""
    return sum(flag for flag, words in _ANSWERED if any(first.get(one) != answer.get(other) for one, other in words))


def _number(text: str) -> int:
    number = natural(text)
    if number is None:
        raise ValueError(text)
    return number


def _state(protocol: int, name: Optional[str]) -> Optional[int]:
    names = [state.name for state in entries.STATES.get(protocol, ())]
    return names.index(name) if name in names else None


def _packed(family: int, address: str) -> bytes:
    try:
        return socket.inet_pton(family, address)
    except OSError:
        raise ValueError(address) from None
