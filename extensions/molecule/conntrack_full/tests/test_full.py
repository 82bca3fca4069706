# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Each variable has been set to something else, and that is what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from testinfra.host import Host

ROLE = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "roles/conntrack")
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))
# Of a host that is to have the role's settings; two others say that it is not to have them, and one that a unit is to size them, after
# each load and some time later, which tests/lab/test_image.py boots.
OPTIONS = {
    name: option
    for name, option in SPECS["argument_specs"]["main"]["options"].items()
    if name not in ("conntrack_state", "conntrack_target", "conntrack_size_at_boot")
}


def test_every_variable_is_set(variables: dict[str, Any]) -> None:
    assert {name for name in variables if not name.startswith("scenario_")} == set(OPTIONS)


def test_no_variable_has_its_default(variables: dict[str, Any]) -> None:
    assert [name for name, option in OPTIONS.items() if variables[name] == option.get("default")] == []


def test_the_values_are_those_asked_for(live: dict[str, int]) -> None:
    asked = {
        "nf_conntrack_max": 100000,
        "hashsize": 40448,  # 40000 in whole pages
        "nf_conntrack_tcp_timeout_established": 9000,
        "nf_conntrack_udp_timeout_stream": 240,
        "nf_conntrack_udp_timeout": 120,  # the profile gateway
        "nf_conntrack_tcp_loose": 0,
        "nf_conntrack_tcp_be_liberal": 1,
    }
    assert {name: live[name] for name in asked} == asked


def test_the_firewall_is_left_alone(host: Host) -> None:
    said = host.file("/etc/sysconfig/iptables-config").content_string
    assert said == 'IPTABLES_MODULES_UNLOAD="yes"\n'


def test_the_line_that_would_win_is_taken_over(host: Host) -> None:
    assert host.file("/etc/sysctl.d/99-later.conf").content_string == "# net.netfilter.nf_conntrack_max = 4711\n"
    # What it was is kept in the history, not beside it.
    assert [name for name in host.file("/etc/sysctl.d").listdir() if "later" in name] == ["99-later.conf"]
