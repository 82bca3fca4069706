# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a machine does that was booted from an image."""

from __future__ import annotations


def test_the_limit_is_the_one_asked_for(live: dict[str, int]) -> None:
    assert live["nf_conntrack_max"] == 100000
    assert live["nf_conntrack_tcp_timeout_established"] == 7440
