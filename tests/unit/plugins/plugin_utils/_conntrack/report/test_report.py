# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a report says of each host."""

import itertools
import json

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import change
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.diff import diff
from ansible_collections.headroom.netfilter.tests.unit import golden, reports
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

USER = "conntrack_hashsize: 0 will not do"


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
def test_every_golden_host_has_its_place(user):
    made = reports.report(*reports.golden_hosts(user))
    assert shape.REPORT(json.loads(model.as_json(made))) == made
    assert {host["name"] for host in made["hosts"]} == set(golden.NAMES)
    assert {host["state"] for host in made["hosts"]} <= set(shape.ARRIVED)


@pytest.mark.parametrize("count", [3000, 200000])
def test_what_is_reckoned_once_for_many_is_what_each_would_have(count):
    reader = model.Reader()
    variables = {"conntrack_takeover": True}
    for name, (more, kind) in itertools.product(golden.NAMES, [(0, 2**30), (count, 2**30), (count + 7, 2**34)]):
        known = golden.load(name, "facts")["root"]
        known["memory"]["total_bytes"] = kind
        if known.get("table", {}).get("count") is not None:
            known["table"]["count"] += more
        known = FACTS(known)
        plan, _policy = change.planned_as_asked(known, variables)
        told = reader.host(name, {"ansible_facts": {"conntrack": known}}, variables)["plan"]
        wanted = as_dict(plan)
        assert told.pop("diff") == diff(plan)
        assert told == {field: wanted[field] for field in told}


@pytest.mark.parametrize(
    ("result", "state", "said"),
    [
        (None, "not read", "the run ended before it was read"),
        ({"skipped": True}, "not read", "the run ended before it was read"),
        ({"unreachable": True, "msg": "no\x1b route"}, "unreachable", r"no\x1b route"),
        ({"failed": True, "msg": "no Python"}, "failed", "no Python"),
        ({"failed": True}, "failed", "no reason was given"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_host_that_was_not_read_is_in_it(result, state, said):
    host = model.Reader().host("a", result, {})
    assert (host["state"], host["said"], host["worst"], host["plan"]) == (state, said, None, None)
    assert shape.HOST(host) == host


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"unreadable": ["/proc/slabinfo"]}, ["could not be read: /proc/slabinfo"]),
        ({"untold": ["processes"]}, ["could not be told: processes"]),
    ],
)
def test_partial_facts_are_told_as_such(changes, missing):
    whole = {"owners": [], "namespaces": [], "log": LOG}
    assert reports.read("a", whole)["state"] == "read"
    host = reports.read("a", {**whole, **changes})
    assert (host["state"], host["missing"]) == ("partial", missing)
    assert reports.read("a")["missing"] == ["facts without owners", "facts without namespaces", "facts without log"]


LOG = {"table_full": 3, "suppressed": 0, "first_seen": None, "last_seen": None, "netns": [], "source": ["x"]}


def test_the_plan_is_a_difference():
    said = reports.read("a", {"files": {}})["plan"]["diff"].split("\n")
    assert "-net.netfilter.nf_conntrack_max = 8192" in said
    assert "+net.netfilter.nf_conntrack_max = 131072" in said
    assert said.index("@@ in force @@") < said.index("@@ /etc/sysctl.d/99-conntrack.conf @@")
    assert "+options nf_conntrack hashsize=131072" in said


def test_variables_that_will_not_do_are_refused_in_the_plan():
    plan = reports.read("a", variables={"conntrack_hashsize": 0})["plan"]
    assert [said.startswith(USER) for said in plan["refusals"]] == [True]
    assert plan["converged"] is False


def test_worst_comes_first_and_what_was_not_read_before_what_is_well():
    hosts = [
        reports.read("well", {"timeouts": {}}),
        reports.unreachable("gone"),
        reports.read("told"),
        reports.read("full", {"table.count": 8000}),
    ]
    assert [host["name"] for host in reports.report(*hosts)["hosts"]] == ["full", "told", "gone", "well"]


def test_drops_are_told_without_clashes():
    host = reports.read(
        "a", {"counters": {"drop": 5, "insert_failed": 3, "clash_resolve": 0, "early_drop": 2}, "log": LOG}
    )
    assert host["drops"] == {"packets": 2, "early": 2, "logged": 3, "last": None}


def test_a_report_is_a_line_for_each_host():
    made = reports.report(reports.read("a"), reports.unreachable("b\n{"))
    text = model.as_json(made)
    assert json.loads(text) == made
    assert sum(line.startswith('{"name"') for line in text.splitlines()) == 2


def test_facts_are_not_changed():
    known = FACTS(facts())
    before = json.dumps(known)
    reports.answered("a", known)
    assert json.dumps(known) == before
