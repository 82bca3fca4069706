# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_facts, run for real against golden hosts."""

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.modules import conntrack_facts
from ansible_collections.headroom.netfilter.tests.unit import golden


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_every_golden_host(run_module, tree, name, check_mode):
    result = run_module(conntrack_facts, golden.GoldenHost(name, tree(name)), check_mode)
    assert result["changed"] is False
    assert "failed" not in result
    found = foretold(result["ansible_facts"]["conntrack"])
    assert golden.shortened(found) == golden.load(name, "facts")["root"]


TABLE, PERSISTENCE = {"table", "counters", "unlisted"}, {"services", "files", "assignments", "outcome", "exposed"}
OTHERS = {"owners", "claims", "namespaces", "netns_total", "log"}
# Of both: what will be is made of them as well.
TIMEOUTS = {"timeouts", "switches"}


@pytest.mark.parametrize(
    ("subset", "missing"),
    [
        (["min"], TABLE | TIMEOUTS | PERSISTENCE | OTHERS),
        (["table"], PERSISTENCE | OTHERS),
        ("!all,persistence", TABLE | OTHERS),
        (["!log", "!namespaces"], {"log", "namespaces", "netns_total"}),
        (["owners"], (TABLE | TIMEOUTS | PERSISTENCE | OTHERS) - {"owners", "claims"}),
    ],
    ids=repr,
)
def test_subsets(run_module, tree, subset, missing):
    result = run_module(conntrack_facts, golden.GoldenHost("debian12", tree("debian12")), gather_subset=subset)
    facts = golden.load("debian12", "facts")["root"]
    found = golden.shortened(foretold(result["ansible_facts"]["conntrack"]), facts["timeouts"])
    assert found == {name: facts[name] for name in facts if name not in missing}


def test_a_subset_that_is_none(run_module, tree):
    result = run_module(conntrack_facts, golden.GoldenHost("debian12", tree("debian12")), gather_subset=["tables"])
    assert result["failed"] is True
    assert result["msg"].startswith("gather_subset: tables is not known; use all, min,")


def documented(value, found):
    """Where the documentation says what a value contains, that is what it contains."""
    for one in found if isinstance(found, list) else [found] if found is not None else []:
        if "contains" in value and not value.get("sample"):
            # Few hosts have what is only there where something is.
            contains = {
                name: inner
                for name, inner in value["contains"].items()
                if name in one or not {"where", "when"} & set(inner["returned"].split())
            }
            assert set(contains) == set(one)
            for name, inner in contains.items():
                documented(inner, one[name])
    kinds = {"str": str, "int": int, "float": (float, int), "bool": bool, "dict": dict, "list": list}
    assert found is None or isinstance(found, kinds[value["type"]]), value
    if isinstance(value.get("sample"), dict) and isinstance(found, dict):
        # A sample shows names that there are; which ones of them differs by kernel.
        assert not found or set(value["sample"]) & set(found)


@pytest.mark.parametrize("name", golden.NAMES)
def test_what_is_returned_is_what_is_documented(run_module, tree, name):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    result = run_module(conntrack_facts, golden.GoldenHost(name, tree(name)))
    found = {"conntrack": foretold(result["ansible_facts"]["conntrack"])}
    documented(yaml.safe_load(conntrack_facts.RETURN)["ansible_facts"], found)


def test_options_are_those_that_are_documented():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    options = yaml.safe_load(conntrack_facts.DOCUMENTATION)["options"]
    assert {name: (option["type"], option["default"]) for name, option in options.items()} == {
        "gather_subset": ("list", ["all"]),
        "budget_seconds": ("float", 10),
        "root": ("path", "/"),
    }


@pytest.mark.parametrize("budget", [-1, 3601, float("nan")])
def test_a_budget_that_will_not_do(run_module, tree, budget):
    result = run_module(conntrack_facts, golden.GoldenHost("debian12", tree("debian12")), budget_seconds=budget)
    assert result["msg"].endswith("will not do: expected seconds from 0 to 3600")


def test_another_folder_is_read_in_place_of_the_machine(run_module, tree):
    result = run_module(conntrack_facts, None, root=tree("debian12"))
    assert result["ansible_facts"]["conntrack"]["kernel"]["python"] is None
    assert result["ansible_facts"]["conntrack"]["table"]["max"] == 8192


def test_a_folder_that_is_none(run_module, tmp_path):
    result = run_module(conntrack_facts, None, root=str(tmp_path / "none"))
    assert result["msg"] == "root: {0}: there is no such folder".format(tmp_path / "none")
