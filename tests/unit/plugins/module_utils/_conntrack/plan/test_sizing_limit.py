# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Sizing of the limit. Unless a case changes it: 4 GiB, 384 B an entry and 8 B its bucket, 100 flows of 8192."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import UNLOAD
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.sizing import size
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    GIB,
    MIB,
    NOT_LOADED,
    PAGES_64K,
    POINTERS_32,
    assignments,
    planned,
)

# Bytes of memory -> 2 percent of it / 392, the power of two below, then bounds.
BY_MEMORY = [
    # 27391 entries, whole pages of 512: 27136; the floor 65536 does not fit. Its first three bits: 6 x 2^12
    ("512 MiB", 512 * MIB, {}, 24576, "raised to conntrack_max_floor; held within the 2 percent of memory"),
    # 54272: 6 x 2^13
    ("1 GiB", GIB, {}, 49152, "held within the 2 percent of memory"),
    # 109565
    ("2 GiB", 2 * GIB, {}, 65536, "2 percent of 2.0 GiB at 392 B an entry = 109056, rounded down to 2^16"),
    # 219130
    ("4 GiB", 4 * GIB, {}, 131072, "2 percent of 4.0 GiB at 392 B an entry = 218624, rounded down to 2^17"),
    # 1314785: the example of the design
    ("24 GiB", 24 * GIB, {}, 1048576, "2 percent of 24.0 GiB at 392 B an entry = 1314304, rounded down to 2^20"),
    # 14024384
    ("256 GiB", 256 * GIB, {}, 2097152, "held at conntrack_max_ceiling"),
    ("a higher ceiling", 256 * GIB, {"max_ceiling": 2**30}, 8388608, "rounded down to 2^23"),
    # 1095651
    ("10 percent", 4 * GIB, {"memory_percent": 10}, 1048576, "10 percent of 4.0 GiB"),
    # 4 GiB / 100 * 2 / (384 + 8/4) = 222536, in steps of 2048
    ("4 a bucket", 4 * GIB, {"entries_per_bucket": 4}, 131072, "at 386 B an entry = 221184, rounded"),
    ("a lower floor", 512 * MIB, {"max_floor": 1024}, 16384, "rounded down to 2^14"),
    ("a higher floor", 4 * GIB, {"max_floor": 200000}, 200000, "raised to conntrack_max_floor"),
    # 218624: 6 x 2^15
    ("a floor above the share", 4 * GIB, {"max_floor": 300000}, 196608, "held within the 2 percent of memory"),
    ("a lower ceiling", 4 * GIB, {"max_ceiling": 100000}, 100000, "held at conntrack_max_ceiling"),
    ("memory not known", None, {}, 65536, "raised to conntrack_max_floor"),
]


@pytest.mark.parametrize(
    ("memory", "fields", "limit", "reason"), [case[1:] for case in BY_MEMORY], ids=[c[0] for c in BY_MEMORY]
)
def test_the_memory_share_in_bounds(memory, fields, limit, reason):
    plan = planned({"memory.total_bytes": memory}, **fields)
    assert (plan.max, plan.refusals, plan.warnings) == (limit, [], [])
    assert reason in plan.reasons["max"]


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        # 2 percent / (384 + 8), in steps of 8192 buckets
        (PAGES_64K, 65536),
        # 2 percent of 1 GiB / (384 + 4) = 55347, in steps of 1024: 55296, 6 x 2^13
        (POINTERS_32, 49152),
        # An object of 320 B: 21474836 / 456 = 47093, in steps of 512: 46592, 5 x 2^13
        ({"table.entry_bytes": 448}, 40960),
        (NOT_LOADED, 49152),
        ({"state": "builtin"}, 49152),
    ],
    ids=["64 KiB pages", "32 bit", "older object", "not loaded", "built in"],
)
def test_each_kind_of_kernel(changes, limit):
    memory = 2 * GIB if changes is PAGES_64K else GIB
    assert planned(dict(changes, **{"memory.total_bytes": memory})).max == limit


