# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_cures: which cure fits each host of a play, and the command that brings it."""

import json
import shlex

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_cures import FilterModule
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

conntrack_cures = FilterModule().filters()["conntrack_cures"]

STATES, PLACES = "role+protocol+destination_port+state", "role+protocol+destination_port+destination"


def census(role, protocol, port, state):
    key = {"role": role, "protocol": protocol, "destination_port": port}
    rows = {"entries": 9000, "share": 0.9, "margin": None}
    return {
        "total": 10000,
        "examined": 10000,
        "stale": {"entries": 0, "share": 0.0, "margin": None, "timeouts": {}},
        "groupings": [
            {"group_by": STATES, "top": [{**key, "state": state, **rows}]},
            {"group_by": PLACES, "top": [{**key, "destination": "192.0.2.1", **rows}]},
        ],
    }


def host(name="ns1", **more):
    return {"inventory_hostname": name, "__conntrack_before": {"ansible_facts": {"conntrack": facts()}}, **more}


NEEDED = {"failed": False, "needed_by": [{"kind": "rule"}]}
ROLE = "ansible {0} -i INVENTORY -m ansible.builtin.include_role -a name=headroom.netfilter.{1}"
TUNE = "ansible-playbook headroom.netfilter.tune -i INVENTORY -e conntrack_hosts={0}"


@pytest.mark.parametrize(
    ("more", "cure", "command"),
    [
        ({"__audit_census": census("server", "udp", 53, "REPLIED")}, "exempt", ROLE.format("ns1", "notrack")),
        ({"__audit_census": census("client", "tcp", 80, "TIME_WAIT")}, "shorten", ROLE.format("ns1", "notrack")),
        ({"__audit_needs": {"changed": True, "kernel": "module"}}, "unload", ROLE.format("ns1", "conntrack_unload")),
        ({"__audit_needs": NEEDED}, "grow", TUNE.format("ns1")),
        # What was looked at in vain, or not at all.
        (
            {"__audit_needs": {"failed": True, "msg": "x"}, "__audit_census": {"failed": True}},
            "grow",
            TUNE.format("ns1"),
        ),
        ({"__audit_needs": {"skipped": True}, "__audit_census": {"skipped": True}}, "grow", TUNE.format("ns1")),
        ({}, "grow", TUNE.format("ns1")),
        ({"conntrack_max": 2**30}, "none", ""),
    ],
    ids=["exempt", "shorten", "unload", "grow", "failed", "skipped", "not looked at", "refused"],
)
def test_the_cure_and_its_command(more, cure, command):
    (found,) = conntrack_cures([host(**more)])
    assert (found["host"], found["cure"]) == ("ns1", cure)
    said, _e, variables = found["command"].partition(" -e '")
    assert said == command
    if variables:
        words = shlex.split(found["command"])
        assert json.loads(words[words.index("-e") + 1]) == found["variables"] != {}
    else:
        assert found["variables"] == {}


def test_nothing_can_be_brought_to_a_tree():
    tree = {"ansible_facts": {"conntrack": facts({"kernel.python": None})}}
    (found,) = conntrack_cures([host(__conntrack_before=tree)])
    assert (found["cure"], found["command"]) == ("grow", "")


def test_a_name_is_one_word_of_a_shell():
    (found,) = conntrack_cures([host("a b;c")])
    assert shlex.split(found["command"])[-1] == "conntrack_hosts=a b;c"


@pytest.mark.parametrize("as_text", [False, True])
def test_flows_of_the_host_stay(as_text):
    flows = [{"name": "ntp", "protocol": "udp", "ports": [123], "role": "server"}]
    asked = json.dumps(flows) if as_text else flows
    (found,) = conntrack_cures([host(__audit_census=census("server", "udp", 53, "REPLIED"), notrack_flows=asked)])
    assert [flow["name"] for flow in found["variables"]["notrack_flows"]] == ["ntp", "udp-53-server"]


def test_hosts_of_which_no_facts_are_known_are_left_out():
    failed = {"inventory_hostname": "a", "__conntrack_before": {"failed": True, "msg": "no Python"}}
    assert conntrack_cures([failed, {"inventory_hostname": "b"}]) == []


def test_facts_that_are_none():
    with pytest.raises(AnsibleFilterError, match=r"^conntrack_cures: a: ansible_facts\.conntrack"):
        conntrack_cures([{"inventory_hostname": "a", "__conntrack_before": {"ansible_facts": {"conntrack": {"x": 1}}}}])
