# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The profiles of timeouts: whole, reasoned, and as their purpose asks."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import LONGEST_TIMEOUT, TIMEOUTS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import (
    PROFILES,
    RFC_FLOORS,
    below_floors,
)

# Chosen on purpose in each profile, not left to chance.
ON_PURPOSE = {"tcp_close_wait", "tcp_time_wait", "tcp_last_ack", "tcp_syn_sent", "icmp", "icmpv6", "udp", "udp_stream"}

# RFC 5382 REQ-5, RFC 4787 REQ-5 and RFC 5508 REQ-2, as the RFCs have them.
FLOORS = {
    "tcp_established": 7440,
    "tcp_syn_sent": 240,
    "tcp_syn_recv": 240,
    "tcp_fin_wait": 240,
    "tcp_close_wait": 240,
    "tcp_last_ack": 240,
    "tcp_time_wait": 240,
    "udp": 120,
    "udp_stream": 120,
    "icmp": 60,
    "icmpv6": 60,
}


def test_the_profiles_are_those_of_the_design():
    assert list(PROFILES) == ["kernel", "server", "gateway", "kubernetes", "dns", "edge"]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_names_the_same_timeouts(name):
    assert set(PROFILES[name].choices) == set(PROFILES["kernel"].choices)
    assert set(PROFILES[name].choices) >= ON_PURPOSE
    assert set(PROFILES[name].choices) <= set(TIMEOUTS)


@pytest.mark.parametrize("name", PROFILES)
def test_every_choice_has_a_reason_and_can_be_written(name):
    assert PROFILES[name].purpose
    for timeout, choice in PROFILES[name].choices.items():
        assert choice.reason.strip(), timeout
        assert 1 <= choice.seconds <= LONGEST_TIMEOUT, timeout


def test_kernel_is_what_is_compiled_in():
    # Seconds of kernel 5.0 and later.
    assert PROFILES["kernel"].seconds() == {
        "tcp_syn_sent": 120,
        "tcp_syn_recv": 60,
        "tcp_established": 432000,
        "tcp_fin_wait": 120,
        "tcp_close_wait": 60,
        "tcp_last_ack": 30,
        "tcp_time_wait": 120,
        "tcp_close": 10,
        "tcp_max_retrans": 300,
        "tcp_unacknowledged": 300,
        "udp": 30,
        "udp_stream": 120,
        "icmp": 30,
        "icmpv6": 30,
        "generic": 600,
    }


def test_the_floors_are_those_of_the_rfcs():
    assert {name: floor.seconds for name, floor in RFC_FLOORS.items()} == FLOORS
    assert {floor.source for floor in RFC_FLOORS.values()} == {"RFC 5382 REQ-5", "RFC 4787 REQ-5", "RFC 5508 REQ-2"}


def test_gateway_is_nowhere_below_the_floors():
    assert below_floors(PROFILES["gateway"].seconds()) == []


def test_kubernetes_agrees_with_kube_proxy():
    wanted = {"tcp_established": 24 * 3600, "tcp_close_wait": 3600}
    seconds = PROFILES["kubernetes"].seconds()
    assert {name: seconds[name] for name in wanted} == wanted


@pytest.mark.parametrize("name", ["server", "kubernetes", "dns", "edge"])
def test_no_profile_but_gateway_keeps_anything_longer_than_the_kernel_does(name):
    longer = {timeout for timeout, seconds in PROFILES[name].seconds().items() if seconds > TIMEOUTS[timeout]}
    assert longer == ({"tcp_close_wait"} if name == "kubernetes" else set())


@pytest.mark.parametrize(
    ("timeouts", "low"),
    [
        ({}, []),
        (FLOORS, []),
        ({"udp": 119, "icmp": 60, "tcp_close": 1}, ["udp"]),
        ({"icmpv6": 59, "tcp_established": 7439}, ["tcp_established", "icmpv6"]),
    ],
    ids=repr,
)
def test_below_floors(timeouts, low):
    assert below_floors(timeouts) == low
