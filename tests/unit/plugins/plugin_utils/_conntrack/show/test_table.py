# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Tables for people, line by line."""

import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import (
    Shown,
    Values,
    fleet,
    in_order,
    of_facts,
    of_plan,
)
from ansible_collections.headroom.netfilter.tests.unit.examples import NOT_LOADED, TIMEOUTS, facts, planned

SMALL = Values(8192, 8192, 3211264, 128, {"tcp_established": 432000, "udp": 30, "gre": 30, "sctp_closed": 10})
LARGE = Values(1048576, 1048576, 411041792, 16384, {"tcp_established": 7440, "udp": 30, "gre": 20, "sctp_closed": 10})
NONE = Values(None, None, None, None, {})
SWITCHES = {"tcp_loose": 1, "tcp_be_liberal": 0}
REASONS = {
    "max": "conntrack_max",
    "buckets": "1048576 entries at 1 a bucket",
    "expect_max": "kernel",
    "tcp_established": "RFC 5382",
}


def test_one_host_that_changed():
    assert fleet([Shown("web01", SMALL, LARGE, REASONS, ("written: /etc/x", "warning: y"))]) == [
        "web01",
        "setting               before      after",
        "limit (entries)         8192    1048576  <- conntrack_max",
        "buckets                 8192    1048576  <- 1048576 entries at 1 a bucket",
        "memory at full       3.1 MiB  392.0 MiB  <-",
        "expectations             128      16384  <- kernel",
        "tcp_established (s)   432000       7440  <-",
        "udp (s)                   30         30",
        "gre (s)                   30         20  <-",
        "written: /etc/x",
        "warning: y",
    ]


def test_one_host_that_stayed():
    heads = ("now", "planned")
    assert fleet([Shown("web01", SMALL, SMALL, REASONS, ("nothing to change",), heads)]) == [
        "web01",
        "setting                  now  planned",
        "limit (entries)         8192     8192",
        "buckets                 8192     8192",
        "memory at full       3.1 MiB  3.1 MiB",
        "tcp_established (s)   432000   432000",
        "udp (s)                   30       30",
        "nothing to change",
    ]


def test_what_is_not_there():
    assert fleet([Shown("web01", NONE, NONE, {}, ("no connection tracking",))]) == [
        "web01",
        "setting          before  after",
        "limit (entries)       -      -",
        "buckets               -      -",
        "memory at full        -      -",
        "no connection tracking",
    ]


def test_a_host_without_values_is_its_notes():
    assert fleet([Shown("web01", None, None, REASONS, ("FAILED: x", "y"))]) == ["web01", "FAILED: x", "y"]


def test_hosts_with_the_same_table_share_it():
    same, other = Shown("", SMALL, SMALL), Shown("", SMALL, LARGE)
    lines = fleet([same._replace(name="a"), other._replace(name="b"), same._replace(name="c")])
    assert [line for line in lines if line in ("", "a, c (2 hosts)", "b")] == ["a, c (2 hosts)", "", "b"]
    assert lines[-1]
    assert fleet([]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"notes": ("x",)},
        {"heads": ("now", "planned")},
        {"after": SMALL._replace(max=1)},
        {"after": SMALL._replace(expect_max=1)},
        {"after": SMALL._replace(timeouts={"udp": 31})},
    ],
    ids=repr,
)
def test_hosts_that_differ_do_not(change):
    one = Shown("a", SMALL, SMALL)
    assert "b" in fleet([one, one._replace(name="b", **change)])


def test_of_facts():
    assert of_facts(facts()) == Values(8192, 8192, 3211264, 128, TIMEOUTS, SWITCHES)
    assert of_facts(facts(NOT_LOADED)) == NONE
    assert of_facts({"state": "absent"}) == NONE


def test_a_switch_is_shown_where_it_moves():
    reasons = {"tcp_loose": "conntrack_tcp_loose"}
    lines = fleet(
        [Shown("web01", SMALL._replace(switches=SWITCHES), SMALL._replace(switches={"tcp_loose": 0}), reasons)]
    )
    assert [line for line in lines if line.startswith("tcp_") and "(s)" not in line] == [
        "tcp_loose                  1        0  <- conntrack_tcp_loose"
    ]


def test_of_a_plan():
    plan = planned(max=100000)
    assert of_plan(plan._asdict()) == Values(100000, 100352, 39202816, 1568, plan.timeouts)


def test_timeouts_are_shown_as_the_profiles_name_them_and_others_after_them():
    assert in_order({"gre": 30, "udp": 30, "dccp_open": 9, "tcp_established": 7}) == [
        "tcp_established",
        "udp",
        "dccp_open",
        "gre",
    ]


def test_a_module_that_is_not_loaded_is_told_by_its_next_load():
    reload = {
        "hashsize": {"value": 512, "source": "/etc/modprobe.d/x.conf:1"},
        "net.netfilter.nf_conntrack_max": {"value": 4096, "source": "8 x hashsize"},
        "net.netfilter.nf_conntrack_expect_max": {"value": 8, "source": "kernel default"},
        "net.netfilter.nf_conntrack_tcp_timeout_established": {"value": 7440, "source": "/etc/sysctl.d/x.conf:1"},
        "net.netfilter.nf_conntrack_udp_timeout": {"value": None, "source": "not known"},
    }
    told = {"state": "loadable", "flavour": "nf_conntrack", "outcome": {"reload": reload, "boot": {}}}
    assert of_facts(told) == Values(4096, 512, None, 8, {"tcp_established": 7440})
    assert of_facts(dict(told, outcome={})) == Values(None, None, None, None, {})
