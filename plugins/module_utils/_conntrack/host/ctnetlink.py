# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ctnetlink tells besides the entries of the table, of the network namespace that this runs in: its counters, and how many
entries stand in lists of their own. A request each, which loads no module. Few hosts are asked, so it is imported late.

Sources: include/uapi/linux/netfilter/nfnetlink_conntrack.h and net/netfilter/nf_conntrack_netlink.c.
"""

import contextlib
import errno
import os
from typing import Dict, Iterator, Optional

from .door import Host
from .netlink import BODY, DONE, ERROR, INTERRUPTED, attributes, dump_of, each_message, errno_of

# IPCTNL_MSG_CT_GET, _GET_STATS_CPU, _GET_DYING and _GET_UNCONFIRMED of NFNL_SUBSYS_CTNETLINK
ENTRIES, _STATISTICS, DYING, UNCONFIRMED = 0x101, 0x104, 0x106, 0x107
# enum ctattr_stats_cpu, by the columns of /proc/net/stat/nf_conntrack; as there, later kernels have fewer of the first and more of
# the last.
_COUNTERS = {
    1: "searched",
    2: "found",
    3: "new",
    4: "invalid",
    5: "ignore",
    6: "delete",
    7: "delete_list",
    8: "insert",
    9: "insert_failed",
    10: "drop",
    11: "early_drop",
    12: "icmp_error",
    13: "search_restart",
    14: "clashres",
    15: "chain_too_long",
}


def statistics(host: Host) -> Dict[str, int]:
    """The counters, summed over the processors, as proc.counters has them; none where they are not to be had."""
    sums: Dict[str, int] = {}
    try:
        for message in _dumped(host, _STATISTICS):
            for kind, value in attributes(message[BODY:]).items():
                if kind in _COUNTERS:
                    name = _COUNTERS[kind]
                    sums[name] = sums.get(name, 0) + int.from_bytes(value, "big")
    except OSError:
        return {}
    return sums


def listed(host: Host, request: int) -> Optional[int]:
    """How many entries the kernel tells of ENTRIES, those that are DYING or those UNCONFIRMED; None where it does not."""
    try:
        return sum(1 for _entry in _dumped(host, request))
    except OSError:
        return None


def _dumped(host: Host, request: int) -> Iterator[bytes]:
    """The messages that answer it, but the last, which says that these were all. Raises OSError where they are not."""
    if not is_loaded(host, "nf_conntrack_netlink"):
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
    with contextlib.closing(host.netfilter()) as conversation:
        conversation.shut_out()
        conversation.send(dump_of(request, b"", conversation.sequence))
        for answer in conversation.received():
            for kind, flags, _sequence, message in each_message(answer):
                number = errno_of(message) if kind in (DONE, ERROR) else errno.EINTR if flags & INTERRUPTED else 0
                if number:
                    raise OSError(number, os.strerror(number))
                if kind == DONE:
                    return
                yield message
    raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))


def is_loaded(host: Host, module: str) -> bool:
    """Whether a part of netfilter is there to be asked: to ask one that is a module would load it.

    Those that use connection tracking are modules where that is one.
    """
    loaded = host.read("/proc/modules")
    names = {line.split(" ", 1)[0] for line in (loaded or "").split("\n")}
    if loaded is None or module in names:
        return True
    release = (host.read("/proc/sys/kernel/osrelease") or "").strip()
    built_in = host.read("/lib/modules/{0}/modules.builtin".format(release))
    if built_in is None:
        return not names & {"nf_conntrack", "ip_conntrack"}
    return "/{0}.ko\n".format(module) in built_in
