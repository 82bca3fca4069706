# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large: facts and policy -> limit, buckets and expectations, within what this host can bear, each with its reason. Pure."""

import math
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .. import kernel
from ..values import Facts
from .conflicts import HASHSIZE, Held
from .policy import Policy


class Sized(NamedTuple):
    """A number and how it came about."""

    value: Optional[int]
    reason: str
    warnings: Tuple[str, ...] = ()
    refusals: Tuple[str, ...] = ()


class Given:
    """The facts that the rules ask for, by short names."""

    def __init__(self, facts: Facts, policy: Policy) -> None:
        self.facts = facts
        self.policy = policy
        self.is_live = facts["state"] in ("loaded", "builtin")
        table: Dict[str, Any] = facts.get("table") or {}
        self.names = kernel.FLAVOURS[facts["flavour"]]
        self.count: int = table.get("count") or 0
        self.max: Optional[int] = table.get("max")
        self.buckets: Optional[int] = table.get("buckets")
        self.expect_max: Optional[int] = table.get("expect_max")
        self.timeouts: Dict[str, int] = facts.get("timeouts") or {}
        self.entry: int = table.get("entry_bytes") or kernel.entry_bytes(None)
        self.pointer: int = facts["kernel"]["pointer_bytes"]
        self.page: int = facts["kernel"]["page_size"]
        self.memory: int = facts["memory"]["total_bytes"] or 0
        self.services: Dict[str, Any] = facts.get("services") or {}
        self.systemd_sysctl: Optional[str] = self.services.get("systemd_sysctl")
        # What there was no time to read on the host.
        self.untold: List[str] = facts.get("untold") or []

    def rounded(self, buckets: int) -> int:
        return kernel.rounded_buckets(buckets, self.page, self.pointer)

    def writable(self, what: str) -> bool:
        return bool(self.facts["kernel"]["writable"][what])

    def is_tied(self, what: str) -> bool:
        """Whether the live value cannot be changed from here by anybody: a container, a namespace."""
        return self.is_live and self.facts["kernel"]["root"] and not self.writable(what)

    def why_tied(self) -> str:
        if not self.facts["kernel"]["init_netns"]:
            return "this is not the first network namespace, and the limit and the buckets belong to the host"
        return "the kernel lets nobody write it from here ({0})".format(
            self.facts["kernel"]["container"] or "/proc/sys is read-only"
        )


def not_lowered(host: Given, sized: Sized, in_force: Optional[int]) -> Sized:
    """What is in force, where it is more and the host could not tell all."""
    if not host.untold or not sized.value or not in_force or in_force <= sized.value:
        return sized
    reason = "already in force, and nothing is lowered, because not all was told: {0}".format("; ".join(host.untold))
    return Sized(in_force, reason, sized.warnings + (reason,), sized.refusals)


# The limit.


def limit_of(host: Given) -> Sized:
    if host.is_tied("max") and host.policy.apply:
        return _tied_limit(host)
    sized = _asked_limit(host) if host.policy.max is not None else _sized_limit(host)
    if sized.value is not None and sized.value < host.count:
        refusal = (
            "limit {0}: {1} flows are in use now and the kernel would drop new ones; "
            "shorten timeouts first, or name at least {1}"
        ).format(sized.value, host.count)
        return sized._replace(refusals=sized.refusals + (refusal,))
    return sized


def _tied_limit(host: Given) -> Sized:
    wanted = host.policy.max
    if wanted is not None and wanted != host.max:
        refusal = "conntrack_max: {0} asked for, {1} found, and {2}; run this role on the host".format(
            wanted, host.max, host.why_tied()
        )
        return Sized(host.max, "left as it is", (), (refusal,))
    return Sized(host.max, "left as it is: " + host.why_tied(), ("limit: " + host.why_tied(),))


def _asked_limit(host: Given) -> Sized:
    wanted = host.policy.max or 0
    refusals: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()
    takes = wanted * _bytes_an_entry(host)
    if host.max and wanted < host.max and not host.policy.shrink:
        refusals += (
            "conntrack_max: {0} would lower the limit in force, {1}; name at least that, leave conntrack_max unset, "
            "or set conntrack_shrink=true".format(wanted, host.max),
        )
    if host.memory and takes > host.memory:
        refusals += (
            "conntrack_max: {0} entries take {1} when full, and this host has {2}; name at most {3}".format(
                wanted, size(takes), size(host.memory), _affordable(host)
            ),
        )
    elif host.memory and takes > _share(host):
        warnings += (
            "conntrack_max: {0} entries take {1} when full, {2:.1f} percent of memory rather than the {3:g} of "
            "conntrack_memory_percent".format(
                wanted, size(takes), 100.0 * takes / host.memory, host.policy.memory_percent
            ),
        )
    return Sized(wanted, "conntrack_max", warnings, refusals)


