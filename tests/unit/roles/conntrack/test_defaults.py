# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The role's defaults are said in several places, and each says the same: names, values and choices."""

from pathlib import Path

import pytest
import yaml

from ansible_collections.headroom.netfilter.plugins.filter import conntrack_plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import RFC_CHOICES, Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.plugins.modules import conntrack as module

ROLE = Path(__file__).resolve().parents[4] / "roles/conntrack"
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"][
    "options"
]
SUBOPTIONS = yaml.safe_load(conntrack_plan.DOCUMENTATION)["options"]["policy"]["suboptions"]
ACTION = {"conntrack_" + name: option for name, option in yaml.safe_load(module.DOCUMENTATION)["options"].items()}
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
    "conntrack_tcp_loose": None,
    "conntrack_tcp_be_liberal": None,
    "conntrack_shrink": False,
    "conntrack_apply": True,
    "conntrack_firewall": True,
    "conntrack_takeover": False,
    "conntrack_initramfs": False,
    "conntrack_size_at_boot": False,
    "conntrack_expire_existing": False,
    "conntrack_expire_most": None,
    "conntrack_target": "host",
    "conntrack_state": "present",
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
        {name: option.get("default") for name, option in ACTION.items()},
        POLICY,
    ],
    ids=["defaults/main.yml", "meta/argument_specs.yml", "filter conntrack_plan", "action conntrack", "Policy"],
)
def test_defaults_are_those_of_the_design(values):
    assert with_kinds(values) == with_kinds(DESIGN)


def test_what_has_no_default_is_not_set():
    """A variable that is set to nothing would win over one of the inventory's by mistake."""
    assert None not in DEFAULTS.values()
    assert set(DESIGN) - set(DEFAULTS) == {
        "conntrack_max",
        "conntrack_expected_connections",
        "conntrack_hashsize",
        "conntrack_expire_most",
        "conntrack_tcp_loose",
        "conntrack_tcp_be_liberal",
    }


def test_the_defaults_are_good_input():
    assert read(DEFAULTS) == Policy()


@pytest.mark.parametrize("options", [SUBOPTIONS, ACTION], ids=["filter conntrack_plan", "action conntrack"])
def test_choices(options):
    assert {name: option["choices"] for name, option in options.items() if "choices" in option} == {
        "conntrack_timeout_profile": list(PROFILES),
        "conntrack_rfc_floors": list(RFC_CHOICES),
        "conntrack_target": ["host", "image"],
        "conntrack_state": ["present", "absent"],
    }


@pytest.mark.parametrize("name", DESIGN)
def test_types(name):
    kinds = {bool: "bool", int: "int", float: "float", str: "str", dict: "dict", type(None): "int"}
    expected = "float" if name == "conntrack_memory_percent" else kinds[type(DESIGN[name])]
    assert SUBOPTIONS[name]["type"] == ACTION[name]["type"] == expected


def test_the_role_refuses_nothing_that_the_reader_takes():
    """What validates by these specs reads with other rules than the one reader, which takes the empty string for unset."""
    assert {option["type"] for option in OPTIONS.values()} == {"raw"}
    assert not [name for name, option in OPTIONS.items() if "choices" in option or option.get("required")]


@pytest.mark.parametrize("place", ["tasks/main.yml", "handlers/main.yml"])
def test_the_variables_are_read_by_the_action(place):
    """tests/unit/plugins/action/test_conntrack.py has how."""
    (task,) = yaml.safe_load((ROLE / place).read_text(encoding="utf-8"))
    assert task["headroom.netfilter.conntrack"] is None


def test_the_role_is_one_task():
    """Which no keyword of a play takes apart: nothing is included, rescued or kept for later."""
    (task,) = yaml.safe_load((ROLE / "tasks/main.yml").read_text(encoding="utf-8"))
    assert set(task) == {"name", "headroom.netfilter.conntrack", "register", "tags"}
    assert sorted(path.name for path in ROLE.glob("tasks/*")) == ["audit.yml", "main.yml"]
    assert not (ROLE / "vars").exists()
