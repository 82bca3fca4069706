# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The steps for Molecule: one for each scenario, with the machines it runs on."""

import os
import sys
from pathlib import Path

import pytest

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
