# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_census_info, run for real against a table in memory."""

import errno

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.modules import conntrack_census_info
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    UDP,
    Entry,
    TableHost,
    golden_answers,
    golden_text,
    refused,
)


def host(**more):
    return TableHost(answers=golden_answers(), count=36, **more)


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_defaults(run_module, check_mode):
    result = run_module(conntrack_census_info, host(), check_mode)
    assert result["changed"] is False
    assert (result["source"], result["total"], result["examined"], result["exact"]) == ("ctnetlink", 36, 36, True)
    assert [counted["group_by"] for counted in result["groupings"]] == ["state", "protocol+destination_port", "source"]
    first = result["groupings"][1]["top"][0]
    assert first == {"protocol": "tcp", "destination_port": 443, "entries": 12, "share": 0.333333, "margin": None}
    assert len(result["groupings"][0]["top"]) == 10
    assert result["groupings"][0]["others"] == 3


def test_a_sample(run_module):
    entries = [Entry(UDP, ports=(port, 53)) for port in range(500)]
    result = run_module(conntrack_census_info, TableHost(entries, count=500), sample=100, group_by="protocol")
    assert (result["examined"], result["total"], result["exact"]) == (100, 500, False)
    assert result["groupings"][0]["top"][0]["entries"] == 500
    assert 0 < result["groupings"][0]["top"][0]["margin"] < 0.05


def test_options_reach_what_they_are_for(run_module):
    result = run_module(
        conntrack_census_info,
        host(),
        sample="0",
        group_by=["source_network", "source"],
        top=1,
        prefix_lengths={"ipv4": 16},
        timeout_profile="kernel",
        timeouts={"tcp_established": 300},
        anonymise=True,
    )
    network, source = (counted["top"] for counted in result["groupings"])
    assert network[0]["source_network"].endswith("/16")
    assert source[0]["source"].startswith("ipv4-")
    assert len(network) == len(source) == 1
    assert result["stale"]["timeouts"]["tcp_established"]["timeout"] == 300
    assert "udp_stream" in result["stale"]["timeouts"]


def test_from_a_file(run_module):
    machine = host(refused=refused(errno.EPERM))
    machine.texts["/proc/net/nf_conntrack"] = golden_text("table.proc")
    result = run_module(conntrack_census_info, machine)
    assert (result["source"], result["examined"]) == ("/proc/net/nf_conntrack", 36)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample": -1}, "sample: -1 will not do"),
        ({"group_by": ["sport"]}, "group_by: 'sport' has 'sport', which is none of"),
        ({"timeout_profile": "servers"}, "value of timeout_profile must be one of"),
        ({"namespace": "nowhere"}, "namespace: 'nowhere' is not there"),
    ],
    ids=str,
)
def test_refused(run_module, options, said):
    machine = host()
    result = run_module(conntrack_census_info, machine, **options)
    assert result["failed"] is True
    assert said in result["msg"]
    assert machine.table.dumps == 0


def test_without_the_right(run_module):
    machine = host(refused=refused(errno.EPERM))
    result = run_module(conntrack_census_info, machine)
    assert result["failed"] is True
    assert "CAP_NET_ADMIN" in result["msg"]
    assert "become: true" in result["msg"]


def test_another_namespace_is_entered_first(run_module):
    machine = host()
    machine.texts["/var/run/netns/web"] = ""
    result = run_module(conntrack_census_info, machine, namespace="web")
    assert (machine.entered, machine.table.dumps > 0, "failed" in result) == (["/var/run/netns/web"], True, False)
    run_module(conntrack_census_info, machine)
    assert len(machine.entered) == 1


def test_what_is_returned_is_what_is_documented(run_module):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    result = run_module(conntrack_census_info, host())
    documented = yaml.safe_load(conntrack_census_info.RETURN)
    assert set(documented) == set(result) - {"changed", "invocation"}
    assert set(documented["groupings"]["contains"]) == set(result["groupings"][0])
    assert set(documented["stale"]["contains"]) == set(result["stale"])
    assert set(documented["unread"]["contains"]) == set(result["unread"])
