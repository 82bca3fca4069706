# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Buckets and hashsize: rounded as the kernel rounds them, 8 x hashsize never below the limit, never more than fit."""

import re

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    GIB,
    NOT_LOADED,
    PAGES_64K,
    POINTERS_32,
    planned,
)

# Seen on kernels: 5000 -> 5120 with 512 pointers a page , 8192 with 64 KiB, 1024 with 32 bit.
ROUNDED = [
    (1, 4096, 8, 512),
    (512, 4096, 8, 512),
    (513, 4096, 8, 1024),
    (5000, 4096, 8, 5120),
    (65536, 4096, 8, 65536),
    (5000, 65536, 8, 8192),
    (8193, 65536, 8, 16384),
    (5000, 4096, 4, 5120),
    (1, 4096, 4, 1024),
    (15870, 4096, 4, 16384),
]


@pytest.mark.parametrize(("asked", "page", "pointer", "found"), ROUNDED)
def test_rounded_to_whole_pages_of_pointers(asked, page, pointer, found):
    assert kernel.rounded_buckets(asked, page, pointer) == found


@pytest.mark.parametrize(
    ("changes", "fields", "buckets"),
    [
        ({}, {"max": 100000}, 100352),
        ({}, {"max": 100352}, 100352),
        ({}, {"max": 100000, "entries_per_bucket": 4}, 25088),
        ({}, {"max": 100000, "entries_per_bucket": 8}, 12800),
        (PAGES_64K, {"max": 100000}, 106496),
        (POINTERS_32, {"max": 100000}, 100352),
        (POINTERS_32, {"max": 100353}, 101376),
        ({}, {"max": 100000, "hashsize": 50000}, 50176),
        ({}, {"max": 100000, "hashsize": 12500}, 12800),
        (PAGES_64K, {"max": 100000, "hashsize": 50000}, 57344),
    ],
    ids=repr,
)
def test_by_the_limit_or_as_asked(changes, fields, buckets):
    plan = planned(changes, **fields)
    assert (plan.buckets, plan.hashsize, plan.live["buckets"]) == (buckets, buckets, buckets)
    assert plan.refusals == []


@pytest.mark.parametrize(
    ("changes", "fields", "full"),
    [
        # 100000 x 384 + 100352 x 8
        ({}, {"max": 100000}, 39202816),
        # 100000 x 384 + 12800 x 8
        ({}, {"max": 100000, "entries_per_bucket": 8}, 38502400),
        # 100000 x 384 + 106496 x 8
        (PAGES_64K, {"max": 100000}, 39251968),
        # 100000 x 384 + 100352 x 4: less than kernels of its kind take is not reckoned with
        (dict(POINTERS_32, **{"table.entry_bytes": 320}), {"max": 100000}, 38801408),
        # 100000 x 448 + 100352 x 8: more than they take is
        ({"table.entry_bytes": 448}, {"max": 100000}, 45602816),
        # Not known before the module is loaded: 256 + 128
        (dict(NOT_LOADED, **{"table.entry_bytes": None}), {"max": 100000}, 39202816),
        # 320 + 128
        (dict(NOT_LOADED, **{"kernel.release": "5.10.0-32-amd64"}), {"max": 100000}, 45602816),
    ],
    ids=["4 KiB", "8 a bucket", "64 KiB", "32 bit", "a larger object", "not loaded", "not loaded, before 5.15"],
)
def test_bytes_of_a_full_table(changes, fields, full):
    assert planned(changes, **fields).full_bytes == full


@pytest.mark.parametrize(
    ("fields", "buckets", "reason"),
    [
        ({}, 262144, "already in force, and 131072 would lower it (131072 entries at 1 a bucket)"),
        ({"shrink": True}, 131072, "131072 entries at 1 a bucket"),
        ({"max": 262145}, 262656, "262145 entries at 1 a bucket, rounded up to whole pages of 512 buckets"),
        ({"hashsize": 262144}, 262144, "conntrack_hashsize"),
        ({"hashsize": 262000}, 262144, "conntrack_hashsize, rounded up to whole pages of pointers"),
        ({"hashsize": 131072, "shrink": True}, 131072, "conntrack_hashsize"),
    ],
    ids=["fewer are not taken", "shrunk", "more", "the same", "rounded the same", "asked and shrunk"],
)
def test_buckets_in_force_are_only_raised(fields, buckets, reason):
    plan = planned({"table.buckets": 262144}, **fields)
    assert (plan.buckets, plan.reasons["buckets"], plan.refusals) == (buckets, reason, [])


REFUSED = [
    (
        "fewer than in force",
        {"table.buckets": 262144},
        {"hashsize": 131072},
        "conntrack_hashsize: 131072 would lower the 262144 buckets in force; name at least that, leave it unset, "
        "or set conntrack_shrink=true",
    ),
    (
        "a limit after a load below the limit in force",
        {"table.max": 1000000, "table.buckets": 512},
        {"hashsize": 65536},
        "conntrack_hashsize: 65536 makes the limit 524288 after a load of the module, below the 1000000 planned; "
        "name at least 125000",
    ),
    (
        "a limit after a load below what memory gives",
        {},
        {"hashsize": 8192},
        "conntrack_hashsize: 8192 makes the limit 65536 after a load of the module, below the 131072 planned; "
        "name at least 16384",
    ),
    (
        "more than the memory share",
        {},
        {"hashsize": 20000000},
        "conntrack_hashsize: 20000000 buckets take 152.6 MiB, more than half of the 2 percent of 4.0 GiB",
    ),
    (
        "other buckets in a container",
        CONTAINER,
        {"hashsize": 16384},
        "conntrack_hashsize: 16384 asked for, 8192 found, and this is not the first network namespace",
    ),
]


