# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_audit: the findings of a play's hosts, and which hosts fail for them."""

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_audit import FilterModule
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

conntrack_audit = FilterModule().filters()["conntrack_audit"]


def host(name, changes=()):
    return {"inventory_hostname": name, "__conntrack_before": {"ansible_facts": {"conntrack": facts(changes)}}}


HOSTS = [host("quiet", {"timeouts": {}}), host("told"), host("full", {"table.count": 8000})]


def test_lines():
    said = conntrack_audit(HOSTS)["lines"]
    assert [line.split()[:2] for line in said if line and not line.startswith(" ")] == [
        ["host", "worst"],
        ["full", "critical"],
        ["told", "info"],
        ["quiet", "none"],
    ]


@pytest.mark.parametrize(
    ("fail_on", "failed"),
    [
        ("critical", ["full: table-nearly-full"]),
        ("warning", ["full: table-nearly-full, established-five-days"]),
        ("info", ["told: established-five-days", "full: table-nearly-full, established-five-days"]),
        ("never", []),
    ],
)
def test_which_hosts_fail(fail_on, failed):
    assert conntrack_audit(HOSTS, fail_on)["failed"] == failed


def test_cures_are_shown_where_they_are_handed_in():
    cure = {
        "host": "full",
        "cure": "grow",
        "seen": "full",
        "why": "It has to hold.",
        "command": "tune",
        "variables": {},
    }
    said = conntrack_audit(HOSTS, cures=[cure])["lines"]
    assert [line.split()[-1] for line in said if line[:4] in ("full", "host")] == ["cure", "grow", "full"]
    assert said[-1].startswith("    -> ansible-playbook headroom.netfilter.tune ")


def test_nothing_fails_without_being_asked_for():
    assert conntrack_audit(HOSTS)["failed"] == []


def test_another_word_is_refused_without_any_host():
    with pytest.raises(
        AnsibleFilterError, match="conntrack_audit: audit_fail_on: 'always' will not do: expected one of"
    ):
        conntrack_audit([], "always")


def test_hosts_of_which_no_facts_are_known_are_left_out():
    failed = {"inventory_hostname": "a", "__conntrack_before": {"failed": True, "msg": "no Python"}}
    assert conntrack_audit([failed, {"inventory_hostname": "b"}], "info") == {"lines": [], "failed": []}
