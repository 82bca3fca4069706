# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The role's defaults are said in four places, and each says the same: names, values and choices."""

from pathlib import Path

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.filter import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import RFC_CHOICES, Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES

ROLE = Path(__file__).resolve().parents[4] / "roles/conntrack"
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"][
    "options"
]
SUBOPTIONS = yaml.safe_load(conntrack_plan.DOCUMENTATION)["options"]["policy"]["suboptions"]
POLICY = {"conntrack_" + name: value for name, value in Policy()._asdict().items()}

# The variables of the design that belong to this role already, and their defaults there.
DESIGN = {
    "conntrack_max": None,
    "conntrack_expected_connections": None,
    "conntrack_headroom": 2.0,
    "conntrack_memory_percent": 2,
    "conntrack_max_floor": 65536,
    "conntrack_max_ceiling": 2097152,
    "conntrack_entries_per_bucket": 1,
    "conntrack_hashsize": None,
    "conntrack_timeout_profile": "server",
    "conntrack_timeouts": {},
    "conntrack_rfc_floors": "warn",
    "conntrack_shrink": False,
    "conntrack_apply": True,
    "conntrack_firewall": True,
    "conntrack_takeover": False,
    "conntrack_expire_existing": False,
}


def with_kinds(values):
    """0 is not False here, nor 1 True; 2 and 2.0 are the same."""
    return {name: (isinstance(value, bool), value) for name, value in values.items()}


@pytest.mark.parametrize(
    "values",
    [
        {name: DEFAULTS.get(name) for name in DEFAULTS.keys() | POLICY.keys()},
        {name: option.get("default") for name, option in OPTIONS.items()},
        {name: option.get("default") for name, option in SUBOPTIONS.items()},
        POLICY,
    ],
    ids=["defaults/main.yml", "meta/argument_specs.yml", "filter conntrack_plan", "Policy"],
)
def test_defaults_are_those_of_the_design(values):
    assert with_kinds(values) == with_kinds(DESIGN)


def test_what_has_no_default_is_not_set():
    """A variable that is set to nothing would win over one of the inventory's by mistake."""
    assert None not in DEFAULTS.values()
    assert set(DESIGN) - set(DEFAULTS) == {"conntrack_max", "conntrack_expected_connections", "conntrack_hashsize"}


def test_the_defaults_are_good_input():
    assert read(DEFAULTS) == Policy()


@pytest.mark.parametrize("options", [OPTIONS, SUBOPTIONS], ids=["meta/argument_specs.yml", "filter conntrack_plan"])
def test_choices(options):
    assert {name: option["choices"] for name, option in options.items() if "choices" in option} == {
        "conntrack_timeout_profile": list(PROFILES),
        "conntrack_rfc_floors": list(RFC_CHOICES),
    }


@pytest.mark.parametrize("name", DESIGN)
def test_types(name):
    kinds = {bool: "bool", int: "int", float: "float", str: "str", dict: "dict", type(None): "int"}
    expected = "float" if name == "conntrack_memory_percent" else kinds[type(DESIGN[name])]
    assert OPTIONS[name]["type"] == SUBOPTIONS[name]["type"] == expected


def test_every_variable_is_handed_to_the_plan():
    """The one expression of vars/main.yml: a variable that is missing there would have no effect."""
    policy = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))["__conntrack_policy"]
    for name in DESIGN:
        assert f"'{name}': {name}" in policy
