# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network namespaces of a host: each counts and drops for itself, against a limit that all share.

Which there are say /proc/PID/ns/net, and what is mounted where ip netns and Docker leave those that may hold no process.
What is counted in one is read from outside, at any of its processes, as far as it has one.
"""

import re
from itertools import chain
from typing import Dict, List, NamedTuple, Optional, Tuple

from .. import kernel
from ..host.door import Host
from ..values import integer
from . import proc as table
from .namespace_names import IP_NETNS, name_of

# Processes that are looked at, root's and those with the lowest numbers first: 10,000 take 0.2 s.
MOST_PROCESSES = 20000
# Namespaces that are told of, the host's own aside.
MOST_TOLD = 32

_DOCKER = "/var/run/docker/netns"
_INODE = re.compile(r"net:\[([0-9]{1,20})\]")


class Namespace(NamedTuple):
    """What one network namespace counts."""

    inode: int  # 0 where the kernel gives none (before 3.8)
    name: str
    own: bool  # whether it is that of the facts
    count: Optional[int]  # type: ignore[assignment]  # in place of tuple's method of that name
    max: Optional[int]  # the host's
    usage: Optional[float]
    drop: int
    early_drop: int
    timeouts: Dict[str, int]  # seconds; those that are not as in the own namespace, {} where it cannot be entered


class Namespaces(NamedTuple):
    """Those in use, and how many there are."""

    namespaces: List[Namespace]
    netns_total: int


def namespaces(host: Host, names: kernel.Flavour, limit: Optional[int]) -> Namespaces:
    """The own network namespace, and those of the others that have entries or have dropped some, worst first.

    Where not every process could be looked at, /proc/*/ns/net is among what is unreadable: there may be more.
    """
    own = _inode(host.link("/proc/self/ns/net")) or 0
    processes = _processes(host)
    mounts = _mounts(host)
    doors = {inode: "/proc/{0}/ns/net".format(process) for inode, process in processes.items()}
    doors.update(mounts)

    found = {
        inode: _figures(host, names, "/proc/{0}/net".format(process))
        for inode, process in processes.items()
        if inode != own
    }
    # No process in it, or a kernel without /proc/net/stat/nf_conntrack; without a limit there is no table at all.
    unseen = {door: inode for inode, door in doors.items() if not found.get(inode) and inode != own}
    if unseen and limit is not None:
        looks = host.inside(sorted(unseen), lambda: _figures_inside(host, names))
        found.update((unseen[door], figures) for door, figures in looks.items())
    found = {inode: figures for inode, figures in found.items() if any(figures.values())}
    found[own] = _figures_inside(host, names)

    ranked = sorted(found, key=lambda inode: _rank(found[inode]))
    told = [inode for place, inode in enumerate(ranked) if place < MOST_TOLD or inode == own]
    differing = _differing_timeouts(host, names, [doors[inode] for inode in told if inode != own])
    listed = [
        Namespace(
            inode=inode,
            name="own" if inode == own else name_of(host, processes.get(inode), mounts.get(inode)),
            own=inode == own,
            count=found[inode].get("count"),
            max=limit,
            usage=round(found[inode]["count"] / limit, 6) if limit and "count" in found[inode] else None,
            drop=found[inode].get("drop", 0),
            early_drop=found[inode].get("early_drop", 0),
            timeouts=differing.get(doors.get(inode, ""), {}),
        )
        for inode in told
    ]
    return Namespaces(listed, len(set(doors) | {own}))


def others(host: Host) -> Dict[str, str]:
    """The files through which the other network namespaces are entered, with what people call these."""
    own = _inode(host.link("/proc/self/ns/net"))
    processes, mounts = _processes(host), _mounts(host)
    doors = {inode: "/proc/{0}/ns/net".format(process) for inode, process in processes.items()}
    doors.update(mounts)
    return {
        path: name_of(host, processes.get(inode), mounts.get(inode)) for inode, path in doors.items() if inode != own
    }


def door(host: Host, wanted: str) -> Optional[str]:
    """The file through which a namespace is entered: a name of ip netns, else the number of a process or an inode."""
    path = "{0}/{1}".format(IP_NETNS, wanted)
    if host.namespace(path) is not None:
        return path
    if not re.fullmatch("[0-9]{1,20}", wanted):
        return None
    path = "/proc/{0}/ns/net".format(int(wanted))
    if host.link(path):
        return path
    inode = int(wanted)
    process = _processes(host).get(inode)
    return "/proc/{0}/ns/net".format(process) if process else _mounts(host).get(inode)


def timeouts(host: Host, names: kernel.Flavour) -> Dict[str, int]:
    """Seconds by short name, all that this kernel has, of the network namespace that this runs in."""
    folder, _slash, start = kernel.sysctl_path(names.prefix).rpartition("/")
    found = {}
    for key in host.list(folder):
        name = kernel.timeout_name(key[len(start) :]) if key.startswith(start) else None
        seconds = integer(host.read(folder + "/" + key)) if name else None
        if name and seconds is not None:
            found[name] = seconds
    return found


def _inode(link: Optional[str]) -> Optional[int]:
    found = _INODE.fullmatch(link or "")
    return int(found.group(1)) if found else None


def _processes(host: Host) -> Dict[int, str]:
    """Each network namespace with a process in it, one of root's where there is one, of the lowest number: the one most likely to
    stay."""
    found: Dict[int, str] = {}
    roots, others = host.by_user()
    refused = len(roots) + len(others) > MOST_PROCESSES
    left_out = "{0} processes of others than root: their network namespaces"
    unhurried = host.unhurried(others[: max(MOST_PROCESSES - len(roots), 0)], left_out)
    for number in chain(roots[:MOST_PROCESSES], unhurried):
        path = "/proc/{0}/ns/net".format(number)
        inode = _inode(host.link(path))
        if inode is not None:
            found.setdefault(inode, str(number))
        elif host.unreadable[-1:] == [path]:
            refused = True
            host.unreadable.pop()
    if refused:
        host.unreadable.append("/proc/*/ns/net")
    return found