@pytest.mark.parametrize(
    ("memory", "fields", "limit", "reason"),
    [
        (4 * GIB, {"expected_connections": 60000}, 131072, "2 percent of 4.0 GiB"),
        (4 * GIB, {"expected_connections": 80000}, 160000, "80000 connections expected x 2"),
        (4 * GIB, {"expected_connections": 100001, "headroom": 1.5}, 150002, "100001 connections expected x 1.5"),
        (None, {"expected_connections": 400000, "headroom": 1.25}, 500000, "400000 connections expected x 1.25"),
    ],
    ids=["less than the share", "more", "rounded up", "memory not known"],
)
def test_connections_expected(memory, fields, limit, reason):
    plan = planned({"memory.total_bytes": memory}, **fields)
    assert plan.reasons["max"].startswith(reason)
    assert (plan.max, plan.refusals, plan.warnings) == (limit, [], [])


@pytest.mark.parametrize(
    ("memory", "count", "fields", "limit", "reason"),
    [
        (4 * GIB, 0, {}, 131072, "2 percent"),
        (4 * GIB, 65536, {}, 131072, "2 percent"),
        (4 * GIB, 65537, {}, 196608, "65537 flows in use x 2, rounded up to a power of two; held within the 2 percent"),
        (4 * GIB, 100000, {"headroom": 1.3}, 131072, "2 percent"),
        (4 * GIB, 100000, {"headroom": 1.32}, 196608, "100000 flows in use x 1.32, rounded up"),
        (None, 65536, {}, 131072, "65536 flows in use x 2, rounded up to a power of two"),
        (None, 65537, {}, 262144, "65537 flows in use x 2, rounded up to a power of two"),
        (
            None,
            1100000,
            {},
            2097152,
            "1100000 flows in use x 2, rounded up to a power of two; held at conntrack_max_ceiling",
        ),
    ],
    ids=[
        "none",
        "half of the share",
        "more than half of the share",
        "less than a power of two with headroom",
        "more than that",
        "memory not known, a power of two",
        "memory not known, one more",
        "memory not known, above the ceiling",
    ],
)
def test_flows_in_use(memory, count, fields, limit, reason):
    plan = planned({"memory.total_bytes": memory, "table.count": count}, **fields)
    assert plan.reasons["max"].startswith(reason)
    assert (plan.max, plan.refusals) == (limit, [])


@pytest.mark.parametrize(
    ("found", "fields", "limit", "reason"),
    [
        (131071, {}, 131072, "2 percent"),
        (131072, {}, 131072, "2 percent"),
        (131073, {}, 131073, "already in force, and 131072 would lower it (2 percent"),
        (200000, {}, 200000, "already in force"),
        (200000, {"shrink": True}, 131072, "2 percent"),
        (0, {}, 131072, "2 percent"),
    ],
    ids=["below", "the same", "above", "far above", "far above, to be shrunk", "no limit at all"],
)
def test_a_limit_in_force_is_only_raised(found, fields, limit, reason):
    plan = planned({"table.max": found}, **fields)
    assert plan.max == limit
    assert plan.reasons["max"].startswith(reason)
    assert (plan.refusals, plan.warnings) == ([], [])


def test_a_limit_in_force_above_the_share_is_left_with_a_warning():
    plan = planned({"table.max": 1000000})
    assert plan.max == 1000000
    (warning,) = plan.warnings
    # 1000000 x 392 B of 4 GiB
    assert "1000000, already in force, takes 373.8 MiB when full, 9.1 percent of memory" in warning
    assert "conntrack_shrink=true would lower it to 131072" in warning
    assert plan.refusals == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"max": 1000000},
            "conntrack_max: 1000000 entries take 373.8 MiB when full, 9.1 percent of memory rather than the 2",
        ),
        ({"max": 250000, "memory_percent": 1}, "2.3 percent of memory rather than the 1 of conntrack_memory_percent"),
        # 54.6 percent
        ({"max": 6000000, "memory_percent": 50}, "52.3 percent"),
    ],
    ids=["twice", "a small share", "a large share"],
)
def test_a_limit_asked_for_wins_over_the_share_with_a_warning(fields, said):
    changes = {"memory.total_bytes": 4 * GIB if fields["max"] != 6000000 else 4500000000}
    plan = planned(changes, **fields)
    assert (plan.max, plan.reasons["max"], plan.refusals) == (fields["max"], "conntrack_max", [])
    (warning,) = plan.warnings
    assert said in warning


