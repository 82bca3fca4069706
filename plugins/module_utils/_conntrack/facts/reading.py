# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is, and what decides what will be: of a host's connection tracking, read through its door. Changes nothing, and runs
nothing, but for journalctl where packets were dropped and no log has said why."""

from typing import Any, Callable, Dict, FrozenSet, Iterable, Optional

from .. import kernel
from ..files import BOOT, CONNTRACKD, MANAGED, MARK
from ..host.door import Host
from ..outcome.assignments import assignments
from ..owners.finder import owners
from ..shown import MOST_TOLD, plain, shorten
from ..sources import proc as table
from ..sources import tracking
from ..sources.namespaces import namespaces, switches, timeouts
from ..sources.services import services
from ..values import Facts, as_dict, integer
from .history import history
from .log import log

# Modules of masquerading and source NAT: nftables, xtables, and iptables before 5.2 and before 3.7.
TRANSLATORS = {"nft_masq", "nft_nat", "xt_MASQUERADE", "xt_nat", "ipt_MASQUERADE", "ipt_SNAT"}
# The devices of a driver that tells of it.
_ENA = "/sys/bus/pci/drivers/ena"


# Share of the limit in use from where on the table is gone through for entries that it does not list.
NEARLY_FULL = 0.95


class SubsetError(Exception):
    """A gather_subset that names something there is not."""


def read(host: Host, subsets: Iterable[str]) -> Facts:
    """The facts of ``host`` but for what will be: always state, flavour, kernel, memory, cpus and history, and what the subsets add."""
    chosen = chosen_subsets(subsets)
    state, flavour = tracking.state_and_flavour(host)
    names = kernel.FLAVOURS[flavour]
    found: Facts = {
        "state": state,
        "flavour": flavour,
        "kernel": _kernel(host, names),
        "memory": _memory(host),
        "cpus": _cpus(host),
        "history": history(host),
    }
    for name in SUBSETS:
        if name in chosen:
            found.update(SUBSETS[name](host, names))
    if chosen & {"persistence", "owners"}:
        found.update(_others(host, names, found, chosen))
    found["unreadable"] = sorted(host.unreadable)
    found["untold"] = host.untold
    return told(found)


_LISTS = ("owners", "claims", "exposed", "unreadable", "log.netns")


def told(facts: Facts) -> Facts:
    """Facts as they are handed on: texts escaped and of a bounded length, and so much of each list; what is left out is counted."""
    left_out: Dict[str, int] = {}
    for owner in facts.get("owners", ()):
        keys = list(owner["keys"].items())
        if len(keys) > MOST_TOLD:
            left_out["owners.keys"] = left_out.get("owners.keys", 0) + len(keys) - MOST_TOLD
            owner["keys"] = dict(keys[:MOST_TOLD])
    shorten(facts, _LISTS, left_out)
    return dict(plain(facts), left_out=left_out)


def chosen_subsets(subsets: Iterable[str]) -> FrozenSet[str]:
    """The names after all, min, and ! are applied, as ansible.builtin.setup has them."""
    asked = list(subsets)
    for subset in asked:
        if (subset[1:] if subset.startswith("!") else subset) not in NAMES + ("all", "min"):
            raise SubsetError(
                "gather_subset: {0} is not known; use all, min, {1}, or one of them after !".format(
                    subset, ", ".join(sorted(NAMES))
                )
            )
    wanted = {subset for subset in asked if not subset.startswith("!")}
    barred = {subset[1:] for subset in asked if subset.startswith("!")}
    chosen = set(NAMES) if "all" in wanted or not wanted else set()
    chosen -= set(NAMES) if "all" in barred else barred
    # What is named outright wins over what is left out.
    return frozenset(chosen | (wanted & set(NAMES)))


def _kernel(host: Host, names: kernel.Flavour) -> Dict[str, Any]:
    # A key that only the first network namespace has, whatever modules are loaded. The tree of what never ran has none at all.
    first = host.exists("/proc/sys/net/core/netdev_max_backlog") or not host.exists("/proc/sys/kernel/osrelease")
    release = tracking.release(host)
    return {
        "release": release,
        "hz": host.ticks(release),
        "page_size": host.page_size(),
        "pointer_bytes": kernel.pointer_bytes(host.machine()),
        "init_netns": first,
        "container": _container(host, first),
        "python": host.python(),
        "root": host.is_root(),
        "nat": _nat(host),
        "writable": {
            "max": host.writable(tracking.sysctl(names, "max")),
            "buckets": first and tracking.buckets_path(host, names) is not None,
            "timeouts": host.writable(tracking.sysctl(names, "generic_timeout")),
        },
    }


def _container(host: Host, first: bool) -> Optional[str]:
    """The kind of container, as its manager left it in a file; None on a host.

    Images leave some of these files behind on hosts made from them: in the first network namespace they say nothing.
    """
    said = (host.read("/run/systemd/container") or "").strip()
    if said:
        return said
    for mark, kind in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"), ("/dev/lxd/sock", "lxc")):
        if host.exists(mark) and not first:
            return kind
    if host.exists("/proc/vz") and not host.exists("/proc/bc"):
        return "openvz"
    for line in (host.read("/proc/1/environ") or "").split("\0") if host.is_root() else ():
        name, _sep, value = line.partition("=")
        if name == "container" and value:
            return value
    return None


def _nat(host: Host) -> bool:
    """Whether the host translates for others: it forwards, and something that rewrites sources is in use.

    nf_nat alone says nothing: firewalld loads it, and the tables of NAT, with or without a masquerade.
    """
    forwards = any(
        (host.read(path) or "").strip() == "1"
        for path in ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding")
    )
    return forwards and bool(table.modules(host.read("/proc/modules")) & TRANSLATORS)


def _cpus(host: Host) -> Optional[int]:
    """The list of those online, which kernels before 2.6.26 do not have."""
    listed = table.cpus(host.read("/sys/devices/system/cpu/online"))
    return listed or (host.read("/proc/cpuinfo") or "").count("processor\t:") or None


def _memory(host: Host) -> Dict[str, Optional[int]]:
    found = table.meminfo(host.read("/proc/meminfo"))
    return {"total_bytes": found.get("MemTotal"), "available_bytes": found.get("MemAvailable")}


def _table(host: Host, names: kernel.Flavour) -> Facts:
    count = integer(host.read(tracking.sysctl(names, "count")))
    limit = integer(host.read(tracking.sysctl(names, "max")))
    pointer = kernel.pointer_bytes(host.machine())
    buckets = tracking.live_buckets(host, names)
    usual = kernel.object_bytes(names, tracking.release(host), pointer)
    entry = kernel.entry_bytes(_object_bytes(host, names) or usual)
    return {
        "table": {
            "count": count,
            "max": limit,
            "buckets": buckets,
            "expect_max": integer(host.read(tracking.sysctl(names, "expect_max"))),
            # A limit of 0 meant none at all before 6.19.
            "usage": round(count / limit, 6) if count is not None and limit else None,
            "chain": round(2 * count / buckets, 4) if count is not None and buckets else None,
            "entry_bytes": entry,
            "full_bytes": kernel.full_bytes(limit, buckets, entry, pointer) if limit and buckets else None,
        },
        "timeouts": timeouts(host, names),
        "switches": switches(host, names),
        "counters": _counters(host, names),
        "unlisted": _unlisted(host, names, count or 0, limit or 0),
        **_cloud(host),
    }


def _cloud(host: Host) -> Facts:
    """What the network cards tell of a cloud's own limit, where there are such."""
    devices = host.list(_ENA)
    if not devices:
        return {}
    # Few hosts have them.
    from .cloud import cloud

    # What is no device, as bind and module are not, has no such folder.
    return cloud(host, ["{0}/{1}/net".format(_ENA, device) for device in devices])


