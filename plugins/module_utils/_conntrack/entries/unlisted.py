# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries that are counted, and take room, but stand in no dump of the table.

A dying one waits until the event of its end is delivered to whoever wants such events reliably. One that is not confirmed belongs
to a packet that is still on its way, as in a queue to a process. Both have lists of their own, which ctnetlink tells. What is in no
list at all has leaked. A moment's difference is nothing: so there are two looks, and the lesser counts.
"""

import time
from typing import Any, Dict, List, Optional

from .. import kernel
from ..host.ctnetlink import DYING, ENTRIES, UNCONFIRMED, listed
from ..host.door import Host
from ..sources.tracking import release, sysctl
from ..values import hexadecimal, integer

# Share of the entries counted, from where on a second look is worth its while; and seconds until then.
SHARE = 0.01
PAUSE = 1.0

# Since then the kernel keeps no list of what is not confirmed, and tells an empty one.
_NO_UNCONFIRMED = (5, 19)

# NETLINK_NETFILTER, and NFNLGRP_CONNTRACK_DESTROY as a bit of Groups in /proc/net/netlink.
_NETFILTER, _ENDS = "12", 1 << 2
# Listeners that are told of.
_MOST_TOLD = 3


def unlisted(host: Host, names: kernel.Flavour, whole: bool, seen: Optional[int] = None) -> Dict[str, Any]:
    """How many entries more are counted than the table lists, which takes seconds for a million and is asked for by ``whole``; how
    many are dying, and not confirmed; and who has lost events. None for what is not known. ``seen`` is how many were just listed.
    """
    first = _look(host, names, listed(host, ENTRIES) if whole and seen is None else seen)
    if max(number or 0 for number in first.values()) < max(SHARE * _count(host, names), 1):
        return dict(first, listeners=[])
    time.sleep(PAUSE)
    second = _look(host, names, listed(host, ENTRIES) if whole else None)
    lesser = {name: _lesser(number, second[name]) for name, number in first.items()}
    return dict(lesser, listeners=_listeners(host) if lesser["dying"] else [])


def _look(host: Host, names: kernel.Flavour, seen: Optional[int]) -> Dict[str, Optional[int]]:
    has_unconfirmed = kernel.version(release(host)) < _NO_UNCONFIRMED
    return {
        "entries": None if seen is None else max(_count(host, names) - seen, 0),
        "dying": listed(host, DYING),
        "unconfirmed": listed(host, UNCONFIRMED) if has_unconfirmed else None,
    }


def _count(host: Host, names: kernel.Flavour) -> int:
    return integer(host.read(sysctl(names, "count"))) or 0


def _lesser(number: Optional[int], other: Optional[int]) -> Optional[int]:
    return None if number is None or other is None else min(number, other)


def _listeners(host: Host) -> List[str]:
    """Who has asked for the events of ends, and lost some, the most first: by the process whose number the socket's port is, as the
    first that a process opens has it."""
    head, *lines = (host.read("/proc/net/netlink") or "").split("\n")
    lost = []
    for line in lines:
        said = dict(zip(head.split(), line.split()))
        port, drops = integer(said.get("Pid")), integer(said.get("Drops"))
        if said.get("Eth") == _NETFILTER and (hexadecimal(said.get("Groups", "")) or 0) & _ENDS and drops:
            name = (host.read("/proc/{0}/comm".format(port)) or "?").strip()
            lost.append((-drops, "{0} ({1}): {2} events lost".format(name, port, drops)))
    return [text for _drops, text in sorted(lost)[:_MOST_TOLD]]
