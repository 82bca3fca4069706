# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the role has left on a host, after all that has happened to it."""

from __future__ import annotations

from testinfra.host import Host


def test_units_run(host: Host) -> None:
    for name in ("headroom-notrack", "headroom-notrack-watch"):
        assert host.service(name).is_running
        assert host.service(name).is_enabled


def test_packets_pass_untracked_in_both_directions(host: Host) -> None:
    assert host.run("/var/tmp/wire proves").rc == 0
