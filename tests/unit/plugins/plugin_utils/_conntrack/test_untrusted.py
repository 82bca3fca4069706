# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a filter gives back is no template, whatever is kept of it and looked up."""

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.headroom.netfilter.plugins.filter.conntrack_audit import conntrack_audit
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_drill_verdict import conntrack_drill_verdict
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_relief import conntrack_relief
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_risks import conntrack_risks
from ansible_collections.headroom.netfilter.plugins.filter.conntrack_table import conntrack_table
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

TEXT = "{{ 6 * 7 }}{% if 1 %}{% endif %}"


def test_texts_are_no_templates():
    kept = {"kept": untrusted({"a": [TEXT]})}
    assert Templar(DataLoader(), variables=kept).template(kept["kept"]) == {"a": [TEXT]}


OWNER = {
    "name": TEXT,
    "keys": {"net.netfilter.nf_conntrack_tcp_timeout_established": 86400, "net.netfilter.nf_conntrack_max": 1},
    "evidence": TEXT,
    "path": None,
    "line": None,
    "text": None,
    "at_boot": True,
    "remedy": TEXT,
}
FACTS = facts({"owners": [OWNER], "kernel.release": TEXT})
PLAN = conntrack_plan(FACTS)
HOST = {
    "inventory_hostname": TEXT,
    "__conntrack_before": {"ansible_facts": {"conntrack": FACTS}},
    "conntrack_result": {
        "changed": True,
        "checked": False,
        "files_only": False,
        "before": FACTS,
        "plan": PLAN,
        "not_restored": [TEXT],
    },
}
CENSUS = {
    "source": "ctnetlink",
    "groupings": [
        {"group_by": "source", "top": [{"source": TEXT, "entries": 1, "share": 1.0, "margin": None}], "others": 0}
    ],
    "stale": {"entries": 0, "share": 0, "margin": None, "timeouts": {}},
    "total": 1,
    "unlisted": {"entries": 0, "dying": 0, "unconfirmed": None, "listeners": []},
}


@pytest.mark.parametrize(
    "given",
    [
        PLAN,
        conntrack_risks(FACTS),
        conntrack_table([HOST]),
        conntrack_table([HOST], planned=True),
        conntrack_audit([HOST], "info"),
        conntrack_relief([{**HOST, "__relieve_census": CENSUS}]),
        conntrack_drill_verdict([{"event": "before", "facts": FACTS, "end": TEXT}], TEXT),
    ],
    ids=["plan", "risks", "table", "planned table", "audit", "relief", "verdict"],
)
def test_what_filters_give_is_none(given):
    assert "6 * 7" in str(given)
    assert Templar(DataLoader(), variables={"kept": given}).template(given) == given
