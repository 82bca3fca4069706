# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Protocols, states and the timeouts they live by."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import entry as entries

REPLY, SURE, OFFLOAD, HW = 2, 6, 1 << 14, 1 << 15


@pytest.mark.parametrize(
    ("number", "status", "state", "name", "timeout"),
    [
        (6, SURE, 3, "ESTABLISHED", "tcp_established"),
        (6, 0, 3, "ESTABLISHED_UNREPLIED", "tcp_unacknowledged"),
        (6, 4, 3, "ESTABLISHED_UNREPLIED", "tcp_unacknowledged"),
        (6, OFFLOAD, 3, "OFFLOAD", None),
        (6, 0, 1, "SYN_SENT", "tcp_syn_sent"),
        (6, SURE, 7, "TIME_WAIT", "tcp_time_wait"),
        (6, SURE, 8, "CLOSE", "tcp_close"),
        (6, 0, 9, "SYN_SENT2", "tcp_syn_sent"),
        (6, 0, 0, "NONE", None),
        (6, 0, 10, "10", None),
        (6, SURE, 255, "255", None),
        (6, SURE, None, "REPLIED", None),
        (6, 0, None, "UNREPLIED", None),
        (6, SURE | OFFLOAD, 3, "OFFLOAD", None),
        (17, SURE | HW, None, "OFFLOAD", None),
        (17, 0, None, "UNREPLIED", "udp"),
        (17, REPLY, None, "REPLIED", "udp_stream"),
        (17, SURE, 3, "REPLIED", "udp_stream"),
        (136, 0, None, "UNREPLIED", "udplite"),
        (136, REPLY, None, "REPLIED", "udplite_stream"),
        (47, 0, None, "UNREPLIED", "gre"),
        (47, SURE, None, "REPLIED", "gre_stream"),
        (1, REPLY, None, "REPLIED", "icmp"),
        (58, 0, None, "UNREPLIED", "icmpv6"),
        (50, 0, None, "UNREPLIED", "generic"),
        (255, REPLY, None, "REPLIED", "generic"),
        (132, SURE, 4, "ESTABLISHED", "sctp_established"),
        (132, 0, 4, "ESTABLISHED_UNREPLIED", "sctp_established"),
        (132, SURE, 7, "SHUTDOWN_ACK_SENT", "sctp_shutdown_ack_sent"),
        (132, 0, 9, "HEARTBEAT_ACKED", "sctp_heartbeat_acked"),
        (33, SURE, 4, "OPEN", "dccp_open"),
        (33, SURE, 7, "TIMEWAIT", "dccp_timewait"),
        (33, SURE, 9, "INVALID", None),
        (33, 0, None, "UNREPLIED", "generic"),
    ],
)
def test_state_and_timeout(number, status, state, name, timeout):
    assert entries.state_name(number, status, state) == name
    assert entries.timeout_name(number, status, state) == timeout


def test_every_timeout_is_one_that_the_kernel_has():
    named = {
        entries.timeout_name(number, status, state)
        for number in range(256)
        for status in (0, REPLY)
        for state in [None] + list(range(12))
    }
    assert named - {None} <= set(kernel.TIMEOUTS)
    # Those of no state: for what is retransmitted, or announced by what is no entry.
    assert {
        name for name in set(kernel.TIMEOUTS) - named if name.startswith(("udp", "icmp", "gre", "generic"))
    } == set()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"tcp_established": 7440, "tcp_unacknowledged": 300}, 300),
        ({"tcp_established": 60, "tcp_unacknowledged": 300}, 60),
        ({"tcp_established": 7440}, 7440),
        ({"tcp_unacknowledged": 300}, 300),
        ({"udp": 30}, None),
        ({}, None),
    ],
)
def test_what_was_picked_up_has_no_more_than_what_is_established(given, seconds):
    picked_up = {} if seconds is None else {"tcp_unacknowledged": seconds}
    assert entries.lived_by(given) == dict(given, **picked_up)


def test_names_and_numbers():
    assert entries.protocol_name(6) == "tcp"
    assert entries.protocol_name(50) == "50"
    assert all(entries.PROTOCOLS[number] == name for name, number in entries.NUMBERS.items())
    assert {
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "TIMEWAIT",
        "OFFLOAD",
        "REPLIED",
        "UNREPLIED",
        "ESTABLISHED_UNREPLIED",
    } <= entries.STATE_NAMES
