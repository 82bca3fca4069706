# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Timeouts: the profile's, single ones over it, only those the host has, and the floors of the RFCs."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    NOT_LOADED,
    NOT_ROOT,
    TIMEOUTS,
    planned,
)

NAT = {"kernel.nat": True}
OF_A_PROFILE = set(TIMEOUTS) - {"udplite", "sctp_established"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile(profile):
    plan = planned(timeout_profile=profile)
    assert plan.timeouts == PROFILES[profile].seconds()
    assert {name: plan.reasons[name] for name in plan.timeouts} == {
        name: choice.reason for name, choice in PROFILES[profile].choices.items()
    }
    assert plan.live["timeouts"] == plan.timeouts
    assert (plan.refusals, plan.warnings) == ([], [])


def test_single_ones_over_the_profile():
    plan = planned(timeouts={"udp": 45, "udplite": 50})
    assert {name: plan.timeouts[name] for name in ("udp", "udplite", "icmp")} == {"udp": 45, "udplite": 50, "icmp": 10}
    assert plan.reasons["udp"] == plan.reasons["udplite"] == "conntrack_timeouts"
    assert "sctp_established" not in plan.timeouts


def test_only_those_that_the_host_has():
    plan = planned(
        {"timeouts": {"tcp_established": 432000, "udp": 30}}, timeouts={"udp": 20, "gre": 10, "dccp_open": 9}
    )
    assert plan.timeouts == {"tcp_established": 7440, "udp": 20}
    assert plan.warnings == ["conntrack_timeouts: this kernel has no dccp_open, gre; not written"]
    assert [key for key in plan.sysctl if "timeout" in key] == [
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        "net.netfilter.nf_conntrack_udp_timeout",
    ]
    assert set(plan.reasons) == {"max", "buckets", "expect_max", "tcp_established", "udp"}


def test_switches_that_are_asked_for():
    plan = planned(tcp_loose=False, tcp_be_liberal="1")
    assert plan.switches == plan.live["switches"] == {"tcp_loose": 0, "tcp_be_liberal": 1}
    assert list(plan.sysctl.items())[-2:] == [
        ("net.netfilter.nf_conntrack_tcp_loose", 0),
        ("net.netfilter.nf_conntrack_tcp_be_liberal", 1),
    ]
    assert (plan.reasons["tcp_loose"], plan.refusals) == ("conntrack_tcp_loose", [])
    assert [drift.said for drift in plan.drift if "tcp_loose" in drift.name] == [
        "net.netfilter.nf_conntrack_tcp_loose: 1 found, 0 planned"
    ]


def test_switches_are_left_alone_unless_asked_for():
    plan = planned({"switches": {"tcp_loose": 0, "tcp_be_liberal": 1}})
    assert plan.switches == plan.live["switches"] == {}
    assert not [key for key in plan.sysctl if key.endswith(("loose", "liberal"))]


def test_a_switch_that_the_kernel_has_not():
    plan = planned({"switches": {"tcp_loose": 1}}, tcp_be_liberal=True)
    assert plan.switches == {}
    assert plan.warnings == ["conntrack_tcp_be_liberal: this kernel has no such setting; not written"]


def test_switches_of_a_container_are_its_own():
    own = dict(CONTAINER, **{"kernel.writable": {"max": False, "buckets": False, "timeouts": True}})
    plan = planned(own, tcp_loose=False)
    assert (plan.live["switches"], plan.files, plan.refusals) == ({"tcp_loose": 0}, [], [])


def test_switches_of_a_module_that_is_not_loaded_yet():
    plan = planned(NOT_LOADED, tcp_loose=False)
    assert plan.sysctl["net.netfilter.nf_conntrack_tcp_loose"] == 0


@pytest.mark.parametrize(
    ("ticks", "seconds"), [(100, 21474836), (250, 8589934), (300, 7158278), (1000, 2147483), (None, 2147483)]
)
def test_the_longest_timeout_goes_by_the_kernel_s_ticks(ticks, seconds):
    told = {"kernel.hz": ticks}
    assert planned(told, timeouts={"udp": seconds}).timeouts["udp"] == seconds
    assert "is more than the {0} s".format(seconds) in planned(told, timeouts={"udp": seconds + 1}).refusals[0]


def test_a_time_that_a_program_asks_for_in_vain_is_not_planned():
    owner = {"name": "tool", "keys": {"net.netfilter.nf_conntrack_udp_timeout": 8589935}, "evidence": "its flags"}
    owner.update(path=None, line=None, text=None, at_boot=True, remedy="stop it")
    plan = planned({"owners": [owner]})
    assert (plan.timeouts["udp"], plan.warnings, plan.refusals) == (30, [], [])


def test_all_of_them_where_the_module_is_not_loaded():
    plan = planned(NOT_LOADED, timeouts={"gre": 10})
    assert set(plan.timeouts) == OF_A_PROFILE | {"gre"}
    assert plan.warnings == []


def test_ip_conntrack_names():
    plan = planned(
        {
            "flavour": "ip_conntrack",
            "table.expect_max": None,
            "timeouts": {"tcp_established": 432000, "udp_stream": 180},
        }
    )
    assert list(plan.sysctl) == [
        "net.ipv4.netfilter.ip_conntrack_max",
        "net.ipv4.netfilter.ip_conntrack_tcp_timeout_established",
        "net.ipv4.netfilter.ip_conntrack_udp_timeout_stream",
    ]


@pytest.mark.parametrize("rfc_floors", ["warn", "enforce", "ignore"])
@pytest.mark.parametrize("profile", PROFILES)
def test_without_nat_only_gateway_is_held_to_the_floors(profile, rfc_floors):
    plan = planned(timeout_profile=profile, rfc_floors=rfc_floors)
    assert plan.timeouts == PROFILES[profile].seconds()
    assert plan.warnings == []


# Values of the profile server below what the RFCs ask of a NAT, and those floors.
BELOW = {
    "tcp_syn_sent": 240,
    "tcp_syn_recv": 240,
    "tcp_fin_wait": 240,
    "tcp_close_wait": 240,
    "tcp_last_ack": 240,
    "tcp_time_wait": 240,
    "udp": 120,
    "icmp": 60,
    "icmpv6": 60,
}


def test_floors_enforced_on_a_host_that_translates():
    plan = planned(NAT, rfc_floors="enforce")
    wanted = dict(PROFILES["server"].seconds(), **BELOW)
    assert plan.timeouts == plan.live["timeouts"] == wanted
    assert plan.sysctl["net.netfilter.nf_conntrack_udp_timeout"] == 120
    assert plan.reasons["udp"] == "RFC 4787 REQ-5, as addresses are translated here"
    assert plan.reasons["tcp_established"] == PROFILES["server"].choices["tcp_established"].reason
    assert (plan.warnings, plan.refusals) == ([], [])


def test_floors_warned_of_on_a_host_that_translates():
    plan = planned(NAT)
    assert plan.timeouts == PROFILES["server"].seconds()
    (warning,) = plan.warnings
    for name, seconds in BELOW.items():
        assert f"{name} {plan.timeouts[name]} (at least {seconds}, RFC " in warning
    assert "tcp_established" not in warning
    assert "tcp_close " not in warning
    assert "udp_stream" not in warning


def test_floors_ignored_on_a_host_that_translates():
    plan = planned(NAT, rfc_floors="ignore")
    assert (plan.timeouts, plan.warnings, plan.refusals) == (PROFILES["server"].seconds(), [], [])


@pytest.mark.parametrize("rfc_floors", ["warn", "enforce"])
def test_gateway_satisfies_the_floors_by_itself(rfc_floors):
    plan = planned(NAT, timeout_profile="gateway", rfc_floors=rfc_floors)
    assert (plan.timeouts, plan.warnings, plan.refusals) == (PROFILES["gateway"].seconds(), [], [])


def test_a_single_one_below_a_floor_is_refused_where_they_are_enforced():
    plan = planned(NAT, rfc_floors="enforce", timeouts={"udp": 119, "icmp": 60})
    (refusal,) = plan.refusals
    assert refusal == (
        "conntrack_timeouts: udp: 119: RFC 4787 REQ-5 asks for at least 120 s where addresses are translated; "
        "use that, or conntrack_rfc_floors=warn"
    )


def test_a_single_one_below_a_floor_is_warned_of_for_the_gateway_profile():
    plan = planned(timeout_profile="gateway", timeouts={"udp": 119})
    (warning,) = plan.warnings
    assert ": udp 119 (at least 120, RFC 4787 REQ-5); " in warning
    assert plan.timeouts["udp"] == 119


def test_floors_do_not_touch_what_the_host_has_not():
    plan = planned(dict(NAT, timeouts={"tcp_established": 432000}), rfc_floors="enforce")
    assert plan.timeouts == {"tcp_established": 7440}


def test_tied_timeouts_are_left_as_they_are():
    plan = planned(CONTAINER)
    assert plan.timeouts == {name: TIMEOUTS[name] for name in OF_A_PROFILE}
    assert {plan.reasons[name].partition(":")[0] for name in plan.timeouts} == {"left as it is"}
    assert plan.refusals == []


def test_a_tied_timeout_that_is_asked_for_is_refused():
    plan = planned(CONTAINER, timeouts={"udp": 45, "icmp": 30})
    (refusal,) = plan.refusals
    assert refusal.startswith(
        "conntrack_timeouts: udp: 45 asked for, 30 found, and this is not the first network namespace"
    )


def test_another_network_namespace_may_have_its_own():
    writable = {"max": False, "buckets": False, "timeouts": True}
    plan = planned(dict(CONTAINER, **{"kernel.writable": writable}), timeouts={"udp": 45})
    assert plan.timeouts["udp"] == 45
    assert {drift.name for drift in plan.drift} >= {"net.netfilter.nf_conntrack_udp_timeout"}
    assert not {"hashsize", "net.netfilter.nf_conntrack_max"} & {drift.name for drift in plan.drift}
    assert plan.refusals == []


def test_without_root_the_plan_is_that_of_root():
    assert planned(NOT_ROOT).timeouts == planned().timeouts
