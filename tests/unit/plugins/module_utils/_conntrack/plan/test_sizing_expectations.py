# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The most expectations at once: what a load with the planned buckets gives, or what is in force if that is more."""

import pytest

from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    NOT_LOADED,
    NOT_ROOT,
    PAGES_64K,
    TIMEOUTS,
    planned,
)

KEY = "net.netfilter.nf_conntrack_expect_max"
OLD = {"flavour": "ip_conntrack", "table.expect_max": None}


@pytest.mark.parametrize(
    ("changes", "fields", "expectations"),
    [
        # 100352 buckets of whole pages: 392 times 256
        ({}, {"max": 100000}, 1568),
        # 12800 buckets: 50
        ({}, {"max": 100000, "entries_per_bucket": 8}, 200),
        # 106496: 416
        (PAGES_64K, {"max": 100000}, 1664),
        ({"state": "builtin"}, {"max": 100000}, 1568),
        (NOT_ROOT, {"max": 100000}, 1568),
        # The key comes with the module.
        (NOT_LOADED, {"max": 100000}, 1568),
        # The live buckets stay 8192, and a load of the module gives 100352.
        ({"kernel.writable": {"max": True, "buckets": False, "timeouts": True}}, {"max": 100000}, 1568),
    ],
    ids=["4 KiB", "8 a bucket", "64 KiB", "built in", "not root", "not loaded", "tied buckets"],
)
def test_what_a_load_gives_the_planned_buckets(changes, fields, expectations):
    plan = planned(changes, **fields)
    assert (plan.expect_max, plan.live["expect_max"], plan.sysctl[KEY]) == (expectations,) * 3
    assert plan.reasons["expect_max"] == f"what this kernel gives {plan.hashsize} buckets, 4 to each 256"


@pytest.mark.parametrize(
    ("found", "fields", "expectations", "reason"),
    [
        (0, {}, 2048, "what this kernel gives 131072 buckets, 4 to each 256"),
        (2047, {}, 2048, "what this kernel gives"),
        (2048, {}, 2048, "what this kernel gives"),
        (
            2049,
            {},
            2049,
            "already in force, and 2048 would lower it (what this kernel gives 131072 buckets, 4 to each 256)",
        ),
        (50000, {"hashsize": 200192}, 50000, "already in force, and 3128 would lower it"),
        (50000, {"shrink": True}, 2048, "what this kernel gives 131072 buckets"),
        (50000, {"apply": False}, 50000, "already in force"),
    ],
    ids=["none let in", "below", "the same", "above", "above those of more buckets", "to be shrunk", "not applied"],
)
def test_expectations_in_force_are_only_raised(found, fields, expectations, reason):
    plan = planned({"table.expect_max": found}, **fields)
    assert (plan.expect_max, plan.sysctl[KEY]) == (expectations, expectations)
    assert plan.reasons["expect_max"].startswith(reason)
    assert (plan.refusals, plan.warnings) == ([], [])
    told = [(drift.found, drift.wanted) for drift in plan.drift if drift.name == KEY]
    assert told == ([] if found == expectations or "apply" in fields else [(found, expectations)])


@pytest.mark.parametrize(
    "changes",
    [OLD, dict(OLD, state="loadable"), {"table.expect_max": None}],
    ids=["ip_conntrack", "ip_conntrack, not loaded", "no such key"],
)
@pytest.mark.parametrize("shrink", [False, True], ids=["raise", "shrink"])
def test_a_kernel_without_the_key_gets_none(changes, shrink):
    plan = planned(changes, shrink=shrink)
    assert (plan.expect_max, plan.live["expect_max"]) == (None, None)
    assert plan.reasons["expect_max"] == "this kernel has no such setting"
    assert [key for key in plan.sysctl if key.endswith("expect_max")] == []
    assert [drift for drift in plan.drift if drift.name.endswith("expect_max")] == []


@pytest.mark.parametrize(
    "changes",
    [CONTAINER, {"kernel.writable": {"max": False, "buckets": True, "timeouts": True}}],
    ids=["another namespace", "read-only"],
)
@pytest.mark.parametrize("shrink", [False, True], ids=["raise", "shrink"])
def test_where_the_limit_is_tied_the_expectations_are_left(changes, shrink):
    plan = planned(dict(changes, **{"table.expect_max": 77}), shrink=shrink)
    assert (plan.expect_max, plan.live["expect_max"]) == (77, None)
    assert plan.reasons["expect_max"].startswith("left as it is: ")
    assert [drift for drift in plan.drift if drift.name == KEY] == []
    assert plan.refusals == []


def test_the_first_load_after_the_files_were_written_brings_no_drift():
    """What is written for a module that is not loaded is what is planned once it is."""
    before = planned(NOT_LOADED)
    loaded = {"max": before.max, "buckets": before.buckets, "expect_max": before.expect_max, "count": 0}
    now = {"table." + name: value for name, value in loaded.items()}
    after = planned(dict(now, timeouts=dict(TIMEOUTS, **before.timeouts)))
    assert (after.sysctl, after.hashsize, after.drift) == (before.sysctl, before.hashsize, [])
