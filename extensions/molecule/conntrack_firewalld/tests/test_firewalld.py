# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the role does about firewalld."""

from __future__ import annotations

from typing import Any

from testinfra.host import Host


def test_firewalld_is_told_not_to_unload_where_it_listens(host: Host, facts: dict[str, Any]) -> None:
    said = host.run("grep '^CleanupModulesOnExit=' /etc/firewalld/firewalld.conf").stdout
    assert said == ("" if facts["services"]["firewalld"]["version"].startswith("0.") else "CleanupModulesOnExit=no\n")
    assert facts["services"]["firewalld"]["active"]