@pytest.mark.parametrize(
    "fields",
    [{"max": 65536}, {"max": 219130}, {"max": 3000000, "max_ceiling": 2097152, "memory_percent": 50}],
    ids=["the floor", "just the share", "above the ceiling, which bounds sizing alone"],
)
def test_a_limit_asked_for(fields):
    plan = planned(**fields)
    assert (plan.max, plan.refusals, plan.warnings) == (fields["max"], [], [])


REFUSED = [
    (
        "above all memory",
        {},
        {"max": 20000000},
        "conntrack_max: 20000000 entries take 7.3 GiB when full, and this host has 4.0 GiB; name at most 218624",
    ),
    (
        "below the limit in force",
        {"table.max": 262144},
        {"max": 131072},
        "conntrack_max: 131072 would lower the limit in force, 262144; name at least that, leave conntrack_max unset, "
        "or set conntrack_shrink=true",
    ),
    (
        "below the flows in use, to be shrunk",
        {"table.max": 262144, "table.count": 90000},
        {"max": 80000, "shrink": True},
        "limit 80000: 90000 flows are in use now and the kernel would drop new ones; shorten timeouts first, "
        "or name at least 90000",
    ),
    (
        "sized below the flows in use",
        {"table.max": 400000, "table.count": 300000},
        {"shrink": True},
        "limit 218624: 300000 flows are in use now",
    ),
    (
        "expected connections that the share does not hold",
        {},
        {"expected_connections": 300000},
        "conntrack_expected_connections: 300000 do not fit into a limit of 218624; raise conntrack_memory_percent or "
        "conntrack_max_ceiling, or name conntrack_max",
    ),
    (
        "expected connections above the ceiling",
        {"memory.total_bytes": 256 * GIB},
        {"expected_connections": 2097153},
        "conntrack_expected_connections: 2097153 do not fit into a limit of 2097152",
    ),
    (
        "another limit in a container",
        dict(CONTAINER, **{"table.max": 262144}),
        {"max": 262145},
        "conntrack_max: 262145 asked for, 262144 found, and this is not the first network namespace",
    ),
]


