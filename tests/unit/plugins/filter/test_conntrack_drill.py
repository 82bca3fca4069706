# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filters of the playbook drill, as the playbook hands one's result to the next."""

from ansible_collections.headroom.netfilter.plugins.filter import (
    conntrack_drill_errors,
    conntrack_drill_plan,
    conntrack_drill_verdict,
)
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

errors = conntrack_drill_errors.FilterModule().filters()["conntrack_drill_errors"]
plan = conntrack_drill_plan.FilterModule().filters()["conntrack_drill_plan"]
verdict = conntrack_drill_verdict.FilterModule().filters()["conntrack_drill_verdict"]
VARIABLES = {"drill_firewall": True, "drill_out_of_band": True, "ansible_host": "192.0.2.1"}


def test_errors():
    assert errors(VARIABLES, "ssh") == []
    assert errors({"drill_reload": "maybe"}, "ssh") == ["drill_reload: 'maybe' will not do: expected true or false"]


def test_a_name_that_is_nearly_right():
    names = {**VARIABLES, "drill_reebot": True, "drill_reports": "x"}
    said = ["drill_reebot: there is no such variable; did you mean drill_reboot?"]
    assert errors(VARIABLES, "ssh", names) == said
    assert errors(VARIABLES, "ssh", VARIABLES) == []


def test_plan():
    made = plan(facts(), VARIABLES, "ssh")
    assert set(made) == {"events", "firewalls", "said", "refusals", "id"}
    assert (made["events"], made["firewalls"]) == (["firewall"], ["nftables"])
    assert plan(facts(), VARIABLES, "ssh", check=True)["events"] == []


def test_verdict():
    readings = [{"event": event, "facts": facts(), "end": "done"} for event in ("before", "firewall")]
    found = verdict(readings, "web01")
    assert set(found) == {"kept", "table", "said"}
    assert (found["kept"], found["table"][0]) == (True, "web01")


def test_what_a_host_said_of_itself_ends_no_drill():
    said = {"drill_reboott": 1, "drill_firewall": "much"}
    assert errors(said, "local", {"ansible_facts": said, **said}) == []
    assert len(errors(said, "local", {"ansible_facts": {}, **said})) == 2
