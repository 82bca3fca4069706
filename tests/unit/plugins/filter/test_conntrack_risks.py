# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_risks: findings as plain data."""

import json

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_risks import FilterModule
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import Finding
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

conntrack_risks = FilterModule().filters()["conntrack_risks"]


def test_findings_are_plain_data():
    said = conntrack_risks(facts({"table.count": 8000}))
    assert json.loads(json.dumps(said)) == said
    assert [set(one) for one in said] == [set(Finding._fields)] * 2
    assert [(one["id"], one["severity"]) for one in said] == [
        ("table-nearly-full", "critical"),
        ("established-five-days", "warning"),
    ]


@pytest.mark.parametrize("found", [None, "", [], {}, {"conntrack": {}}, 5], ids=repr)
def test_what_are_no_facts(found):
    with pytest.raises(AnsibleFilterError, match="conntrack_risks: expected the facts of headroom"):
        conntrack_risks(found)


def test_facts_are_left_as_they_are():
    given = facts()
    conntrack_risks(given)
    assert given == facts()
