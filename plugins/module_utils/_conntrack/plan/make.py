# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What should be: facts and policy -> plan, each number with its reason; and what differs. Pure.

Refusals are for what would be unsafe on this host, warnings for what its owner should know.
"""

from typing import Dict, List, Mapping, Optional

from .. import kernel
from ..files import MODPROBE, MODULES_LOAD, SYSCTL, UDEV
from ..values import Facts
from . import conflicts
from .drift import with_drift
from .plan import Plan
from .policy import Policy
from .sizing import Given, buckets_of, expectations_of, held_buckets, held_limit, limit_of, not_lowered, tied_buckets
from .timeouts import planned_timeouts


def make(facts: Facts, policy: Policy, contents: Optional[Mapping[str, str]] = None) -> Plan:
    """The plan for the host that ``facts`` tell of; with the rendered files, their drift too."""
    if facts["state"] == "absent":
        return _nothing()
    host = Given(facts, policy)
    held = conflicts.held(facts) if policy.apply else {}
    limit = not_lowered(host, held_limit(host, limit_of(host), held), host.max)
    buckets = not_lowered(host, held_buckets(host, buckets_of(host, limit.value), held), host.buckets)
    persisted = buckets.value
    expectations = not_lowered(host, expectations_of(host, persisted), host.expect_max)
    if host.is_tied("buckets") and policy.apply:
        buckets = tied_buckets(host, limit.value)
    timeouts, reasons, warnings, refusals = planned_timeouts(host, held)
    warnings = list(limit.warnings) + list(buckets.warnings) + warnings
    refusals = list(limit.refusals) + list(buckets.refusals) + refusals
    reasons = dict({"max": limit.reason, "buckets": buckets.reason, "expect_max": expectations.reason}, **reasons)
    files = _files(host)
    full = None
    if limit.value and buckets.value:
        full = kernel.full_bytes(limit.value, buckets.value, host.entry, host.pointer)
    plan = Plan(
        max=limit.value,
        buckets=buckets.value,
        hashsize=persisted,
        expect_max=expectations.value,
        timeouts=timeouts,
        full_bytes=full,
        sysctl=_sysctl(host, limit.value, persisted, expectations.value, timeouts),
        files=files,
        templates=[path.lstrip("/") + ".j2" for path in files],
        contents=None if contents is None else {path: contents[path] for path in files},
        systemd_sysctl=host.systemd_sysctl,
        # What is the host's is left alone, whatever it is: 0, no limit, among it.
        live={
            "max": None if host.is_tied("max") else limit.value,
            "buckets": None if host.is_tied("buckets") else buckets.value,
            "expect_max": None if host.is_tied("max") else expectations.value,
            "timeouts": timeouts,
        },
        reasons=reasons,
        warnings=warnings,
        refusals=refusals,
        drift=[],
        converged=True,
    )
    return with_drift(plan, host)


def recheck(earlier: Plan, facts: Facts, policy: Policy) -> Plan:
    """``earlier``, made for this host, against facts read since: its numbers stand, and its drift is what still differs."""
    return with_drift(earlier, Given(facts, policy))


def _nothing() -> Plan:
    reason = "this kernel has no connection tracking: there is no table that could fill up"
    return Plan(None, None, None, None, {}, None, {}, [], [], {}, None, {}, {"max": reason}, [], [], [], True)


# What is written.


def _sysctl(
    host: Given, limit: Optional[int], buckets: Optional[int], expectations: Optional[int], timeouts: Dict[str, int]
) -> Dict[str, int]:
    """Buckets first, where modprobe.d cannot say them: a limit is never in force with too few."""
    keys: Dict[str, int] = {}
    if host.facts["state"] == "builtin" and buckets:
        keys[host.names.prefix + "buckets"] = buckets
    if limit:
        keys[host.names.prefix + "max"] = limit
    if expectations:
        keys[host.names.prefix + "expect_max"] = expectations
    for name in sorted(timeouts):
        keys[host.names.prefix + kernel.timeout_key(name)] = timeouts[name]
    return keys


def _files(host: Given) -> List[str]:
    policy = host.policy
    if host.is_tied("max") and policy.apply:
        return []
    if host.facts["state"] == "builtin" and policy.apply:
        return [SYSCTL]
    udev = [UDEV] if host.systemd_sysctl else []
    return [SYSCTL, MODPROBE, MODULES_LOAD] + udev
