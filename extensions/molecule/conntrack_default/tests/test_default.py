# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What comes of no variable at all, on a machine with 1 GiB."""

from __future__ import annotations


def test_the_values_are_those_of_a_server(live: dict[str, int]) -> None:
    assert live["nf_conntrack_tcp_timeout_established"] == 7440
    assert live["nf_conntrack_tcp_timeout_time_wait"] == 60
    assert live["nf_conntrack_max"] == live["hashsize"] > 32768
