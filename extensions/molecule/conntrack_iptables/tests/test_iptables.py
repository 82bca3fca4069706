# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the role does about iptables-services."""

from __future__ import annotations

from testinfra.host import Host


def test_the_service_is_told_not_to_unload(host: Host) -> None:
    assert host.file("/etc/sysconfig/iptables-config").content_string == 'IPTABLES_MODULES_UNLOAD="no"\n'
    assert host.service("iptables").is_running
