# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit of conntrack_size_at_boot makes of a machine's memory: the sizing of the plan, without what a boot does not know. Pure."""

from typing import Any, Dict, Mapping, Optional

from .. import kernel
from ..outcome.said import HASHSIZE
from ..outcome.sized import ASKED
from ..values import Facts
from .given import Given
from .policy import Policy
from .sizing import numbers

_FREE = {"max": True, "buckets": True, "timeouts": True}


def foreknown(facts: Facts) -> Facts:
    """The same facts, by which the fold can tell what a unit that is there will come to."""
    unit = facts["assignments"].get("sized")
    # A host may have answered a part of it.
    if not unit or set(unit["asked"]) != set(ASKED):
        return facts

    def sizes(limit: Optional[int], buckets: Optional[int], expectations: Optional[int]) -> Dict[str, int]:
        return sized(facts, asked(unit["asked"]), limit, buckets, expectations)

    return dict(facts, assignments=dict(facts["assignments"], sized=dict(unit, sizes=sizes)))


def asked(said: Mapping[str, int]) -> Policy:
    """What a script was made of, as far as sizes follow from it."""
    return Policy(
        max=said["MAX"] or None,
        expected_connections=said["EXPECTED"] or None,
        headroom=said["HEADROOM"] / (said["HEADROOM_OF"] or 1),
        memory_percent=100 * said["SHARE"] / (said["SHARE_OF"] or 1),
        max_floor=said["FLOOR"],
        max_ceiling=said["CEILING"],
        entries_per_bucket=said["PER_BUCKET"] or 1,
        hashsize=said["HASHSIZE"] or None,
        shrink=bool(said["SHRINK"]),
    )


def of_boot(policy: Policy) -> Policy:
    """Of a policy what sizes follow from: the script of the unit is made of that."""
    names = (
        "max",
        "expected_connections",
        "headroom",
        "memory_percent",
        "max_floor",
        "max_ceiling",
        "hashsize",
        "shrink",
    )
    return Policy(entries_per_bucket=policy.entries_per_bucket, **{name: getattr(policy, name) for name in names})


def sized(
    facts: Facts, policy: Policy, limit: Optional[int], buckets: Optional[int], expectations: Optional[int]
) -> Dict[str, int]:
    """By key, with these in force and no flow in use; nothing where it would be refused, and so is left alone."""
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    table: Dict[str, Any] = dict(facts.get("table") or {}, count=0, max=limit, buckets=buckets, expect_max=expectations)
    there = dict(
        facts,
        state="builtin" if facts["state"] == "builtin" else "loaded",
        kernel=dict(facts["kernel"], writable=_FREE, root=True),
        table=table,
        owners=[],
        namespaces=[],
        cloud=[],
        untold=[],
    )
    found = numbers(Given(there, policy))
    if found.refusals:
        return {}
    values = {prefix + "max": found.limit.value, HASHSIZE: found.buckets.value}
    values[prefix + "expect_max"] = found.expectations.value
    return {key: value for key, value in values.items() if value is not None}


def is_left_to_boot(host: Given, limit: Optional[int], hashsize: Optional[int], expectations: Optional[int]) -> bool:
    """Whether a boot comes to the same without a word of a file: what was named, or is more than memory alone gives, is written."""
    policy = host.policy
    if not policy.size_at_boot or policy.max is not None or policy.hashsize is not None:
        return False
    if policy.target == "image":
        return True
    release, page, pointer = host.release, host.page, host.pointer
    if not host.memory or host.names.module != "nf_conntrack":
        return False
    buckets, at_first = kernel.default_table(release, host.memory, page, pointer, (None, None))
    if not buckets or not at_first:
        return False
    first = kernel.expect_max(buckets)
    then = sized(host.facts, of_boot(policy), at_first, buckets, first)
    prefix = host.names.prefix
    return then == {
        prefix + "max": limit,
        HASHSIZE: hashsize,
        **({prefix + "expect_max": expectations} if expectations is not None else {}),
    }
