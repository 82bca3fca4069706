# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Every refusal names a variable or a value, what was found, and what would do; and what it proposes does."""

import re

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import (
    Policy,
    contradictions,
    read,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    GIB,
    MIB,
    NOT_LOADED,
    PAGES_64K,
    POINTERS_32,
    facts,
    policy_of,
)

MAX = "net.netfilter.nf_conntrack_max"
PETABYTE = 2**50


def program(keys):
    return {
        "owners": [
            {
                "name": "kube-proxy",
                "keys": keys,
                "evidence": "process 4711: kube-proxy",
                "remedy": "set conntrack.maxPerCore",
                "path": None,
                "line": None,
                "text": None,
                "at_boot": True,
            }
        ]
    }


# Changes to the facts, what is asked for, and the whole text.
REFUSED = [
    (
        "above all memory, of which the share is below the floor",
        {"memory.total_bytes": 80 * MIB, "table.max": 1000},
        {"max": 4000000},
        # 2 percent are 4608 entries, below the floor, and all of it 214000
        "conntrack_max: 4000000 entries take 1.5 GiB when full, and this host has 80.0 MiB; name at most 213995, or leave "
        "conntrack_max unset",
    ),
    (
        "above all memory, which is below the floor",
        {"memory.total_bytes": 8 * MIB, "table.max": 1000},
        {"max": 4000000},
        "conntrack_max: 4000000 entries take 1.5 GiB when full, and this host has 8.0 MiB; leave conntrack_max unset",
    ),
    (
        "more than a load can make",
        {"memory.total_bytes": PETABYTE},
        {"max": 2147483647},
        "conntrack_max: 2147483647 is more than a load of the module can make, 8 x 268434944 buckets; name at most "
        "2147479552, or leave conntrack_max unset",
    ),
    (
        "more than a load can make of large pages",
        dict(PAGES_64K, **{"memory.total_bytes": PETABYTE}),
        {"max": 2147483647},
        "conntrack_max: 2147483647 is more than a load of the module can make, 8 x 268427264 buckets; name at most "
        "2147418112, or leave conntrack_max unset",
    ),
    (
        "below the limit in force, of which memory holds no such one",
        {"table.max": 20000000},
        {"max": 131072},
        "conntrack_max: 131072 would lower the limit in force, 20000000; leave conntrack_max unset, or set conntrack_shrink=true",
    ),
    (
        "below the flows in use, which are below the floor",
        {"memory.total_bytes": 512 * MIB, "table.max": 0, "table.count": 27200},
        {},
        # 24576 in steps, 27136 in all
        "limit 27136: 27200 flows are in use now and the kernel would drop new ones; shorten timeouts first, or name at "
        "least 65536",
    ),
    (
        "no entry at all",
        dict(NOT_LOADED, **{"memory.total_bytes": 4 * MIB, "kernel.page_size": 65536}),
        {"memory_percent": 0.01},
        "conntrack_memory_percent: 0.01 percent of 4.0 MiB hold no entry; raise it, or name conntrack_max",
    ),
    (
        "a limit in force beyond everything",
        {"table.max": 2147483647},
        {},
        "limit: 2147483647, already in force, takes 784.0 GiB when full, and this host has 4.0 GiB, of which not even the "
        "buckets fit; conntrack_shrink=true would lower it to 131072",
    ),
    (
        "buckets above the share, of which there is none",
        {"memory.total_bytes": 64 * MIB, "table.buckets": 512, "table.max": 512},
        {"hashsize": 100000, "memory_percent": 0.01},
        "conntrack_hashsize: 100000 buckets take 784.0 KiB, more than half of the 0.01 percent of 64.0 MiB of "
        "conntrack_memory_percent; leave it unset",
    ),
    (
        "a program's limit, which is below the floor",
        program({MAX: 1000}),
        {"max": 100000, "max_floor": 70000},
        "conntrack_max: 100000 asked for, but process 4711: kube-proxy sets 1000 at each of its starts; leave conntrack_max "
        "unset, or set conntrack.maxPerCore",
    ),
    (
        "a program's limit above the ceiling",
        dict(program({MAX: 300000}), **{"memory.total_bytes": 64 * GIB}),
        {"max_ceiling": 200000},
        "limit: process 4711: kube-proxy sets 300000 at each of its starts, above conntrack_max_ceiling 200000; raise it to "
        "300000, name conntrack_max=300000, or set conntrack.maxPerCore",
    ),
    (
        "a program's limit above the share",
        program({MAX: 400000}),
        {},
        "limit: process 4711: kube-proxy sets 400000 at each of its starts, which take 149.5 MiB when full, 3.7 percent of "
        "memory rather than the 2 of conntrack_memory_percent; raise it to 4, name conntrack_max=400000, or set "
        "conntrack.maxPerCore",
    ),
    (
        "a program's limit below the floor",
        program({MAX: 10000}),
        {},
        "limit: process 4711: kube-proxy sets 10000 at each of its starts, below conntrack_max_floor 65536; lower it to "
        "10000, or set conntrack.maxPerCore",
    ),
    (
        "a program's buckets above the share",
        program({"hashsize": 20000000}),
        {},
        "buckets: process 4711: kube-proxy sets 20000000 at each of its starts, which take 152.6 MiB, more than half of the 2 "
        "percent of 4.0 GiB of conntrack_memory_percent; raise it, or set conntrack.maxPerCore",
    ),
    (
        "a program's timeout that may be none here, where ticks are not known",
        dict(program({"net.netfilter.nf_conntrack_tcp_timeout_established": 3600000}), **{"kernel.hz": None}),
        {"timeouts": {"tcp_established": 7440}},
        "conntrack_timeouts: tcp_established: 7440 asked for, but process 4711: kube-proxy sets it to 3600000 at each of its "
        "starts; leave it out, or set conntrack.maxPerCore",
    ),
    (
        "a program's timeout below its floor",
        dict(program({"net.netfilter.nf_conntrack_udp_timeout": 10}), **{"kernel.nat": True}),
        {"timeouts": {"udp": 300}, "rfc_floors": "enforce"},
        "conntrack_timeouts: udp: 300 asked for, but process 4711: kube-proxy sets it to 10 at each of its starts; leave it "
        "out, or set conntrack.maxPerCore",
    ),
    (
        "a timeout of more ticks than the kernel has room for",
        {},
        {"timeouts": {"tcp_established": 8589935}},
        "conntrack_timeouts: tcp_established: 8589935 is more than the 8589934 s that this kernel takes with 250 ticks a second "
        "(CONFIG_HZ); name at most that in conntrack_timeouts",
    ),
    (
        "a timeout that not every kernel takes, where ticks are not known",
        {"kernel.hz": None},
        {"timeouts": {"tcp_established": 2147484}},
        "conntrack_timeouts: tcp_established: 2147484 is more than the 2147483 s that any kernel takes, and CONFIG_HZ of this one "
        "is not known; name at most that in conntrack_timeouts",
    ),
    (
        "a switch that a program sets",
        program({"net.netfilter.nf_conntrack_tcp_be_liberal": 1}),
        {"tcp_be_liberal": False},
        "conntrack_tcp_be_liberal: 0 asked for, but process 4711: kube-proxy sets it to 1 at each of its starts; ask for 1, leave "
        "it unset, or set conntrack.maxPerCore",
    ),
    (
        "a switch that a program sets to no",
        program({"net.netfilter.nf_conntrack_tcp_loose": 0}),
        {"tcp_loose": True},
        "conntrack_tcp_loose: 1 asked for, but process 4711: kube-proxy sets it to 0 at each of its starts; ask for 0, leave "
        "it unset, or set conntrack.maxPerCore",
    ),
    (
        "a tied switch",
        {"kernel.writable": {"max": True, "buckets": True, "timeouts": False}},
        {"tcp_loose": False},
        "conntrack_tcp_loose: 0 asked for, 1 found, and the kernel lets nobody write it from here (/proc/sys is read-only); "
        "leave it unset",
    ),
    (
        "a tied limit",
        CONTAINER,
        {"max": 100000},
        "conntrack_max: 100000 asked for, 8192 found, and this is not the first network namespace, and the limit and the "
        "buckets belong to the host; run this role on the host",
    ),
    (
        "tied buckets",
        {"kernel.writable": {"max": True, "buckets": False, "timeouts": True}, "kernel.container": "lxc"},
        {"hashsize": 100000},
        "conntrack_hashsize: 100000 asked for, 8192 found, and the kernel lets nobody write it from here (lxc); run this role on "
        "the host",
    ),
    (
        "a tied timeout",
        {"kernel.writable": {"max": True, "buckets": True, "timeouts": False}},
        {"timeouts": {"udp": 45}},
        "conntrack_timeouts: udp: 45 asked for, 30 found, and the kernel lets nobody write it from here (/proc/sys is read-only); "
        "leave it out",
    ),
    (
        "connections beyond the share",
        {},
        {"expected_connections": 300000},
        "conntrack_expected_connections: 300000 do not fit into a limit of 218624; raise conntrack_memory_percent or "
        "conntrack_max_ceiling, or name conntrack_max=600000",
    ),
    (
        "connections beyond a program's limit",
        program({MAX: 131072}),
        {"expected_connections": 140000},
        "conntrack_expected_connections: 140000 do not fit, because process 4711: kube-proxy sets 131072 at each of its starts; "
        "set conntrack.maxPerCore",
    ),
]


