# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What holds of every change to a live kernel; and that what is planned can be set, and is then as planned."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import readers
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.tests.unit.fakes import (
    ESTABLISHED,
    EXPECT_MAX,
    HASHSIZE,
    MAX,
    UDP,
    FakeKernel,
)

ENTRIES = st.integers(1, 500000)
KERNELS = st.fixed_dictionaries(
    {
        "limit": st.one_of(st.just(0), ENTRIES),
        "buckets": st.integers(1, 1000).map(lambda pages: pages * 512),
        "count": st.integers(0, 500000),
        "expect_max": st.one_of(st.none(), st.integers(0, 9000)),
        "module": st.booleans(),
        "first_netns": st.sampled_from([True, True, True, False]),
    }
)
ASKED = st.fixed_dictionaries(
    {
        "max": st.one_of(st.none(), ENTRIES),
        "buckets": st.one_of(st.none(), ENTRIES),
        "expect_max": st.one_of(st.none(), st.integers(0, 9000)),
        "timeouts": st.fixed_dictionaries({"tcp_established": st.integers(1, 9), "udp": st.integers(29, 31)}),
        "shrink": st.booleans(),
    }
)


def attempt(host, asked, check=False):
    """What there is to tell alike in check mode and in earnest."""
    try:
        answer = run(host, read(asked), check)
        return {name: answer[name] for name in ("changed", "before", "after", "diff", "reboot_needed")}
    except ChangeError as error:
        return str(error)


@given(KERNELS, ASKED)
def test_all_or_nothing(kernel, asked):
    host, checked = FakeKernel(**kernel), FakeKernel(**kernel)
    before = dict(host.values)
    outcome = attempt(host, asked)
    # The kernel in memory fails the test by itself where a limit goes below the flows in use.
    assert attempt(checked, asked, check=True) == outcome
    if isinstance(outcome, str):
        assert (host.values, host.attempts) == (before, [])
        return
    assert host.values[ESTABLISHED] == asked["timeouts"]["tcp_established"]
    assert host.values[UDP] == asked["timeouts"]["udp"]
    assert host.values[MAX] == (asked["max"] or before[MAX])
    assert host.values.get(EXPECT_MAX) == (
        before.get(EXPECT_MAX) if asked["expect_max"] is None else asked["expect_max"]
    )
    assert 0 <= host.values[HASHSIZE] - (asked["buckets"] or before[HASHSIZE]) < 512
    assert host.chains_stayed_short() or before[MAX] == 0
    assert not attempt(host, asked)["changed"]


@given(KERNELS, ASKED, st.integers(1, 6))
def test_whichever_write_fails(kernel, asked, nth):
    host = FakeKernel(**kernel)
    before = dict(host.values)
    host.fails_at = (nth,)
    outcome = attempt(host, asked)
    if len(host.attempts) >= nth:
        assert "failed: Input/output error" in outcome
    if isinstance(outcome, str):
        assert host.values == before or " flows " in outcome


@given(
    KERNELS,
    st.fixed_dictionaries(
        {
            "conntrack_max": st.one_of(st.none(), st.none(), ENTRIES),
            "conntrack_expected_connections": st.one_of(st.none(), ENTRIES),
            "conntrack_memory_percent": st.sampled_from([0.5, 2, 20]),
            "conntrack_max_floor": st.sampled_from([1, 65536]),
            "conntrack_entries_per_bucket": st.sampled_from([1, 4, 8]),
            "conntrack_timeout_profile": st.sampled_from(sorted(PROFILES)),
            "conntrack_shrink": st.booleans(),
        }
    ),
)
def test_what_is_planned_can_be_set_and_is_then_as_planned(kernel, variables):
    try:
        wanted = policy.read(variables)
    except readers.PolicyError:
        return
    host = FakeKernel(**kernel)
    made = plan.make(gather(host, ["all"]), wanted)
    if made.refusals:
        return
    outcome = run(host, read(dict(made.live, shrink=wanted.shrink)))
    assert outcome["changed"] == bool([drift for drift in made.drift if drift.kind == "live"])
    again = plan.make(gather(host, ["all"]), wanted)
    assert (again.drift, again.refusals) == ([], [])
    assert host.chains_stayed_short() or kernel["limit"] == 0