def _mounts(host: Host) -> Dict[int, str]:
    """Each network namespace that is mounted on a file, with the file; a name of ip netns goes before one of Docker."""
    found: Dict[int, str] = {}
    for folder in (IP_NETNS, _DOCKER):
        for name in host.list(folder):
            path = "{0}/{1}".format(folder, name)
            inode = host.namespace(path)
            if inode is not None:
                found.setdefault(inode, path)
    return found


def _figures(host: Host, names: kernel.Flavour, folder: str) -> Dict[str, int]:
    """count, drop and early_drop, as far as the kernel gives them."""
    text = host.read("{0}/stat/{1}".format(folder, names.module))
    found = {name: sum_ for name, sum_ in table.counters(text).items() if name in ("drop", "early_drop")}
    count = table.entries(text)
    if count is not None:
        found["count"] = count
    return found


def _figures_inside(host: Host, names: kernel.Flavour) -> Dict[str, int]:
    """Those of the network namespace that this runs in, where its sysctl has the count, too."""
    found = _figures(host, names, "/proc/net")
    count = integer(host.read(kernel.sysctl_path(names.prefix + "count")))
    if count is not None:
        found["count"] = count
    return found


def _rank(figures: Dict[str, int]) -> Tuple[int, int]:
    return -figures.get("drop", 0) - figures.get("early_drop", 0), -figures.get("count", 0)


def _differing_timeouts(host: Host, names: kernel.Flavour, doors: List[str]) -> Dict[str, Dict[str, int]]:
    """By door, the timeouts that are not as in the own namespace."""
    if not doors:
        return {}
    own = timeouts(host, names)
    return {
        door: {name: seconds for name, seconds in those.items() if own.get(name) != seconds}
        for door, those in host.inside(doors, lambda: timeouts(host, names)).items()
    }