@pytest.mark.parametrize(
    ("changes", "asked", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(changes, asked, said):
    host, policy = facts(changes), policy_of(**asked)
    found = plan.make(host, policy)
    assert said in found.refusals
    for refusal in found.refusals:
        check(host, policy, refusal)


# Warnings.


@pytest.mark.parametrize(
    ("changes", "asked", "limit", "warning"),
    [
        (
            {"memory.total_bytes": 2 * GIB, "table.count": 65000},
            {},
            98304,
            "limit: 98304 is 1.51 times the 65000 flows in use, below conntrack_headroom 2; raise conntrack_memory_percent or "
            "conntrack_max_ceiling, or name conntrack_max=130000",
        ),
        (
            {"memory.total_bytes": 256 * GIB, "table.count": 1500000},
            {},
            2097152,
            "limit: 2097152 is 1.40 times the 1500000 flows in use, below conntrack_headroom 2; raise conntrack_memory_percent "
            "or conntrack_max_ceiling, or name conntrack_max=3000000",
        ),
        (
            dict(program({MAX: 131072}), **{"table.count": 100000, "table.max": 131072}),
            {},
            131072,
            "limit: 131072 is 1.31 times the 100000 flows in use, below conntrack_headroom 2; set conntrack.maxPerCore",
        ),
        (
            {},
            {"expected_connections": 150000},
            196608,
            "conntrack_expected_connections: a limit of 196608 is 1.31 times the 150000 expected, below conntrack_headroom 2; "
            "raise conntrack_memory_percent or conntrack_max_ceiling, or name conntrack_max=300000",
        ),
    ],
    ids=["the share", "the ceiling", "a program", "expected"],
)
def test_a_peak_that_loses_its_headroom_is_told(changes, asked, limit, warning):
    host, policy = facts(changes), policy_of(**asked)
    found = plan.make(host, policy)
    assert (found.max, found.refusals) == (limit, [])
    assert warning in found.warnings
    check(host, policy, warning)


# Whatever is asked for, and found.


@pytest.mark.parametrize(
    "place", [{}, PAGES_64K, POINTERS_32, NOT_LOADED], ids=["4 KiB", "64 KiB", "32 bit", "not loaded"]
)
@pytest.mark.parametrize("asked", [300000000, 268435455, 2147479552, 2147418112])
def test_buckets_are_never_more_than_the_kernel_takes(place, asked):
    host = facts(dict(place, **{"memory.total_bytes": PETABYTE}))
    found = plan.make(host, policy_of(max=asked))
    assert found.hashsize <= 268435455
    of_a_page = host["kernel"]["page_size"] // host["kernel"]["pointer_bytes"]
    assert found.hashsize % of_a_page == 0
    assert found.refusals or 8 * found.hashsize >= asked


@pytest.mark.parametrize(
    ("place", "buckets"),
    [({}, 268434944), (PAGES_64K, 268427264), (POINTERS_32, 268434432)],
    ids=["4 KiB", "64 KiB", "32 bit"],
)
def test_the_most_buckets_that_can_be_asked_for(place, buckets):
    host = facts(dict(place, **{"memory.total_bytes": PETABYTE}))
    found = plan.make(host, policy_of(hashsize=268435455))
    assert (found.buckets, found.hashsize, found.refusals) == (buckets, buckets, [])
    assert found.reasons["buckets"] == "conntrack_hashsize, held at what the kernel takes"


PROPOSED = re.compile(
    r"(?:name|use) at (?:most|least) ([0-9]+)|name conntrack_max=([0-9]+)|ask for ([0-9]+)|(?:raise|lower) it to ([0-9]+)"
    r"|(set conntrack_shrink=true|conntrack_shrink=true would lower it to [0-9]+)|leave (?:conntrack_max|it) (unset)"
)


def proposals(said):
    """The fields of the policy that a sentence would have set."""
    variable = re.match(r"conntrack_(\w+):", said)
    name = variable.group(1) if variable else "max"
    for found in PROPOSED.finditer(said):
        bound, limit, asked, moved, shrink, unset = found.groups()
        if shrink:
            yield {"shrink": True}
        elif unset:
            yield {name: None}
        elif moved:
            yield {about(said): int(moved)}
        elif limit:
            yield {"max": int(limit)}
        else:
            yield {name: int(bound or asked)}
    for found in re.finditer("([0-9]+)(?: buckets in force(?: after a load)?)?; name at least that", said):
        yield {name: int(found.group(1))}


def about(said):
    """What a sentence is about, so that another of it can be told."""
    bound = re.match(
        "(?:limit|buckets): .* sets .*(?:above|below|of) conntrack_(max_ceiling|max_floor|memory_percent)", said
    )
    if bound:
        return bound.group(1)
    return "max" if said.startswith("limit") else said.partition(":")[0].replace("conntrack_", "", 1)


def check(host, policy, said):
    """Whatever ``said`` proposes is taken, and leaves no refusal of the same."""
    for fields in proposals(said):
        other = read({"conntrack_" + name: value for name, value in policy._replace(**fields)._asdict().items()})
        after = plan.make(host, other)
        again = [refusal for refusal in after.refusals if about(refusal) in {about(said), *fields}]
        assert again == [], (said, fields)


try:
    from hypothesis import given
    from hypothesis import strategies as st
except ImportError:
    pass
else:
    ENTRIES = st.one_of(
        st.integers(1, 4000000), st.integers(2**28 - 4096, 2**28 - 1), st.integers(2**31 - 9000, 2**31 - 1)
    )
    HASHSIZES = st.one_of(st.integers(1, 4000000), st.integers(2**28 - 9000, 2**28 - 1))

    @st.composite
    def hosts(draw):
        page, pointer = draw(st.sampled_from([(4096, 8), (65536, 8), (4096, 4)]))
        changes = {
            "state": draw(st.sampled_from(["loaded", "builtin", "loadable"])),
            "kernel.page_size": page,
            "kernel.pointer_bytes": pointer,
            "memory.total_bytes": draw(st.one_of(st.none(), st.integers(2**22, 2**44))),
            "table.count": draw(st.one_of(st.just(0), st.integers(0, 3000000))),
            "table.max": draw(st.one_of(st.just(0), ENTRIES)),
            "table.buckets": draw(st.integers(1, 4000000 * pointer // page)) * (page // pointer),
            "services.systemd_sysctl": draw(st.sampled_from([None, "/lib/systemd/systemd-sysctl"])),
        }
        keys = draw(st.dictionaries(st.sampled_from([MAX, "hashsize"]), st.integers(1, 5000000)))
        changes.update(program(keys) if keys else {})
        if changes["state"] == "loadable":
            changes.update(NOT_LOADED)
        return facts(changes)

    @st.composite
    def asked(draw):
        unset = st.none()
        return {
            "max": draw(st.one_of(unset, ENTRIES)),
            "expected_connections": draw(st.one_of(unset, ENTRIES)),
            "headroom": draw(st.floats(1, 10)),
            "memory_percent": draw(st.floats(0.01, 50)),
            "max_floor": draw(st.one_of(st.just(65536), ENTRIES)),
            "max_ceiling": draw(st.one_of(st.just(2097152), ENTRIES)),
            "entries_per_bucket": draw(st.integers(1, 8)),
            "hashsize": draw(st.one_of(unset, HASHSIZES)),
            "shrink": draw(st.booleans()),
        }

    @given(hosts(), asked())
    def test_what_a_refusal_or_a_warning_proposes_does(host, fields):
        policy = Policy()._replace(**fields)
        if contradictions(policy):
            with pytest.raises(PolicyError) as caught:
                policy_of(**fields)
            for said in caught.value.problems:
                for other in proposals(said):
                    again = contradictions(policy._replace(**other))
                    assert not [one for one in again if about(one) == about(said)], (said, other, again)
            return
        found = plan.make(host, policy)
        for said in found.refusals + found.warnings:
            check(host, policy, said)

    @given(hosts(), asked())
    def test_buckets_stay_within_what_the_kernel_takes(host, fields):
        policy = Policy()._replace(**fields)
        if not contradictions(policy):
            found = plan.make(host, policy)
            assert found.hashsize is None or found.hashsize <= max(268435455, host["table"]["buckets"] or 0)
