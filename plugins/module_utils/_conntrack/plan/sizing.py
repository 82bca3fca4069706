# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large: facts and policy -> limit, buckets and expectations, within what this host can bear, each with its reason. Pure."""

import math
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .. import kernel
from ..outcome.said import HASHSIZE
from .given import Given
from .policy import Policy, tried
from .ways import Notice, told, values, way

# What a live resize takes an entry: 0.5 to 0.9 microseconds on 6.18, 0.6 to 5 on a user-mode kernel 7.2. Fewer entries are not
# worth a word: a tenth of a second.
_SECONDS_TO_MOVE = 1e-6
_MANY_TO_MOVE = 100000


class Sized(NamedTuple):
    """A number and how it came about."""

    value: Optional[int]
    reason: str
    warnings: Tuple[Notice, ...] = ()
    refusals: Tuple[Notice, ...] = ()


class Numbers(NamedTuple):
    limit: Sized
    buckets: Sized
    hashsize: Optional[int]  # what a load is to be given
    expectations: Sized

    @property
    def warnings(self) -> Tuple[Notice, ...]:
        return self.limit.warnings + self.buckets.warnings

    @property
    def refusals(self) -> Tuple[Notice, ...]:
        return self.limit.refusals + self.buckets.refusals


def numbers(host: Given) -> Numbers:
    limit = _limit(host)
    plain, buckets = _buckets(host, limit.value)
    # What nothing sets again after a load has to be what a load makes.
    hashsize = plain.value if host.is_unhooked else buckets.value
    expectations = _not_lowered(host, _expectations(host, hashsize), host.expect_in_force)
    if host.is_tied("buckets") and host.policy.apply:
        buckets = _tied_buckets(host, limit.value)
    else:
        buckets = _moving_all(host, buckets)
    return Numbers(limit, buckets, hashsize, expectations)


def said(host: Given, notice: Notice) -> str:
    """In words, with those ways that would do."""
    return told(notice, lambda notice, fields: _does(host, notice, fields))


def _does(host: Given, notice: Notice, fields: Mapping[str, Any]) -> bool:
    """Whether nothing would be refused any more about what ``notice`` is about, nor about ``fields``."""
    policy = tried(host.policy, fields)
    abouts = {notice.about, *fields}
    return policy is not None and not any(one.about in abouts for one in numbers(Given(host.told, policy)).refusals)


def _not_lowered(host: Given, sized: Sized, in_force: Optional[int]) -> Sized:
    """What is in force, where it is more and the host could not tell all."""
    if not host.untold or not sized.value or not in_force or in_force <= sized.value:
        return sized
    reason = "already in force, and nothing is lowered, because not all was told: {0}".format("; ".join(host.untold))
    return Sized(in_force, reason, sized.warnings + (Notice("max", reason),), sized.refusals)


# The limit.


def _limit(host: Given) -> Sized:
    if host.is_tied("max") and host.policy.apply:
        return _tied_limit(host)
    sized = _asked_limit(host) if host.policy.max is not None else _sized_limit(host)
    sized = _not_lowered(host, _held_limit(host, sized), host.in_force)
    if host.made_by_load:
        sized = sized._replace(reason="{0}; the {1} in force were made by a load".format(sized.reason, host.max))
    if not sized.value:
        return sized
    sized = _beside_a_cloud(host, sized)
    return _with_the_flows(host, _with_the_peak(host, sized) if host.policy.max is None else sized)


def _beside_a_cloud(host: Given, sized: Sized) -> Sized:
    """A limit far above what the cloud beside the kernel tracks for this host, as far as its cards tell: it serves nobody. It is no
    limit of the host's own, and not all is tracked there, so that it is said and moves nothing."""
    left = [card["available"] for card in host.facts.get("cloud") or () if card["available"] is not None]
    if not left or (sized.value or 0) <= host.policy.headroom * (host.count + max(left)):
        return sized
    reason = "{0}; far above what security groups track for this instance: {1} more than now, with {2} flows in use here".format(
        sized.reason, max(left), host.count
    )
    return sized._replace(reason=reason)


def _tied_limit(host: Given) -> Sized:
    wanted = host.policy.max
    if wanted is not None and wanted != host.max:
        said = "conntrack_max: {0} asked for, {1} found, and {2}".format(wanted, host.max, host.why_tied())
        return Sized(host.max, "left as it is", (), (Notice("max", said, (way("run this role on the host"),)),))
    warning = Notice("max", "limit: " + host.why_tied())
    return Sized(host.max, "left as it is: " + host.why_tied(), (warning,))