def _unlisted(host: Host, names: kernel.Flavour, count: int, limit: int) -> Optional[Dict[str, Any]]:
    """None where less is in use than a plan leaves free: so a host that is as planned is not asked."""
    if not limit or 2 * count <= limit:
        return None
    from ..entries.unlisted import unlisted

    return unlisted(host, names, count >= NEARLY_FULL * limit)


def _counters(host: Host, names: kernel.Flavour) -> Dict[str, int]:
    found = table.counters(host.read("/proc/net/stat/" + names.module))
    if not found and host.exists(tracking.sysctl(names, "count")):
        # Kernels without CONFIG_NF_CONNTRACK_PROCFS, as Ubuntu's.
        from ..host.ctnetlink import statistics

        found = statistics(host)
    return found


def _object_bytes(host: Host, names: kernel.Flavour) -> Optional[int]:
    one = integer(host.read("/sys/kernel/slab/{0}/slab_size".format(names.module)))
    return one or table.slab_object_bytes(host.read("/proc/slabinfo"), names.module)


def _persistence(host: Host, names: kernel.Flavour) -> Facts:
    return {"services": dict(services(host), conntrackd=_conntrackd(host)), "files": _files(host)}


def _conntrackd(host: Host) -> Optional[Dict[str, Any]]:
    if not host.exists(CONNTRACKD):
        return None
    # Few hosts have one.
    from .conntrackd import conntrackd

    return conntrackd(host)


def _files(host: Host) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for path in MANAGED + BOOT:
        file = host.file(path)
        if file is not None:
            found[path] = as_dict(file)
            found[path]["ours"] = MARK in (host.read(path) or "")
    return found


def _namespaces(host: Host, names: kernel.Flavour) -> Facts:
    return dict(as_dict(namespaces(host, names, integer(host.read(tracking.sysctl(names, "max"))))))


def _log(host: Host, names: kernel.Flavour) -> Facts:
    counters = _counters(host, names)
    return {"log": as_dict(log(host, counters.get("drop", 0) > table.clashes(counters)))}


def _others(host: Host, names: kernel.Flavour, found: Facts, chosen: FrozenSet[str]) -> Facts:
    """Who else writes, and with them what decides: of which the one cannot be told without the other."""
    owned, claims = owners(host, names, found["cpus"])
    added: Facts = {}
    if "owners" in chosen:
        # Programs first: the plan asks what they hold. What others than root may write comes last.
        ranked = sorted(
            owned, key=lambda owner: (owner.path is not None, bool(owner.path and host.exposed(owner.path)))
        )
        # Whether one yields to sysctl.d is told with what will be.
        added["owners"] = [
            {name: value for name, value in as_dict(owner).items() if name not in ("yields", "call")}
            for owner in ranked
        ]
        added["claims"] = as_dict(claims)
    if "persistence" in chosen:
        # What will be is made of them as well.
        if "timeouts" not in found:
            added.update(timeouts=timeouts(host, names), switches=switches(host, names))
        added["assignments"], exposed = assignments(host, dict(found, **added), owned)
        added["exposed"] = as_dict(exposed)
    return added


SUBSETS: Dict[str, Callable[[Host, kernel.Flavour], Facts]] = {
    "table": _table,
    "persistence": _persistence,
    "namespaces": _namespaces,
    "log": _log,
}
# Owners are told of with what decides, after all the others.
NAMES = tuple(SUBSETS) + ("owners",)