def _sized_limit(host: Given) -> Sized:
    """The largest of what is expected, what is in use with headroom and what the memory share holds, in bounds."""
    policy = host.policy
    affordable = _affordable(host)
    candidates = [_memory_candidate(host, affordable)]
    if policy.expected_connections is not None:
        candidates.append(
            Sized(
                math.ceil(policy.expected_connections * policy.headroom),
                "{0} connections expected x {1:g}".format(policy.expected_connections, policy.headroom),
            )
        )
    if host.count:
        # Rounded up to a power of two, so that the plan does not follow each flow that comes and goes.
        candidates.append(
            Sized(
                _power_of_two_above(host.count * policy.headroom),
                "{0} flows in use x {1:g}, rounded up to a power of two".format(host.count, policy.headroom),
            )
        )
    best = max(candidates, key=lambda sized: sized.value or 0)
    value, reason = best.value or 0, best.reason
    if value < policy.max_floor:
        value, reason = policy.max_floor, reason + "; raised to conntrack_max_floor"
    if value > policy.max_ceiling:
        value, reason = policy.max_ceiling, reason + "; held at conntrack_max_ceiling"
    if host.memory and value > affordable:
        # In coarse steps, so that the next kernel's slightly other idea of memory does not move it; but what
        # memory does hold, and has to be held, is not cut away.
        steps = max(affordable.bit_length() - 3, 0)
        coarse = affordable >> steps << steps
        value = coarse if coarse >= max(host.count, policy.expected_connections or 0) else affordable
        reason += "; held within the {0:g} percent of memory".format(policy.memory_percent)
    result = _raise_only(host, Sized(value, reason))
    if not result.value:
        refusal = (
            "conntrack_memory_percent: {0:g} percent of {1} hold no entry; raise it, or name conntrack_max".format(
                policy.memory_percent, size(host.memory)
            )
        )
        return result._replace(refusals=(refusal,))
    return _with_the_peak(host, result)


def _memory_candidate(host: Given, affordable: int) -> Sized:
    if not host.memory:
        return Sized(0, "memory not known")
    value = _power_of_two_below(affordable)
    if not value:
        return Sized(0, "{0:g} percent of {1} hold no entry".format(host.policy.memory_percent, size(host.memory)))
    return Sized(
        value,
        "{0:g} percent of {1} at {2:g} B an entry = {3}, rounded down to 2^{4}".format(
            host.policy.memory_percent, size(host.memory), _bytes_an_entry(host), affordable, value.bit_length() - 1
        ),
    )


def _raise_only(host: Given, sized: Sized) -> Sized:
    if host.policy.shrink or not host.max or host.max <= (sized.value or 0):
        return sized
    warnings: Tuple[str, ...] = ()
    takes = host.max * _bytes_an_entry(host)
    if host.memory and takes > _share(host):
        warnings = (
            "limit: {0}, already in force, takes {1} when full, {2:.1f} percent of memory; "
            "conntrack_shrink=true would lower it to {3}".format(
                host.max, size(takes), 100.0 * takes / host.memory, sized.value
            ),
        )
    return Sized(host.max, "already in force, and {0} would lower it ({1})".format(sized.value, sized.reason), warnings)


def _with_the_peak(host: Given, sized: Sized) -> Sized:
    """What bounds have cut away must not be what was asked to be served."""
    value, expected = sized.value or 0, host.policy.expected_connections
    if expected is None or value >= expected * host.policy.headroom:
        return sized
    room = "raise conntrack_memory_percent or conntrack_max_ceiling, or name conntrack_max"
    if value < expected:
        refusal = "conntrack_expected_connections: {0} do not fit into a limit of {1}; {2}".format(
            expected, value, room
        )
        return sized._replace(refusals=sized.refusals + (refusal,))
    warning = (
        "conntrack_expected_connections: a limit of {0} is {1:.2f} times the {2} expected, below conntrack_headroom "
        "{3:g}; {4}".format(value, value / expected, expected, host.policy.headroom, room)
    )
    return sized._replace(warnings=sized.warnings + (warning,))


