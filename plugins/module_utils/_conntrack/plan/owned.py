# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role owns on a host: one set, derived once from facts and policy. It is written, predicted, proved and undone. Pure.

Less of it in a container, whose limit and buckets are the host's, and other keys where the kernel has conntrack built in, which
asks neither modprobe.d nor udev. Of what is written that much is demanded of tomorrow (Plan.expected) as is brought about by a way
that is known:

- the buckets by modprobe.d, at any load, whatever init there is; where conntrack is built in, by sysctl.d as all else;
- all else by sysctl.d, where it is applied: at a boot by systemd-sysctl, or another init that is seen to do so when the module is
  there; and by the udev rule at a load.

Where an init does not, or nobody knows, nothing is demanded of what it leaves, or each run would fail of what no run can mend; a
warning says what to do. A line that would win there over the role's is refused all the same.
Nothing is demanded either of a key that a program sets at each of its starts, at a boot; of one that a file decides which others
than root may write; and of an image, whose kernel is not there.
"""

from typing import Dict, List, Mapping, Optional

from .. import kernel
from ..files import BOOT, MODPROBE, MODULES_LOAD, STARTS, SYSCTL, UDEV
from ..outcome.said import HASHSIZE
from .given import Given
from .plan import Plan

Keys = Dict[str, int]


def files(host: Given) -> List[str]:
    policy = host.policy
    if host.is_tied("max") and policy.apply:
        return []
    boot = list(BOOT) if is_sized(host) else [STARTS] if STARTS in (host.facts.get("files") or {}) else []
    if host.facts["state"] == "builtin" and policy.apply:
        return [SYSCTL] + boot
    udev = [UDEV] if host.systemd_sysctl else []
    return [SYSCTL, MODPROBE, MODULES_LOAD] + udev + boot


def is_sized(host: Given) -> bool:
    """Whether a unit is to size at a boot: where systemd starts it."""
    return host.policy.size_at_boot and host.systemd_sysctl is not None


def sysctl(
    host: Given,
    limit: Optional[int],
    buckets: Optional[int],
    expectations: Optional[int],
    timeouts: Mapping[str, int],
    switches: Mapping[str, int],
) -> Keys:
    """What sysctl.d says, by the names there. Buckets first, where modprobe.d cannot say them: a limit is never in force with
    too few."""
    keys: Keys = {}
    if host.facts["state"] == "builtin" and buckets:
        keys[host.names.prefix + "buckets"] = buckets
    if limit:
        keys[host.names.prefix + "max"] = limit
    if expectations:
        keys[host.names.prefix + "expect_max"] = expectations
    for name in sorted(timeouts):
        keys[host.names.prefix + kernel.timeout_key(name)] = timeouts[name]
    for name in switches:
        keys[host.names.prefix + name] = switches[name]
    return keys


def expected(host: Given, plan: Plan) -> Dict[str, Keys]:
    """By event, what is demanded."""
    boot: Keys = {}
    reload: Keys = {}
    if host.policy.target == "image":
        return {"boot": boot, "reload": reload}
    persisted = written(host, plan)
    is_module = host.facts["state"] != "builtin"
    if is_module and HASHSIZE in persisted:
        boot[HASHSIZE] = reload[HASHSIZE] = persisted[HASHSIZE]
    if plan.sized_at_boot:
        # By its unit, at both. The limit first: buckets follow a line that would win over it.
        sizes = {host.names.prefix + "max": plan.max, HASHSIZE: plan.hashsize}
        sizes[host.names.prefix + "expect_max"] = plan.expect_max
        persisted.update({key: value for key, value in sizes.items() if value is not None})
    if not host.unbooted:
        boot.update(persisted)
    if host.systemd_sysctl and UDEV in plan.files and is_module:
        reload.update(persisted)
    return {"boot": {key: value for key, value in boot.items() if key not in programs(host)}, "reload": reload}


def written(host: Given, plan: Plan) -> Keys:
    """What the role's files say of keys that are there, or of a module that is not loaded will be."""
    is_builtin = host.facts["state"] == "builtin"
    found: Keys = {}
    sizes = (None, None, None) if plan.sized_at_boot else (plan.max, plan.hashsize, plan.expect_max)
    if MODPROBE in plan.files and sizes[1] and not is_builtin:
        found[HASHSIZE] = sizes[1]
    if SYSCTL in plan.files:
        found.update(sysctl(host, *sizes, plan.timeouts, plan.switches))
        buckets = found.pop(host.names.prefix + "buckets", None)
        if buckets:
            found[HASHSIZE] = buckets
    return found


def programs(host: Given) -> List[str]:
    """The keys that programs set at each of their starts, and so at a boot."""
    told = host.facts.get("assignments") or {}
    return [key for owner in told.get("owners") or () if not owner["path"] for key in owner["keys"]]


def live(host: Given, plan: Plan) -> Dict[str, Optional[int]]:
    """By key, what is in force once the plan's live values are set, as far as they may be."""
    if not host.is_live:
        return {}
    prefix = host.names.prefix
    found = {HASHSIZE: host.buckets, prefix + "max": host.max, prefix + "expect_max": host.expect_max}
    found.update({prefix + kernel.timeout_key(name): seconds for name, seconds in host.timeouts.items()})
    found.update({prefix + name: value for name, value in host.switches.items()})
    if host.policy.apply:
        names = {"buckets": HASHSIZE, "max": prefix + "max", "expect_max": prefix + "expect_max"}
        found.update({key: plan.live[name] for name, key in names.items() if plan.live.get(name) is not None})
        timeouts = plan.live.get("timeouts") or {}
        found.update({prefix + kernel.timeout_key(name): seconds for name, seconds in timeouts.items()})
        found.update({prefix + name: value for name, value in (plan.live.get("switches") or {}).items()})
    return found
