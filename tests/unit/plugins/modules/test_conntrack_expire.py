# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_expire, run for real against a table in memory."""

import errno

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.modules import conntrack_expire
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    NFT_OBJECTS,
    TCP,
    TIME_WAIT,
    UDP,
    Entry,
    TableHost,
    done,
    policy,
    refused,
)


def table():
    return [Entry(ports=(port, 443), left=432000) for port in range(20)] + [Entry(UDP, ports=(1, 53), left=180)]


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_shortened(run_module, check_mode):
    host = TableHost(table())
    result = run_module(conntrack_expire, host, check_mode, timeouts={"tcp_established": 600}, most="20")
    assert (result["changed"], result["examined"], result["shortened"]) == (True, 21, 20)
    assert {entry.left for entry in host.table.entries} == ({432000, 180} if check_mode else {600, 180})


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_the_second_time_changes_nothing(run_module, check_mode):
    host = TableHost(table())
    run_module(conntrack_expire, host, timeout_profile="server", most=0)
    result = run_module(conntrack_expire, host, check_mode, timeout_profile="server")
    assert (result["changed"], result["shortened"]) == (False, 0)


def test_without_options_those_of_the_kernel_hold(run_module):
    host = TableHost(table())
    result = run_module(conntrack_expire, host)
    assert (result["changed"], result["shortened"]) == (True, 1)
    assert {entry.left for entry in host.table.entries} == {432000, 120}


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_more_than_half_of_the_table_takes_a_second_word(run_module, check_mode):
    host = TableHost(table())
    result = run_module(conntrack_expire, host, check_mode, timeouts={"tcp_established": 600})
    assert result["failed"] is True
    assert "20 of 21 entries would be shortened, more than the 10 that one run may" in result["msg"]
    assert "say most: 20, or 0 for no bound" in result["msg"]
    assert host.table.updated == []


@pytest.mark.parametrize(("asked", "spared"), [("false", 20), (True, 0)])
def test_timeout_policies(run_module, asked, spared):
    host = TableHost(table())
    host.texts["/proc/modules"] = "nf_conntrack 1 1 -, Live 0x0\nnft_ct 1 1 -, Live 0x0\n"
    host.table.policies[NFT_OBJECTS] = [policy(TCP, {3: 432000}) + done()]
    result = run_module(conntrack_expire, host, timeouts={"tcp_established": 600}, most=0, under_policies=asked)
    assert (result["spared"], result["shortened"]) == (spared, 20 - spared)


def test_options_reach_what_they_are_for(run_module):
    host = TableHost(table())
    result = run_module(
        conntrack_expire,
        host,
        timeouts={"tcp_established": "600"},
        match={"protocol": "tcp", "destination_port": ["443"]},
        limit="3",
        rate=100000,
    )
    assert result["shortened"] == 3


def test_nothing_but_a_correction_is_a_change(run_module):
    host = TableHost([Entry(left=9000)])

    def ends(entry):
        if entry.state == TIME_WAIT:
            return None
        entry.state, entry.left = TIME_WAIT, 600
        return errno.EBUSY

    host.table.before_update = ends
    result = run_module(conntrack_expire, host, timeouts={"tcp_established": 600}, most=1)
    assert (result["shortened"], result["busy"], result["corrected"], result["changed"]) == (0, 1, 1, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeouts": {"tcp_establish": 1}}, "did you mean tcp_established"),
        ({"match": {"state": ["OPENED"]}}, "match: 'OPENED' will not do"),
        ({"match": {"port": [1]}}, "Unsupported parameters"),
        ({"match": {"destination_port": ["http"]}}, "destination_port"),
        ({"limit": -5}, "limit: -5 will not do"),
        ({"most": -1}, "most: -1 will not do"),
        ({"namespace": "nowhere"}, "namespace: 'nowhere' is not there"),
    ],
    ids=str,
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_refused(run_module, options, said, check_mode):
    host = TableHost(table())
    result = run_module(conntrack_expire, host, check_mode, **options)
    assert result["failed"] is True
    assert said in result["msg"]
    assert (host.table.dumps, host.table.batches) == (0, [])


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_without_the_right(run_module, check_mode):
    result = run_module(conntrack_expire, TableHost(refused=refused(errno.EPERM)), check_mode)
    assert result["failed"] is True
    assert "CAP_NET_ADMIN" in result["msg"]


def test_another_namespace_is_entered_first(run_module):
    machine = TableHost(table())
    machine.texts["/var/run/netns/web"] = ""
    result = run_module(conntrack_expire, machine, namespace="web")
    assert (machine.entered, machine.table.dumps > 0, "failed" in result) == (["/var/run/netns/web"], True, False)
    run_module(conntrack_expire, machine)
    assert len(machine.entered) == 1


def test_what_is_returned_is_what_is_documented(run_module):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    result = run_module(conntrack_expire, TableHost(table()))
    documented = yaml.safe_load(conntrack_expire.RETURN)
    assert set(documented) == set(result) - {"changed", "invocation"}
    assert set(documented["states"]["contains"]) == set(result["states"][0])