def _asked_limit(host: Given) -> Sized:
    wanted = host.policy.max or 0
    unset = way("leave conntrack_max unset", max=None)
    refusals: List[Notice] = []
    warnings: List[Notice] = []
    takes = wanted * _bytes_an_entry(host)
    if host.in_force and wanted < host.in_force and not host.policy.shrink:
        said = "conntrack_max: {0} would lower the limit {1}, {2}".format(wanted, host.how, host.in_force)
        least = values("name at least that", "max", host.in_force)
        refusals.append(Notice("max", said, (least, unset, way("set conntrack_shrink=true", shrink=True))))
    if wanted > host.most:
        said = "conntrack_max: {0} is more than a load of the module can make, 8 x {1} buckets".format(
            wanted, host.largest
        )
        refusals.append(Notice("max", said, (values("name at most {0}", "max", host.most), unset)))
    if host.memory and takes > host.memory:
        said = "conntrack_max: {0} entries take {1} when full, and this host has {2}".format(
            wanted, size(takes), size(host.memory)
        )
        most = values("name at most {0}", "max", _affordable(host), int(host.memory // _bytes_an_entry(host)))
        refusals.append(Notice("max", said, (most, unset)))
    elif host.memory and takes > _share(host):
        said = (
            "conntrack_max: {0} entries take {1} when full, {2:.1f} percent of memory rather than the {3:g} of "
            "conntrack_memory_percent"
        )
        percent = 100.0 * takes / host.memory
        warnings.append(Notice("max", said.format(wanted, size(takes), percent, host.policy.memory_percent)))
    return Sized(wanted, "conntrack_max", tuple(warnings), tuple(refusals))


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
    if value > host.most:
        value, reason = host.most, reason + "; held at what a load of the module can make"
    if host.memory and value > affordable:
        # In coarse steps, so that the next kernel's slightly other idea of memory does not move it; but what
        # memory does hold, and has to be held, is not cut away.
        steps = max(affordable.bit_length() - 3, 0)
        coarse = affordable >> steps << steps
        value = coarse if coarse >= max(host.count, policy.expected_connections or 0) else affordable
        reason += "; held within the {0:g} percent of memory".format(policy.memory_percent)
    result = _raise_only(host, Sized(value, reason))
    if not result.value:
        said = "conntrack_memory_percent: {0:g} percent of {1} hold no entry".format(
            policy.memory_percent, size(host.memory)
        )
        return result._replace(refusals=(Notice("memory_percent", said, (way("raise it"), way("name conntrack_max"))),))
    return result


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
    in_force = host.in_force
    if host.policy.shrink or not in_force or in_force <= (sized.value or 0):
        return sized
    reason = "already {0}, and {1} would lower it ({2})".format(host.how, sized.value, sized.reason)
    takes = in_force * _bytes_an_entry(host)
    shrunk = way("conntrack_shrink=true would lower it to {0}".format(sized.value), shrink=True)
    if host.memory and takes > host.memory and _least_buckets(host, in_force) > _room_for_buckets(host):
        said = "limit: {0}, already {1}, takes {2} when full, and this host has {3}, of which not even the buckets fit".format(
            in_force, host.how, size(takes), size(host.memory)
        )
        return Sized(in_force, reason, (), (Notice("max", said, (shrunk,)),))
    warnings: Tuple[Notice, ...] = ()
    if host.memory and takes > _share(host):
        said = "limit: {0}, already {1}, takes {2} when full, {3:.1f} percent of memory".format(
            in_force, host.how, size(takes), 100.0 * takes / host.memory
        )
        warnings = (Notice("max", said, (shrunk,)),)
    return Sized(in_force, reason, warnings)


def _with_the_peak(host: Given, sized: Sized) -> Sized:
    """What bounds have cut away, or a program will, must not be what was asked to be served."""
    value, expected = sized.value or 0, host.policy.expected_connections
    owner = host.held.get(host.names.prefix + "max")
    if expected is None:
        return sized
    if owner and expected > owner.value:
        said = "conntrack_expected_connections: {0} do not fit, because {1} sets {2} at each of its starts".format(
            expected, owner.owner, owner.value
        )
        refusal = Notice("expected_connections", said, (way(owner.remedy),))
        return sized._replace(refusals=sized.refusals + (refusal,))
    if value < expected:
        said = "conntrack_expected_connections: {0} do not fit into a limit of {1}".format(expected, value)
        refusal = Notice("expected_connections", said, _room(host, expected))
        return sized._replace(refusals=sized.refusals + (refusal,))
    return _with_headroom(host, sized, expected, "expected", "conntrack_expected_connections: a limit of")


def _with_the_flows(host: Given, sized: Sized) -> Sized:
    """Nothing is lowered below what is in use."""
    value = sized.value or 0
    if value < host.count:
        said = "limit {0}: {1} flows are in use now and the kernel would drop new ones".format(value, host.count)
        ways = (way("shorten timeouts first"), values("name at least {0}", "max", _least(host)))
        return sized._replace(refusals=sized.refusals + (Notice("max", said, ways),))
    if host.policy.max is not None:
        return sized
    return _with_headroom(host, sized, host.count, "flows in use", "limit:")


def _with_headroom(host: Given, sized: Sized, peak: int, what: str, start: str) -> Sized:
    """A peak that is held, though not with headroom."""
    owner = host.held.get(host.names.prefix + "max")
    value = min(sized.value or 0, owner.value) if owner else sized.value or 0
    if value >= peak * host.policy.headroom:
        return sized
    said = "{0} {1} is {2:.2f} times the {3} {4}, below conntrack_headroom {5:g}".format(
        start, value, value / peak, peak, what, host.policy.headroom
    )
    ways = (way(owner.remedy),) if owner else _room(host, peak)
    return sized._replace(warnings=sized.warnings + (Notice("max", said, ways),))


def _room(host: Given, peak: int) -> Tuple[Any, ...]:
    """The ways to a limit that holds a peak, with headroom if that can be."""
    wanted = [max(number, _least(host)) for number in (math.ceil(peak * host.policy.headroom), peak)]
    return (
        way("raise conntrack_memory_percent or conntrack_max_ceiling"),
        values("name conntrack_max={0}", "max", *wanted),
    )


def _least(host: Given) -> int:
    """What conntrack_max must not be below."""
    policy = host.policy
    bounds = [host.count, policy.expected_connections or 0]
    if not policy.shrink:
        bounds += [policy.max_floor, host.in_force or 0]
    return max(bounds)


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
    step = host.per_page * host.policy.entries_per_bucket
    whole = int(_share(host) // _bytes_an_entry(host)) // step * step
    return whole or max(int((_share(host) - host.page) // host.entry), 0)


def _power_of_two_below(number: float) -> int:
    return 1 << (int(number).bit_length() - 1) if number >= 1 else 0


def _power_of_two_above(number: float) -> int:
    return 1 << (max(math.ceil(number), 1) - 1).bit_length()


def _held_limit(host: Given, sized: Sized) -> Sized:
    """A limit that a program sets at each of its starts is the program's, within the bounds that bind everybody, and only not
    lowered meanwhile. Against a variable it is not weighed: that is refused."""
    policy = host.policy
    owner = host.held.get(host.names.prefix + "max")
    if not owner or not sized.value or policy.max == owner.value:
        return sized
    start = "{0} sets {1} at each of its starts".format(owner.owner, owner.value)
    refusals = sized.refusals
    if policy.max is not None:
        ways = (
            values("ask for {0}", "max", owner.value),
            way("leave conntrack_max unset", max=None),
            way(owner.remedy),
        )
        refusals += (Notice("max", "conntrack_max: {0} asked for, but {1}".format(policy.max, start), ways),)
    refusals += tuple(_beyond_bounds(host, owner.value, start, owner.remedy))
    value = max(owner.value, host.in_force or 0)
    reason = start if value == owner.value else start + "; already in force is more"
    warnings = sized.warnings
    if sized.value > owner.value:
        warning = "limit: {0} would be planned, but {1}".format(sized.value, reason)
        warnings += (Notice("max", warning, (way(owner.remedy),)),)
    return Sized(value, reason, warnings, refusals)


def _beyond_bounds(host: Given, value: int, start: str, remedy: str) -> Iterator[Notice]:
    policy = host.policy
    named = values("name conntrack_max={0}", "max", value)
    if value > policy.max_ceiling:
        said = "limit: {0}, above conntrack_max_ceiling {1}".format(start, policy.max_ceiling)
        yield Notice("max_ceiling", said, (values("raise it to {0}", "max_ceiling", value), named, way(remedy)))
    if value < policy.max_floor and not policy.shrink:
        said = "limit: {0}, below conntrack_max_floor {1}".format(start, policy.max_floor)
        yield Notice("max_floor", said, (values("lower it to {0}", "max_floor", value), way(remedy)))
    takes = value * _bytes_an_entry(host)
    if host.memory and takes > _share(host):
        percent = 100.0 * takes / host.memory
        said = (
            "limit: {0}, which take {1} when full, {2:.1f} percent of memory rather than the {3:g} of conntrack_memory_percent"
        ).format(start, size(takes), percent, policy.memory_percent)
        raised = way("raise it to {0:g}".format(math.ceil(percent)), memory_percent=math.ceil(percent))
        yield Notice("memory_percent", said, (raised, named, way(remedy)))


# The buckets.


def _buckets(host: Given, limit: Optional[int]) -> Tuple[Sized, Sized]:
    """What the limit asks for, and with what is in force or held by a program."""
    if host.policy.hashsize is not None:
        plain = _asked_buckets(host, limit)
        raised = plain
    else:
        plain = _sized_buckets(host, limit)
        raised = _raised_buckets(host, plain)
    return plain, _not_lowered(host, _held_buckets(host, raised, limit), host.buckets_in_force)


def _sized_buckets(host: Given, limit: Optional[int]) -> Sized:
    if limit is None:
        return Sized(host.buckets, "left as it is")
    per_bucket = host.policy.entries_per_bucket
    if host.is_unhooked:
        per_bucket = kernel.ENTRIES_PER_BUCKET_AT_LOAD
    wanted = -(-limit // per_bucket)
    value = host.rounded(wanted)
    reason = "{0} entries at {1} a bucket".format(limit, per_bucket)
    if host.is_unhooked:
        reason += ", as a load of the module makes them, and nothing else would here"
    if value != wanted:
        reason += ", rounded up to whole pages of {0} buckets".format(host.per_page)
    # A limit that was named may have its buckets.
    room = max(_room_for_buckets(host), _least_buckets(host, limit)) if host.policy.max is None else value
    if host.memory and value > room:
        value, reason = (
            room,
            reason + "; held within half of the {0:g} percent of memory".format(host.policy.memory_percent),
        )
    if value > host.largest:
        value, reason = host.largest, reason + "; held at what the kernel takes"
    return Sized(value, reason)


def _raised_buckets(host: Given, sized: Sized) -> Sized:
    in_force = host.buckets_in_force
    if host.policy.shrink or sized.value is None or not in_force or in_force <= sized.value:
        return sized
    reason = "already {0}, and {1} would lower it ({2})".format(host.there, sized.value, sized.reason)
    return sized._replace(value=in_force, reason=reason)


def _moving_all(host: Given, sized: Sized) -> Sized:
    """A live resize puts every entry of every network namespace into another bucket, with all packets that are tracked kept waiting
    (nf_conntrack_hash_resize)."""
    if not host.policy.apply or not host.is_live or sized.value in (None, host.buckets) or host.entries < _MANY_TO_MOVE:
        return sized
    said = "{0}; {1} entries are moved at once then, and packets wait for some {2:.1f} s".format(
        sized.reason, host.entries, host.entries * _SECONDS_TO_MOVE
    )
    return sized._replace(reason=said)


def _least_buckets(host: Given, limit: int) -> int:
    """With which a load makes the limit."""
    return host.rounded(-(-limit // kernel.ENTRIES_PER_BUCKET_AT_LOAD))


def _room_for_buckets(host: Given) -> int:
    """Half of the memory share, which leaves the entries theirs."""
    return int(_share(host) / 2) // host.pointer // host.per_page * host.per_page


def _held_buckets(host: Given, sized: Sized, limit: Optional[int]) -> Sized:
    """A program that sets the buckets raises them only: with as many, it leaves them alone."""
    owner = host.held.get(HASHSIZE)
    if not owner or not sized.value or sized.value >= host.rounded(owner.value):
        return sized
    value = host.rounded(owner.value)
    start = "{0} sets {1} at each of its starts".format(owner.owner, owner.value)
    asked = {"hashsize": host.policy.hashsize, "entries_per_bucket": host.policy.entries_per_bucket}
    refusals = [
        Notice(
            name,
            "conntrack_{0}: {1} gives {2} buckets, but {3}".format(name, number, sized.value, start),
            (way("leave it unset"), way(owner.remedy)),
        )
        for name, number in asked.items()
        if number not in (None, Policy().entries_per_bucket)
    ][:1]
    if host.memory and value > max(_room_for_buckets(host), host.rounded(limit or 0)):
        said = "buckets: {0}, which take {1}, more than half of the {2:g} percent of {3} of conntrack_memory_percent".format(
            start, size(value * host.pointer), host.policy.memory_percent, size(host.memory)
        )
        refusals.append(Notice("memory_percent", said, (way("raise it"), way(owner.remedy))))
    return Sized(value, start, sized.warnings, sized.refusals + tuple(refusals))


def _tied_buckets(host: Given, limit: Optional[int]) -> Sized:
    wanted = host.policy.hashsize
    reason = "left as it is: " + host.why_tied()
    if wanted is None or host.rounded(wanted) == host.buckets:
        chain = 2 * (limit or 0) / (host.buckets or 1)
        said = "buckets: with {0} the chains of a full table are {1:.0f} long, and beyond {2} new flows are refused".format(
            host.buckets, chain, kernel.LONGEST_CHAIN
        )
        return Sized(host.buckets, reason, (Notice("hashsize", said),) if chain > kernel.LONGEST_CHAIN else ())
    said = "conntrack_hashsize: {0} asked for, {1} found, and {2}".format(wanted, host.buckets, host.why_tied())
    return Sized(host.buckets, reason, (), (Notice("hashsize", said, (way("run this role on the host"),)),))


def _asked_buckets(host: Given, limit: Optional[int]) -> Sized:
    policy = host.policy
    wanted = policy.hashsize or 0
    value = host.rounded(wanted)
    reason = "conntrack_hashsize" + ("" if value == wanted else ", rounded up to whole pages of pointers")
    if value > host.largest:
        value, reason = host.largest, "conntrack_hashsize, held at what the kernel takes"
    unset = way("leave it unset", hashsize=None)
    refusals: List[Notice] = []
    # Or a bucket for each entry of a limit that was named.
    most = max(_room_for_buckets(host), (policy.max or 0) // host.per_page * host.per_page)
    if host.memory and value > max(most, host.rounded(policy.max or 0)):
        said = (
            "conntrack_hashsize: {0} buckets take {1}, more than half of the {2:g} percent of {3} of conntrack_memory_percent"
        ).format(wanted, size(value * host.pointer), policy.memory_percent, size(host.memory))
        refusals.append(Notice("hashsize", said, (values("name at most {0}", "hashsize", most), unset)))
    if host.buckets_in_force and value < host.buckets_in_force and not policy.shrink:
        said = "conntrack_hashsize: {0} would lower the {1} buckets {2}".format(
            wanted, host.buckets_in_force, host.there
        )
        least = values("name at least that", "hashsize", host.buckets_in_force)
        refusals.append(Notice("hashsize", said, (least, unset, way("set conntrack_shrink=true", shrink=True))))
    if limit and limit > kernel.ENTRIES_PER_BUCKET_AT_LOAD * value:
        said = "conntrack_hashsize: {0} makes the limit {1} after a load of the module, below the {2} planned".format(
            wanted, kernel.ENTRIES_PER_BUCKET_AT_LOAD * value, limit
        )
        least = values("name at least {0}", "hashsize", -(-limit // kernel.ENTRIES_PER_BUCKET_AT_LOAD))
        refusals.append(Notice("hashsize", said, (least, unset)))
    return Sized(value, reason, (), tuple(refusals))


# The expectations.


def _expectations(host: Given, buckets: Optional[int]) -> Sized:
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
    if host.expect_in_force is not None and host.expect_in_force > value and not host.policy.shrink:
        reason = "already {0}, and {1} would lower it ({2})".format(host.there, value, reason)
        return Sized(host.expect_in_force, reason)
    return Sized(value, reason)


def size(count: float) -> str:
    """Bytes for people: 512 B, 25.0 MiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return "{0:.0f} {1}".format(count, unit) if unit == "B" else "{0:.1f} {1}".format(count, unit)
        count /= 1024.0
    return "{0:.1f} GiB".format(count)
