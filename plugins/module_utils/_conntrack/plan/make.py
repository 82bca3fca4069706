# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What should be: facts and policy -> plan, each number with its reason; and what differs. Pure.

Refusals are for what would be unsafe on this host, warnings for what its owner should know.
"""

from typing import Callable, Iterable, List, Mapping, Optional

from .. import kernel
from ..files import CONNTRACKD, MODPROBE, SIZER, SYSCTL
from ..outcome.fold import is_kept_out
from ..values import Facts
from . import owned
from .drift import with_drift
from .given import Given
from .plan import Plan
from .policy import Policy
from .sizing import numbers, said
from .timeouts import planned_switches, planned_timeouts
from .ways import Notice

# The text of each of a plan's files, by path.
Render = Callable[[Plan], Mapping[str, str]]
# A plan with what differs.
Compare = Callable[[Plan, Given], Plan]


def make(facts: Facts, policy: Policy, render: Optional[Render] = None, compare: Compare = with_drift) -> Plan:
    """The plan for the host that ``facts`` tell of; with what renders its files, their drift too."""
    if policy.target == "host" and (facts["state"] == "absent" or is_kept_out(facts)):
        return _nothing(facts, policy)
    host = Given(facts, policy)
    sized = numbers(host)
    limit, buckets, hashsize, expectations = (
        sized.limit.value,
        sized.buckets.value,
        sized.hashsize,
        sized.expectations.value,
    )
    timeouts, reasons, warnings, refusals = planned_timeouts(host)
    now = {name: seconds for name, seconds in timeouts.items() if not host.is_live or name in host.timeouts}
    switches, why, warned, refused = planned_switches(host)
    files = owned.files(host)
    is_left = False
    if SIZER in files:
        # Few hosts have it.
        from .boot import is_left_to_boot

        is_left = is_left_to_boot(host, limit, hashsize, expectations)
    sizes = ("max", sized.limit), ("buckets", sized.buckets), ("expect_max", sized.expectations)
    whys = {name: one.reason for name, one in sizes}
    if is_left and policy.target == "image":
        limit = buckets = hashsize = expectations = None
        whys = dict.fromkeys(whys, "by the memory of the machine that boots")
    elif is_left:
        whys["max"] += "; no file says it: conntrack_size_at_boot"
    said_then = (None, None, None) if is_left else (limit, hashsize, expectations)
    plan = Plan(
        max=limit,
        buckets=buckets,
        hashsize=hashsize,
        expect_max=expectations,
        timeouts=now,
        full_bytes=kernel.full_bytes(limit, buckets, host.entry, host.pointer) if limit and buckets else None,
        switches=switches,
        sysctl=owned.sysctl(host, *said_then, timeouts, switches),
        files=files,
        # One of them is made of the policy.
        templates=[path.lstrip("/") + ".j2" for path in files if path != SIZER],
        contents=None,
        systemd_sysctl=host.systemd_sysctl,
        # What is the host's is left alone, whatever it is: 0, no limit, among it.
        live={
            "max": None if host.is_tied("max") else limit,
            "buckets": None if host.is_tied("buckets") else buckets,
            "expect_max": None if host.is_tied("max") else expectations,
            "timeouts": now,
            "switches": switches,
        },
        reasons=dict(
            whys,
            **{name: reasons[name] for name in now},
            **why,
        ),
        warnings=_each(host, sized.warnings)
        + warnings
        + warned
        + _unbooted(host, files)
        + _unhooked(host, hashsize, files)
        + _followed(host, limit),
        refusals=_each(host, sized.refusals) + refusals + refused + _unstarted(host),
        drift=[],
        converged=True,
        sized_at_boot=is_left,
    )
    return compare(plan._replace(contents=dict(render(plan))) if render else plan, host)


def _nothing(facts: Facts, policy: Policy) -> Plan:
    reason = "this kernel has no connection tracking: there is no table that could fill up"
    refusals = []
    if facts["state"] != "absent":
        reason = (
            "conntrack_unload keeps connection tracking out of this kernel: there is no table that could fill up; "
            "conntrack_unload_state=restored brings it back"
        )
    elif not facts["kernel"]["release"]:
        reason = "there is no /proc to read the kernel from"
        refusals = [
            "conntrack_target: host, but {0}, as in a chroot; for an image set conntrack_target=image, "
            "for a host mount /proc".format(reason)
        ]
    elif not policy.apply:
        refusals = [
            "conntrack_apply: false asks for the files alone, and the kernel of this host has no connection tracking that "
            "would use them; for an image set conntrack_target=image, for this host leave conntrack_apply unset"
        ]
    return Plan(
        None, None, None, None, {}, None, {}, [], [], {}, None, {}, {"max": reason}, [], refusals, [], not refusals
    )


def _each(host: Given, notices: Iterable[Notice]) -> List[str]:
    return [said(host, notice) for notice in notices]


def _followed(host: Given, limit: Optional[int]) -> List[str]:
    """What another node is not told of by a conntrackd that keeps fewer entries."""
    keeps = host.services.get("conntrackd")
    if not keeps or not (keeps["active"] and keeps["sync"]) or not limit or limit <= keeps["hash_limit"]:
        return []
    return [
        "conntrackd: keeps {0} entries for another node (HashLimit), fewer than the limit {1}; set HashLimit {2} and HashSize {3} in "
        "{4}, and restart it".format(keeps["hash_limit"], limit, 2 * limit, limit // 2, CONNTRACKD)
    ]


def _unbooted(host: Given, files: List[str]) -> List[str]:
    """What a boot does not do with the files, where another init than systemd is seen."""
    if SYSCTL not in files or not host.init or not host.unbooted:
        return []
    return ["boot: {0}; what {1} says may not be in force then".format(host.unbooted, SYSCTL)]


def _unstarted(host: Given) -> List[str]:
    if not host.policy.size_at_boot or owned.is_sized(host):
        return []
    return [
        "conntrack_size_at_boot: true, but nothing of systemd is here that would start what sizes; leave it unset, and run the script "
        "of headroom.netfilter.render with --boot where this init starts things"
    ]


def _unhooked(host: Given, hashsize: Optional[int], files: List[str]) -> List[str]:
    """What happens after a load where there is no systemd-sysctl for a udev rule to call."""
    if MODPROBE not in files or not host.is_unhooked:
        return []
    return [
        "reload: there is no systemd-sysctl here to apply {0} after a load of the module: the limit is then {1} (8 x hashsize), "
        "and timeouts and expectations are the kernel's own, until sysctl --system or the next run".format(
            SYSCTL, kernel.ENTRIES_PER_BUCKET_AT_LOAD * (hashsize or 0)
        )
    ]