def _bytes_an_entry(host: Given) -> float:
    """An entry and its share of the buckets."""
    return host.entry + host.pointer / host.policy.entries_per_bucket


def _share(host: Given) -> float:
    return host.memory * host.policy.memory_percent / 100.0


def _affordable(host: Given) -> int:
    """Entries that the memory share holds, in whole pages of buckets so that rounding adds nothing to them."""
    if host.policy.hashsize is not None:
        buckets = host.rounded(host.policy.hashsize) * host.pointer
        return max(int((_share(host) - buckets) // host.entry), 0)
    step = host.page // host.pointer * host.policy.entries_per_bucket
    whole = int(_share(host) // _bytes_an_entry(host)) // step * step
    return whole or max(int((_share(host) - host.page) // host.entry), 0)


def _power_of_two_below(number: float) -> int:
    return 1 << (int(number).bit_length() - 1) if number >= 1 else 0


def _power_of_two_above(number: float) -> int:
    return 1 << (max(math.ceil(number), 1) - 1).bit_length()


def held_limit(host: Given, sized: Sized, held: Mapping[str, Held]) -> Sized:
    """A limit that a program sets at each of its starts is the program's, within the bounds that bind everybody, and only not
    lowered meanwhile. Against a variable it is not weighed: that is refused."""
    owner = held.get(host.names.prefix + "max")
    if not owner or not sized.value:
        return sized
    policy = host.policy
    said = "{0} sets {1} at each of its starts".format(owner.owner, owner.value)
    if policy.max == owner.value:
        return sized
    refusals = sized.refusals
    if policy.max is not None:
        refusals += (
            "conntrack_max: {0} asked for, but {1}; ask for {2}, leave conntrack_max unset, or {3}".format(
                policy.max, said, owner.value, owner.remedy
            ),
        )
    elif policy.expected_connections is not None and policy.expected_connections > owner.value:
        refusals += (
            "conntrack_expected_connections: {0} do not fit, because {1}; {2}".format(
                policy.expected_connections, said, owner.remedy
            ),
        )
    refusals += tuple("{0}; {1}".format(why, owner.remedy) for why in _beyond_bounds(host, owner.value, said))
    value = max(owner.value, host.max or 0)
    reason = said if value == owner.value else said + "; already in force is more"
    warnings = sized.warnings
    if sized.value > owner.value:
        warnings += ("limit: {0} would be planned, but {1}; {2}".format(sized.value, reason, owner.remedy),)
    return Sized(value, reason, warnings, refusals)


def _beyond_bounds(host: Given, value: int, said: str) -> Iterator[str]:
    policy = host.policy
    if value > policy.max_ceiling:
        yield "limit: {0}, above conntrack_max_ceiling {1}; raise it, name conntrack_max={2}".format(
            said, policy.max_ceiling, value
        )
    if value < policy.max_floor and not policy.shrink:
        yield "limit: {0}, below conntrack_max_floor {1}; lower it".format(said, policy.max_floor)
    takes = value * _bytes_an_entry(host)
    if host.memory and takes > _share(host):
        yield (
            "limit: {0}, which take {1} when full, {2:.1f} percent of memory rather than the {3:g} of "
            "conntrack_memory_percent; raise it, name conntrack_max={4}"
        ).format(said, size(takes), 100.0 * takes / host.memory, policy.memory_percent, value)


# The buckets.


def held_buckets(host: Given, sized: Sized, held: Mapping[str, Held]) -> Sized:
    """A program that sets the buckets raises them only: with as many, it leaves them alone."""
    owner = held.get(HASHSIZE)
    if not owner or not sized.value or sized.value >= host.rounded(owner.value):
        return sized
    said = "{0} sets {1} at each of its starts".format(owner.owner, owner.value)
    asked = {"hashsize": host.policy.hashsize, "entries_per_bucket": host.policy.entries_per_bucket}
    refusals = tuple(
        "conntrack_{0}: {1} gives {2} buckets, but {3}; leave it unset, or {4}".format(
            name, value, sized.value, said, owner.remedy
        )
        for name, value in asked.items()
        if value not in (None, Policy().entries_per_bucket)
    )[:1]
    return Sized(host.rounded(owner.value), said, sized.warnings, sized.refusals + refusals)


def buckets_of(host: Given, limit: Optional[int]) -> Sized:
    policy = host.policy
    if policy.hashsize is not None:
        return _asked_buckets(host, limit)
    if limit is None:
        return Sized(host.buckets, "left as it is")
    per_bucket = policy.entries_per_bucket
    value = host.rounded(-(-limit // per_bucket))
    reason = "{0} entries at {1} a bucket".format(limit, per_bucket)
    if value != -(-limit // per_bucket):
        reason += ", rounded up to whole pages of {0} buckets".format(host.page // host.pointer)
    if host.buckets and host.buckets > value and not policy.shrink:
        return Sized(host.buckets, "already in force, and {0} would lower it ({1})".format(value, reason))
    return Sized(value, reason)


def tied_buckets(host: Given, limit: Optional[int]) -> Sized:
    wanted = host.policy.hashsize
    reason = "left as it is: " + host.why_tied()
    if wanted is None or host.rounded(wanted) == host.buckets:
        chain = 2 * (limit or 0) / (host.buckets or 1)
        warning = "buckets: with {0} the chains of a full table are {1:.0f} long, and beyond {2} new flows are refused".format(
            host.buckets, chain, kernel.LONGEST_CHAIN
        )
        return Sized(host.buckets, reason, (warning,) if chain > kernel.LONGEST_CHAIN else ())
    refusal = "conntrack_hashsize: {0} asked for, {1} found, and {2}; run this role on the host".format(
        wanted, host.buckets, host.why_tied()
    )
    return Sized(host.buckets, reason, (), (refusal,))


def _asked_buckets(host: Given, limit: Optional[int]) -> Sized:
    policy = host.policy
    wanted = policy.hashsize or 0
    value = host.rounded(wanted)
    reason = "conntrack_hashsize" + ("" if value == wanted else ", rounded up to whole pages of pointers")
    refusals: Tuple[str, ...] = ()
    # Half of the share, which leaves the entries theirs; or a bucket for each entry of a limit that was named.
    room = max(int(_share(host) / 2) // host.pointer, policy.max or 0) // (host.page // host.pointer)
    most = room * (host.page // host.pointer)
    if host.memory and value > max(most, host.rounded(policy.max or 0)):
        refusals += (
            "conntrack_hashsize: {0} buckets take {1}, more than half of the {2:g} percent of {3} of "
            "conntrack_memory_percent; name at most {4}".format(
                wanted, size(value * host.pointer), policy.memory_percent, size(host.memory), most
            ),
        )
    if host.buckets and value < host.buckets and not policy.shrink:
        refusals += (
            "conntrack_hashsize: {0} would lower the {1} buckets in force; name at least that, leave it unset, "
            "or set conntrack_shrink=true".format(wanted, host.buckets),
        )
    if limit and limit > kernel.ENTRIES_PER_BUCKET_AT_LOAD * value:
        refusals += (
            "conntrack_hashsize: {0} makes the limit {1} after a load of the module, below the {2} planned; "
            "name at least {3}".format(
                wanted, kernel.ENTRIES_PER_BUCKET_AT_LOAD * value, limit, -(-limit // kernel.ENTRIES_PER_BUCKET_AT_LOAD)
            ),
        )
    return Sized(value, reason, (), refusals)


# The expectations.


def expectations_of(host: Given, buckets: Optional[int]) -> Sized:
    """What a load of the module with these buckets gives, unless more are in force, which it would take away.

    A module that is not loaded has no key yet, and is planned for as it will be.
    """
    has_them = host.expect_max is not None if host.is_live else host.names.bounds_expectations
    if not has_them:
        return Sized(None, "this kernel has no such setting")
    if host.is_tied("max") and host.policy.apply:
        return Sized(host.expect_max, "left as it is: " + host.why_tied())
    value = kernel.expect_max(buckets or 0)
    reason = "what this kernel gives {0} buckets, 4 to each 256".format(buckets)
    if host.expect_max is not None and host.expect_max > value and not host.policy.shrink:
        return Sized(host.expect_max, "already in force, and {0} would lower it ({1})".format(value, reason))
    return Sized(value, reason)


def size(count: float) -> str:
    """Bytes for people: 512 B, 25.0 MiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return "{0:.0f} {1}".format(count, unit) if unit == "B" else "{0:.1f} {1}".format(count, unit)
        count /= 1024.0
    return "{0:.1f} GiB".format(count)
