# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The steps: one for each scenario of Molecule, with the machines it runs on; unit tests, whole on some Pythons and in halves."""

import os
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import run

GROUPS = {
    "lab": {"hosts": {"bullseye": None, "bookworm": None, "trixie": None}},
    "everywhere": {"children": {"lab": None}},
    "mixed": {"hosts": {"other": None}, "children": {"single": None}},
    "single": {"hosts": {"trixie": None}},
}


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("single", {"trixie"}),
        ("everywhere", {"bullseye", "bookworm", "trixie"}),
        ("mixed", {"other", "trixie"}),
        ("bookworm", {"bookworm"}),
    ],
)
def test_hosts_of(name, hosts):
    assert run.hosts_of(name, GROUPS) == hosts


def test_every_scenario_has_a_step():
    scenarios = {path.parent.name for path in Path(run.REPO, "extensions/molecule").glob("*/molecule.yml")}
    named = {step.name.replace("molecule-", "conntrack_") for step in run.scenarios()}
    assert named == scenarios - {"default"}


def test_a_scenario_runs_where_it_is_told_to(monkeypatch):
    monkeypatch.setenv("SCENARIO_HOSTS", "lab")
    assert {step.needs for step in run.scenarios()} == {frozenset({"bullseye", "bookworm", "trixie"})}


def test_the_halves_of_the_unit_tests_have_each_file_once():
    first, second = (run.units_here("half", first=first).commands[-1][-4:] for first in (True, False))
    rooms = {room for room in first if room.startswith(run.UNIT_ROOMS)}
    assert len(rooms) == 3
    assert all(list(Path(run.REPO, room).glob("test_*.py")) for room in rooms)
    assert set(second) == {"tests/unit", *(f"--ignore={room}" for room in rooms)}


def test_what_hypothesis_makes_up_is_for_the_newest_python():
    oldest, *_others, newest = run.pythons.find()
    options = {version: [str(word) for word in run.units(version).commands[-1]] for version in (oldest, newest)}
    assert "--ignore-glob=*_properties.py" in options[oldest]
    assert [option for option in options[newest] if "ignore" in option or "not on_one_python" in option] == []
    assert list(Path(run.REPO, "tests/unit").rglob("test_*_properties.py"))


def test_what_is_quick_is_part_of_what_there_is():
    """But for the halves of the unit tests, which stand for those of one Python."""
    names = {step.name for step in run.steps()}
    quick = [step.name for step in run.quick()]
    assert [name for name in quick if name not in names] == ["unit-rest", "unit"]
    assert {"ruff", "ruff-format", "mypy", "yamllint"} <= set(quick)


def test_scenarios_are_in_the_order_of_the_inventory():
    """The longest first, as it says there."""
    groups = yaml.safe_load(Path(run.REPO, "extensions/molecule/inventory.yml").read_text())["all"]["children"]
    named = [step.name.replace("molecule-", "conntrack_") for step in run.scenarios()]
    assert named == [name for name in groups if name != "lab"]