@pytest.mark.parametrize(("changes", "fields", "said"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(changes, fields, said):
    plan = planned(changes, **fields)
    (refusal,) = plan.refusals
    assert said in refusal
    assert not plan.converged


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {"hashsize": 20000000}),
        (PAGES_64K, {"hashsize": 20000000}),
        (POINTERS_32, {"hashsize": 20000000}),
        ({"memory.total_bytes": GIB + 12345}, {"hashsize": 2000000}),
        ({}, {"hashsize": 8192}),
        (PAGES_64K, {"hashsize": 8192}),
        ({"table.max": 1000001}, {"hashsize": 8192}),
    ],
    ids=repr,
)
def test_advice_that_is_taken_is_accepted(changes, fields):
    (refusal,) = planned(changes, **fields).refusals
    advice = int(re.search("name at (?:most|least) ([0-9]+)", refusal).group(1))
    assert planned(changes, **dict(fields, hashsize=advice)).refusals == []


def test_a_hashsize_leaves_the_entries_their_memory():
    plan = planned(hashsize=5000000, expected_connections=100000)
    assert plan.refusals == []
    # 2 percent of 4 GiB, less 5000192 buckets, by 384: 119525 entries; 7 x 2^14
    assert plan.max == 114688
    assert plan.full_bytes <= 4 * GIB * 0.02


@pytest.mark.parametrize("buckets", [8192, 8000], ids=["the same", "rounded the same"])
def test_tied_buckets_asked_for_as_they_are(buckets):
    plan = planned(CONTAINER, hashsize=buckets)
    assert (plan.buckets, plan.refusals) == (8192, [])
    assert plan.reasons["buckets"].startswith("left as it is: this is not the first network namespace")


@pytest.mark.parametrize(
    ("changes", "buckets"),
    [
        # A read-only /sys and a kernel whose sysctl cannot be written either.
        ({"kernel.writable": {"max": True, "buckets": False, "timeouts": True}}, 8192),
        ({"kernel.writable": {"max": False, "buckets": True, "timeouts": True}}, 8192),
        ({"kernel.root": False, "kernel.writable": {"max": False, "buckets": False, "timeouts": False}}, 131072),
    ],
    ids=["tied", "with a tied limit", "not root"],
)
def test_what_is_tied_stays(changes, buckets):
    assert planned(changes).buckets == buckets


@pytest.mark.parametrize("systemd", ["/usr/lib/systemd/systemd-sysctl", None], ids=["systemd", "without"])
def test_no_limit_at_all_takes_no_buckets_away(systemd):
    """A limit of 0 that cannot be changed from here."""
    tied = {"kernel.writable": {"max": False, "buckets": True, "timeouts": True}, "table.max": 0}
    assert planned(dict(tied, **{"services.systemd_sysctl": systemd})).buckets == 8192


def test_what_is_persisted_is_right_even_where_the_live_buckets_are_tied():
    plan = planned({"kernel.writable": {"max": True, "buckets": False, "timeouts": True}}, max=200000)
    assert (plan.buckets, plan.live["buckets"]) == (8192, None)
    # 200000 rounded up to whole pages: a load of the module makes the limit 8 times that.
    assert plan.hashsize == 200192


@pytest.mark.parametrize(("limit", "warned"), [(8192 * 25, False), (8192 * 25 + 1, True)], ids=["50 long", "longer"])
def test_chains_too_long_for_tied_buckets_are_told(limit, warned):
    plan = planned({"kernel.writable": {"max": True, "buckets": False, "timeouts": True}}, max=limit)
    assert any("the chains of a full table" in warning for warning in plan.warnings) is warned


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table.count": 99999}, ""),
        ({"table.count": 100000}, "; 100000 entries are moved at once then, and packets wait for some 0.1 s"),
        ({"table.count": 1500000}, "; 1500000 entries are moved at once then, and packets wait for some 1.5 s"),
        (
            {"table.count": 60000, "namespaces": [{"own": True, "count": 60000}, {"own": False, "count": 140000}]},
            "; 200000 entries are moved at once then, and packets wait for some 0.2 s",
        ),
        ({"table.count": 200000, "table.buckets": 2097152}, ""),
        ({"table.count": 200000, "state": "loadable"}, ""),
        ({"table.count": 200000, "kernel.writable": {"max": True, "buckets": False, "timeouts": True}}, ""),
    ],
)
def test_a_resize_that_moves_many_entries_says_so(changes, said):
    reason = planned(changes, max=2097152).reasons["buckets"]
    assert ("; " + reason.partition("; ")[2] if "moved" in reason else "") == said


def test_nothing_is_moved_where_files_alone_are_written():
    assert "moved" not in planned({"table.count": 200000}, max=2097152, apply=False).reasons["buckets"]
