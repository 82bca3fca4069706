# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_raise: what makes room, and nothing that takes any."""

import pytest

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_raise import FilterModule
from ansible_collections.headroom.netfilter.tests.unit.examples import CONTAINER, NOT_LOADED, facts

conntrack_raise = FilterModule().filters()["conntrack_raise"]
LARGE = {"table.max": 500000, "table.buckets": 500224, "table.expect_max": 7816}


@pytest.mark.parametrize(
    ("changes", "policy", "found"),
    [
        ((), {"conntrack_max": 100000}, {"max": 100000, "buckets": 100352, "expect_max": 1568}),
        # To be lowered, all three, which is not for an emergency.
        (LARGE, {"conntrack_max": 100000, "conntrack_shrink": True}, {}),
        (
            {"table.max": 500000},
            {"conntrack_max": 100000, "conntrack_shrink": True},
            {"buckets": 100352, "expect_max": 1568},
        ),
        ({"table.max": 500000}, {"conntrack_max": 100000}, {}),
        (NOT_LOADED, {"conntrack_max": 100000}, {}),
        (CONTAINER, {}, {}),
        ({"table.max": 0}, {"conntrack_max": 100000}, {"buckets": 100352, "expect_max": 1568}),
    ],
    ids=["higher", "lower", "in part", "refused", "not loaded", "of another namespace", "no limit"],
)
def test_what_is_raised(changes, policy, found):
    read = facts(changes)
    assert conntrack_raise(conntrack_plan(read, policy), read) == found