@pytest.mark.parametrize(("changes", "fields", "said"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(changes, fields, said):
    plan = planned(changes, **fields)
    (refusal,) = plan.refusals
    assert said in refusal
    assert not plan.converged


def test_too_little_headroom_for_the_peak_is_a_warning():
    plan = planned(expected_connections=150000)
    assert (plan.max, plan.refusals) == (196608, [])
    (warning,) = plan.warnings
    assert "a limit of 196608 is 1.31 times the 150000 expected, below conntrack_headroom 2" in warning


@pytest.mark.parametrize(
    ("changes", "fields"),
    [({}, {"expected_connections": 200000}), ({"table.count": 200000}, {}), ({}, {"expected_connections": 218624})],
    ids=["expected", "in use", "all of it"],
)
def test_what_the_share_holds_is_not_refused(changes, fields):
    """Coarse steps are for steadiness, not for refusing what fits: 218624 entries do."""
    plan = planned(changes, **fields)
    assert plan.refusals == []
    assert 200000 <= plan.max <= 218624


@pytest.mark.parametrize(
    ("available", "fields", "said"),
    [
        ([], {}, False),
        ([None], {}, False),
        # 131072 is planned, 100 flows are in use: up to 2 x (65436 + 100) it is headroom.
        ([65436], {}, False),
        ([65435], {}, True),
        ([65435], {"headroom": 3.0}, False),
        # Of one instance all of its cards tell the same.
        ([0, 65436], {}, False),
        ([0], {"max": 200, "shrink": True}, False),
        ([0], {"max": 1000, "shrink": True}, True),
    ],
)
def test_a_limit_far_above_what_the_cloud_tracks_is_said_to_be_and_moves_nothing(available, fields, said):
    cards = [{"interface": "ens5", "driver": "ena", "exceeded": 0, "available": number} for number in available]
    plan, plain = planned({"cloud": cards}, **fields), planned(**fields)
    reasons = plan.reasons.pop("max"), plain.reasons.pop("max")
    assert plan == plain
    start, _sep, more = reasons[0].partition("; far above what security groups track for this instance: ")
    assert start == reasons[1]
    assert bool(more) is said
    if said:
        assert more == "{0} more than now, with 100 flows in use here".format(max(available))


@pytest.mark.parametrize("count", [131072, 131071], ids=["full", "nearly"])
def test_a_full_table_is_not_refused(count):
    assert planned({"table.count": count, "table.max": 131072}, max=131072).refusals == []


@pytest.mark.parametrize("memory", [100 * MIB, 64 * MIB, 8 * MIB], ids=["100 MiB", "64 MiB", "8 MiB"])
@pytest.mark.parametrize("page", [4096, 65536], ids=["4 KiB", "64 KiB"])
def test_even_the_smallest_share_is_kept(memory, page):
    plan = planned(dict(NOT_LOADED, **{"memory.total_bytes": memory, "kernel.page_size": page}))
    assert plan.full_bytes <= memory * 0.02


def test_a_tied_limit_is_left_and_said_so():
    plan = planned(CONTAINER)
    assert (plan.max, plan.refusals) == (8192, [])
    assert plan.reasons["max"].startswith("left as it is: this is not the first network namespace")
    assert any(warning.startswith("limit: this is not the first network namespace") for warning in plan.warnings)


def test_nothing_is_planned_where_there_is_no_conntrack():
    plan = planned({"state": "absent"}, max=1000000)
    assert (plan.max, plan.buckets, plan.files, plan.sysctl, plan.drift, plan.refusals) == (None, None, [], {}, [], [])
    assert plan.converged
    assert "no connection tracking" in plan.reasons["max"]


KEPT_OUT = {"path": UNLOAD, "line": 2, "command": "install", "name": "nf_conntrack", "rest": "/bin/false", "text": "x"}


@pytest.mark.parametrize(
    ("changes", "is_kept_out"),
    [
        ({"state": "loadable"}, True),
        ({"state": "loaded"}, False),
        (
            {"state": "loadable", "assignments": assignments(modprobe=[dict(KEPT_OUT, path="/etc/modprobe.d/x.conf")])},
            False,
        ),
        ({"state": "loadable", "assignments": assignments(modprobe=[KEPT_OUT], nobodys=[UNLOAD])}, False),
    ],
    ids=["kept out", "loaded all the same", "by others", "by anybody"],
)
def test_nothing_is_planned_where_it_was_taken_out(changes, is_kept_out):
    found = {"assignments": assignments(modprobe=[KEPT_OUT]), **changes}
    plan = planned({**NOT_LOADED, **found} if found["state"] == "loadable" else found)
    assert (plan.max is None and plan.files == []) is is_kept_out
    assert ("conntrack_unload_state=restored" in plan.reasons["max"]) is is_kept_out
    if is_kept_out:
        assert (plan.converged, plan.refusals) == (True, [])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (25690112, "24.5 MiB"),
        (2**30, "1.0 GiB"),
        (2**41, "2048.0 GiB"),
    ],
)
def test_bytes_for_people(count, text):
    assert size(count) == text
