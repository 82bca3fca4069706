# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_table: what a run found and did, from what the role's tasks leave behind."""

import pytest

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_table import FilterModule
from ansible_collections.headroom.netfilter.tests.unit.examples import NOT_LOADED, NOT_ROOT, TIMEOUTS, facts


def conntrack_table(hosts, planned=False):
    """Columns are tested with the report; here is what stands in them."""
    return [" ".join(line.split()) for line in FilterModule().filters()["conntrack_table"](hosts, planned)]


POLICY = {"conntrack_max": 100000, "conntrack_timeout_profile": "kernel", "conntrack_timeouts": {"udp": 20}}
FILES = (
    "/etc/sysctl.d/99-conntrack.conf, /etc/modprobe.d/nf_conntrack.conf, "
    "/etc/modules-load.d/nf_conntrack.conf, /etc/udev/rules.d/90-conntrack.rules"
)
AFTER = {
    "table.max": 100000,
    "table.buckets": 100352,
    "table.full_bytes": 39202816,
    "table.expect_max": 1568,
    "timeouts": dict(TIMEOUTS, udp=20),
}


def result(changes=()):
    return {"changed": False, "ansible_facts": {"conntrack": facts(changes)}}


def host(name="web01", before=(), after=None, policy=None, planned=True):
    variables = {"inventory_hostname": name, "__conntrack_before": result(before)}
    if planned:
        variables["__conntrack_planned"] = conntrack_plan(facts(before), policy or POLICY)
    if after is not None:
        variables["__conntrack_after"] = result(after)
    return variables


def shown(lines, *starts):
    return [line for line in lines if line.startswith(starts)]


def test_what_was_done():
    lines = conntrack_table([host(after=AFTER)])
    assert lines[:6] == [
        "web01",
        "setting before after",
        "limit (entries) 8192 100000 <- conntrack_max",
        "buckets 8192 100352 <- 100000 entries at 1 a bucket, rounded up to whole pages of 512 buckets",
        "memory at full 3.1 MiB 37.4 MiB <-",
        "expectations 128 1568 <- what this kernel gives 100352 buckets, 4 to each 256",
    ]
    assert shown(lines, "tcp_established", "udp (s)", "udplite") == [
        "tcp_established (s) 432000 432000",
        "udp (s) 30 20 <-",
    ]
    assert lines[-1] == "written: " + FILES


def test_what_would_be_done():
    lines = conntrack_table([host()], planned=True)
    assert lines[1] == "setting now planned"
    assert lines[2] == "limit (entries) 8192 100000 <- conntrack_max"
    assert shown(lines, "tcp_established", "udp (s)") == [
        "tcp_established (s) 432000 432000",
        "udp (s) 30 20 <-",
    ]
    assert lines[-1] == "to be written: " + FILES


def test_a_host_that_was_as_planned():
    lines = conntrack_table([host(before=AFTER, planned=False)])
    assert lines[-1] == "nothing to change"
    assert not [line for line in lines if "<-" in line]
    drift = conntrack_plan(facts(AFTER), POLICY)["drift"]
    written = {one["name"]: dict(one["wanted"], ours=True) for one in drift if one["kind"] == "file"}
    assert conntrack_table([host(before=dict(AFTER, files=written))], planned=True)[-1] == "nothing to change"


@pytest.mark.parametrize("planned", [False, True], ids=["done", "planned"])
def test_refusals_and_warnings(planned):
    policy = {"conntrack_max": 20000000, "conntrack_timeouts": {"dccp_open": 5}}
    lines = conntrack_table([host(policy=policy)], planned)
    assert len(shown(lines, "REFUSED: conntrack_max: 20000000 entries take 7.3 GiB when full")) == 1
    assert len(shown(lines, "warning: conntrack_timeouts: this kernel has no dccp_open")) == 1
    # What is refused is not written, whatever differs.
    assert shown(lines, "written", "to be written", "nothing") == []


def test_a_refused_host_stays_as_it_was():
    lines = conntrack_table([host(before=NOT_ROOT)])
    assert shown(lines, "limit") == ["limit (entries) 8192 8192"]
    assert shown(lines, "REFUSED") == ["REFUSED: root is needed to change this host; run with --become"]


@pytest.mark.parametrize(
    ("before", "note"),
    [
        (NOT_LOADED, "the module is not loaded: these are the values of its next load"),
        (dict(NOT_LOADED, state="absent"), "no connection tracking in this kernel: nothing can fill up"),
    ],
    ids=["not loaded", "absent"],
)
@pytest.mark.parametrize("planned", [False, True], ids=["converged", "planned"])
def test_states(before, note, planned):
    assert note in conntrack_table([host(before=before, planned=planned)], planned)


def test_hosts_of_which_no_facts_are_known_are_left_out():
    failed = {"inventory_hostname": "a", "__conntrack_before": {"failed": True, "msg": "no Python"}}
    assert conntrack_table([failed, {"inventory_hostname": "b"}]) == []


def test_a_task_that_was_skipped_tells_nothing_new():
    one = dict(host(), __conntrack_after={"skipped": True, "changed": False})
    assert shown(conntrack_table([one]), "limit") == ["limit (entries) 8192 8192"]


def test_equal_hosts_share_a_table():
    lines = conntrack_table(
        [host("a", planned=False), host("b", before=AFTER, planned=False), host("c", planned=False)]
    )
    assert lines[0] == "a, c (2 hosts)"
    assert lines[lines.index("") + 1] == "b"
