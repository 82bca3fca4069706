# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What modules may answer is what they document, and what they give on every golden host."""

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import FIELDS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import services
from ansible_collections.headroom.netfilter.plugins.modules import (
    conntrack_census_info,
    conntrack_expire,
    conntrack_facts,
    conntrack_notrack,
    conntrack_rollback,
    conntrack_settings,
    conntrack_unload,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack import answers
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import ANSWERS, BY_MODULE, FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import handed_on
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    ListOf,
    MappingOf,
    Misfit,
    Number,
    OrNone,
    Record,
    Text,
    Truth,
    Whole,
)
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import TableHost, golden_answers
from ansible_collections.headroom.netfilter.tests.unit.examples import facts
from ansible_collections.headroom.netfilter.tests.unit.fakes import FakeKernel

PLUGINS = Path(__file__).resolve().parents[5] / "plugins"
MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        conntrack_census_info,
        conntrack_expire,
        conntrack_facts,
        conntrack_notrack,
        conntrack_rollback,
        conntrack_settings,
        conntrack_unload,
    )
}
KINDS = {
    answers.Foretold: "dict",
    answers.Grouping: "dict",
    Text: "str",
    Whole: "int",
    Number: "float",
    Truth: "bool",
    ListOf: "list",
    MappingOf: "dict",
    Record: "dict",
}
ALWAYS = ("always", "success")
FAILURE = "failure"


def compare(check, documented, way):
    """Whether a check and a part of the documentation say the same, at every depth."""
    check = check.check if isinstance(check, OrNone) else check
    assert documented["type"] == KINDS[type(check)], way
    if check is FACTS and way[-1] != "conntrack":
        # As conntrack_facts has it.
        return
    if isinstance(check, ListOf):
        check = check.check
        assert documented["elements"] == KINDS[type(check)], way
    if isinstance(check, Record) and "contains" in documented:
        compare_fields(check, documented["contains"], way)
    elif isinstance(check, Record):
        # With a name that documentation cannot have as one of a value, such as keys: what the sample has.
        sample = documented["sample"][0] if documented["type"] == "list" else documented["sample"]
        assert check(sample) == sample, way
        assert set(sample) == set(check.fields), way
    if isinstance(check, MappingOf) and isinstance(check.check, Record):
        said = " ".join(
            [documented["description"]] if isinstance(documented["description"], str) else documented["description"]
        )
        assert set(check.check.fields) <= set(re.findall(r"C\((\w+)\)", said)), way


def compare_fields(record, documented, way):
    assert set(record.fields) == set(documented), way
    assert set(record.optional) == {name for name in documented if documented[name]["returned"] not in ALWAYS}, way
    for name, check in record.fields.items():
        compare(check, documented[name], (*way, name))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.module)
def test_the_documentation_says_the_same(answer):
    documented = yaml.safe_load(MODULES[answer.module].RETURN)
    given = documented.pop("ansible_facts", {"contains": {}})
    succeeding = {name: said for name, said in documented.items() if said["returned"] != FAILURE}
    compare_fields(answer.returned, succeeding, (answer.module,))
    failing = {name for name, said in documented.items() if said["returned"] in ("always", FAILURE)}
    assert set(answer.failure.fields) == set(answer.failure.optional) == (failing if answer.failure.fields else set())
    for name, check in answer.failure.fields.items():
        compare(check, documented[name], (answer.module, name))
    compare_fields(answer.facts, given["contains"], (answer.module, "ansible_facts"))


def test_every_module_has_an_answer():
    # Some are what an action makes of others' answers, and one asks no host.
    alone = ("conntrack", "conntrack_guarded", "conntrack_probe", "conntrack_report")
    assert sorted([*BY_MODULE, *alone]) == sorted(path.stem for path in PLUGINS.glob("modules/*.py"))


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_every_golden_host_fits(tree, name, user):
    known = golden.load(name, "facts")
    given = golden.overlaid(known["root"], known["user"]) if user else known["root"]
    assert golden.shortened(FACTS(given)) == given
    found = gather(golden.GoldenHost(name, tree(name), as_root=not user), ["all"])
    assert FACTS(found) == found


def test_a_subset_fits(tree):
    for subset in ("min", "table", "persistence", "owners", "namespaces", "log"):
        found = gather(golden.GoldenHost("debian12", tree("debian12")), [subset])
        assert FACTS(found) == found


@pytest.mark.parametrize(
    ("name", "host", "options"),
    [
        (
            "conntrack_census_info",
            TableHost(answers=golden_answers(), count=36),
            {"group_by": [*FIELDS, "+".join(FIELDS)]},
        ),
        ("conntrack_census_info", TableHost(answers=golden_answers(), count=36), {"sample": 10, "anonymise": True}),
        ("conntrack_expire", TableHost(answers=golden_answers(), count=36), {"timeout_profile": "server"}),
        ("conntrack_settings", FakeKernel(), {"max": 262144, "buckets": 131000, "timeouts": {"udp": 40}}),
        ("conntrack_settings", FakeKernel(), {}),
        ("conntrack_rollback", FakeKernel(), {}),
        ("conntrack_notrack", FakeKernel(), {}),
        ("conntrack_unload", FakeKernel(module=False), {}),
        ("conntrack_unload", FakeKernel(), {"state": "restored"}),
    ],
)
def test_what_modules_give_is_handed_on(run_module, name, host, options):
    result = run_module(MODULES[name], host, True, **options)
    assert "failed" not in result
    result.pop("invocation", None)
    assert handed_on(BY_MODULE[name], result) == result


def test_groups_have_the_fields_of_the_census():
    assert list(answers.FIELDS) == list(FIELDS)


def test_the_helper_of_systemd_is_one_that_is_looked_for():
    assert answers.SYSTEMD_SYSCTL == services._SYSTEMD_SYSCTL


@pytest.mark.parametrize(
    ("group_by", "fields", "said"),
    [
        ("state+source", ["state"], r"^top\[0\]: expected a group by state\+source, found one by state"),
        ("state", ["state", "source"], r"^top\[0\]: expected a group by state, found one by"),
        ("x", ["state"], r"^group_by: expected a text"),
    ],
)
def test_groups_are_of_what_they_are_grouped_by(group_by, fields, said):
    row = {**dict.fromkeys(fields, "x"), "entries": 1, "share": 1, "margin": None}
    with pytest.raises(Misfit, match=said):
        answers.GROUPING({"group_by": group_by, "top": [row], "others": 0, "missed": 0})


@pytest.mark.parametrize("key", ["net.netfilter.nf_conntrack_max x", "net.a; rm", "kernel.x", "net.", "", "hashsize\n"])
def test_keys_are_tight(key):
    given = facts(
        {"outcome": {"boot": {key: {"value": 1, "source": "x"}}, "reload": {}, "overriding": [], "problems": []}}
    )
    with pytest.raises(Misfit, match=r"^outcome\.boot: expected names"):
        FACTS(given)
