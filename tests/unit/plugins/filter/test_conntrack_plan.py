# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The filter conntrack_plan: a plan as plain data, bad input refused in it like what a host cannot."""

import json
import re

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.headroom.netfilter.plugins.filter import conntrack_plan as module
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Drift, Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.plugins.modules import conntrack_settings
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

conntrack_plan = module.FilterModule().filters()["conntrack_plan"]


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_every_golden_host_has_a_plan(name, user):
    known = golden.load(name, "facts")
    given = golden.overlaid(known["root"], known["user"]) if user else known["root"]
    plan = conntrack_plan(given, {})
    assert json.loads(json.dumps(plan)) == plan
    assert set(plan) == set(Plan._fields)
    assert plan["converged"] == (not plan["drift"] and not plan["refusals"])
    assert plan["refusals"] == (
        ["root is needed to change this host; run with --become"] if user and plan["drift"] else []
    )


@pytest.mark.parametrize(
    ("name", "limit", "files"),
    [
        # 2 percent of 23.5 GiB / 392 = 1289617: 2^20
        ("builtin_618", 1048576, 1),
        # 2 percent of 1 GiB less what the kernel keeps / 392 = 52003: 6 x 2^13
        ("debian12", 49152, 4),
        # 2 percent of 7.7 GiB / 456 = 363939: 2^18, which is in force
        ("aarch64_64k", 262144, 4),
        # 262138 flows x 2, held at 2 percent of 7.8 GiB / 456 = 367158: 5 x 2^16
        ("ubuntu1604", 327680, 4),
        ("container_readonly", 262144, 0),
        # 2 percent of 1 GiB less what the kernel keeps / 456, which its kernel has once the module is loaded: 5 x 2^13
        ("debian11_loadable", 40960, 4),
        ("no_conntrack", None, 0),
    ],
)
def test_limits_of_golden_hosts(name, limit, files):
    plan = conntrack_plan(golden.load(name, "facts")["root"])
    assert (plan["max"], len(plan["files"])) == (limit, files)


def test_bad_input_is_refused_in_the_plan():
    plan = conntrack_plan(facts(), {"conntrack_max": -1, "conntrack_headroom": "x"})
    assert [text.partition(":")[0] for text in plan["refusals"]] == ["conntrack_max", "conntrack_headroom"]
    assert plan["converged"] is False


@pytest.mark.parametrize("found", [None, "", [], {}, {"conntrack": {}}, 5], ids=repr)
def test_what_are_no_facts(found):
    with pytest.raises(AnsibleFilterError, match="expected the facts of headroom"):
        conntrack_plan(found)


@pytest.mark.parametrize("policy", [None, {}, {"conntrack_max": None, "conntrack_shrink": ""}], ids=repr)
def test_no_policy_is_the_default(policy):
    assert conntrack_plan(facts(), policy) == conntrack_plan(facts(), {"conntrack_headroom": 2.0})


def test_facts_are_left_as_they_are():
    given = facts()
    conntrack_plan(given, {"conntrack_max": 100000})
    assert given == facts()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cpus": "2"},
            "ansible_facts.conntrack.cpus: expected a whole number from 0 to 9223372036854775808, or nothing",
        ),
        ({"namespaces": [7]}, "ansible_facts.conntrack.namespaces[0]: expected a mapping, found 7"),
        (
            {"services.systemd_sysctl": "/tmp/x"},
            "ansible_facts.conntrack.services.systemd_sysctl: expected one of /usr/lib",
        ),
        ({"surplus": 1}, "ansible_facts.conntrack.surplus: expected nothing of that name, found 1"),
    ],
    ids=["text", "namespaces", "path", "surplus"],
)
def test_facts_that_do_not_fit(changes, said):
    with pytest.raises(AnsibleFilterError, match="^conntrack_plan: " + re.escape(said)):
        conntrack_plan(facts(changes))


def test_a_name_that_is_nearly_a_variable():
    names = ["conntrack_max", "conntrack_expected_connection", "conntrack_hosts"]
    refusals = conntrack_plan(facts(), {"conntrack_max": 100000}, names=names)["refusals"]
    assert len(refusals) == 1
    assert refusals[0].startswith("conntrack_expected_connection")


def test_what_is_returned_is_what_is_documented():
    documented = yaml.safe_load(module.RETURN)["_value"]["contains"]
    assert list(documented) == list(Plan._fields)
    assert list(documented["drift"]["contains"]) == list(Drift._fields)


def test_options_are_those_of_the_policy():
    options = yaml.safe_load(module.DOCUMENTATION)["options"]["policy"]["suboptions"]
    assert {name: option.get("default") for name, option in options.items()} == {
        "conntrack_" + name: default for name, default in Policy()._asdict().items()
    }
    assert options["conntrack_timeout_profile"]["choices"] == list(PROFILES)


def test_the_module_takes_what_is_live_in_the_plan():
    options = yaml.safe_load(conntrack_settings.DOCUMENTATION)["options"]
    assert set(conntrack_plan(facts())["live"]) <= set(options)
