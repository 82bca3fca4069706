# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeouts: those of a profile and single ones, within what this host has and takes, what programs hold and what the RFCs ask;
and the switches of tcp, within the same. Pure."""

from typing import Dict, Iterator, List, Tuple

from .. import kernel
from ..profiles import PROFILES, RFC_FLOORS, below_floors
from .given import Given
from .policy import floor_conflict, switches_of, timeouts_of, tried


def planned_timeouts(host: Given) -> Tuple[Dict[str, int], Dict[str, str], List[str], List[str]]:
    """What is to be persisted, with reasons, warnings and refusals."""
    policy = host.policy
    wanted = timeouts_of(policy)
    choices = PROFILES[policy.timeout_profile].choices
    warnings: List[str] = []
    refusals: List[str] = []
    missing = sorted(name for name in policy.timeouts if not host.has_timeout(name))
    if missing:
        warnings.append("conntrack_timeouts: this kernel has no {0}; not written".format(", ".join(missing)))
    wanted = {name: wanted[name] for name in wanted if host.has_timeout(name)}
    reasons = {}
    # What the kernel refuses is set by nobody.
    most = kernel.bounds(host.release, host.pointer, host.ticks).timeout
    for name in wanted:
        reasons[name] = "conntrack_timeouts" if name in policy.timeouts else choices[name].reason
        owner = host.held.get(host.names.prefix + kernel.timeout_key(name))
        if not owner or owner.value == wanted[name] or owner.value > most:
            continue
        said = "{0} sets it to {1} at each of its starts".format(owner.owner, owner.value)
        if name in policy.timeouts:
            ask = "ask for {0}, ".format(owner.value) if _would_do(host, name, owner.value) else ""
            refusals.append(
                "conntrack_timeouts: {0}: {1} asked for, but {2}; {3}leave it out, or {4}".format(
                    name, wanted[name], said, ask, owner.remedy
                )
            )
            continue
        reasons[name] = said
        warnings.append("{0}: {1} would be planned, but {2}; {3}".format(name, wanted[name], said, owner.remedy))
        wanted[name] = owner.value
    if _translates(host):
        _apply_floors(host, wanted, reasons, warnings, refusals)
    refusals += _too_long(host, wanted, reasons)
    if host.is_tied("timeouts") and policy.apply:
        wanted = {name: wanted[name] for name in wanted if name in host.timeouts}
        for name in sorted(wanted):
            if name in policy.timeouts and wanted[name] != host.timeouts[name]:
                refusals.append(
                    "conntrack_timeouts: {0}: {1} asked for, {2} found, and {3}; leave it out".format(
                        name, wanted[name], host.timeouts[name], host.why_tied()
                    )
                )
        wanted = {name: host.timeouts[name] for name in wanted}
        reasons = dict.fromkeys(wanted, "left as it is: " + host.why_tied())
    return wanted, reasons, warnings, refusals


def _too_long(host: Given, wanted: Dict[str, int], reasons: Dict[str, str]) -> Iterator[str]:
    """What this kernel refuses, or may."""
    said = "this kernel takes with {0} ticks a second (CONFIG_HZ)".format(host.ticks)
    if host.ticks is None:
        said = "any kernel takes, and CONFIG_HZ of this one is not known"
    for name in wanted:
        if wanted[name] > host.longest:
            yield "{0}: {1}: {2} is more than the {3} s that {4}; name at most that in conntrack_timeouts".format(
                reasons[name], name, wanted[name], host.longest, said
            )


def planned_switches(host: Given) -> Tuple[Dict[str, int], Dict[str, str], List[str], List[str]]:
    """The same of the switches."""
    wanted = switches_of(host.policy)
    missing = sorted(name for name in wanted if not host.has_switch(name))
    warnings = ["conntrack_{0}: this kernel has no such setting; not written".format(name) for name in missing]
    wanted = {name: value for name, value in wanted.items() if name not in missing}
    refusals = []
    for name, value in wanted.items():
        asked = "conntrack_{0}: {1} asked for, ".format(name, value)
        owner = host.held.get(host.names.prefix + name)
        if owner and owner.value != value:
            refusals.append(
                asked
                + "but {0} sets it to {1} at each of its starts; ask for {1}, leave it unset, or {2}".format(
                    owner.owner, owner.value, owner.remedy
                )
            )
        if host.is_tied("timeouts") and host.policy.apply and value != host.switches[name]:
            refusals.append(asked + "{0} found, and {1}; leave it unset".format(host.switches[name], host.why_tied()))
    return wanted, {name: "conntrack_" + name for name in wanted}, warnings, refusals


def _translates(host: Given) -> bool:
    return host.facts["kernel"]["nat"] or host.policy.timeout_profile == "gateway"


def _would_do(host: Given, name: str, seconds: int) -> bool:
    """Whether conntrack_timeouts may say so."""
    is_low = host.policy.rfc_floors == "enforce" and _translates(host) and below_floors({name: seconds})
    is_read = tried(host.policy, {"timeouts": dict(host.policy.timeouts, **{name: seconds})}) is not None
    return is_read and seconds <= host.longest and not is_low


def _apply_floors(
    host: Given,
    wanted: Dict[str, int],
    reasons: Dict[str, str],
    warnings: List[str],
    refusals: List[str],
) -> None:
    policy = host.policy
    low = below_floors(wanted)
    if policy.rfc_floors == "warn" and low:
        warnings.append(
            "addresses are translated here, and these timeouts are below what the RFCs ask of a NAT: {0}; "
            "use conntrack_timeout_profile=gateway, conntrack_rfc_floors=enforce, or =ignore".format(
                ", ".join("{0} {1} (at least {2}, {3})".format(name, wanted[name], *RFC_FLOORS[name]) for name in low)
            )
        )
    if policy.rfc_floors == "enforce":
        for name in low:
            owner = host.held.get(host.names.prefix + kernel.timeout_key(name))
            if owner and owner.value == wanted[name]:
                refusals.append(
                    "{0}: {1}, but {2}; {3}".format(name, reasons[name], floor_conflict(name), owner.remedy)
                )
            elif name in policy.timeouts:
                refusals.append("conntrack_timeouts: {0}: {1}: {2}".format(name, wanted[name], floor_conflict(name)))
            else:
                wanted[name] = RFC_FLOORS[name].seconds
                reasons[name] = RFC_FLOORS[name].source + ", as addresses are translated here"
