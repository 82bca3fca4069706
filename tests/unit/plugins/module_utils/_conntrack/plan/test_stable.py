# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A plan that was carried out stands: over loads and boots in a row, and before the module is loaded as afterwards."""

import copy

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import MODPROBE, SYSCTL
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import PARTS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.planned import planned
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.tests.unit import examples, golden

LOADED = [name for name in golden.NAMES if golden.load(name, "facts")["root"]["state"] == "loaded"]
ASKED = [
    {},
    {"entries_per_bucket": 4},
    {"hashsize": 131072, "memory_percent": 5},
    {"max": 100000, "shrink": True},
    {"expected_connections": 50001, "headroom": 1.3, "memory_percent": 10},
    {"shrink": True, "memory_percent": 10},
]


def facts_of(name):
    facts = copy.deepcopy(golden.load(name, "facts")["root"])
    facts.setdefault("assignments", {part: [] for part in PARTS})
    return facts


def with_own_files(facts, made):
    """The facts of a host where what is planned was written."""
    said = {
        SYSCTL: "".join("{0} = {1}\n".format(key, value) for key, value in made.sysctl.items()),
        MODPROBE: "options {0} hashsize={1}\n".format(kernel.FLAVOURS[facts["flavour"]].module, made.hashsize),
    }
    return planned(facts, {path: text for path, text in said.items() if path in made.files})


def apply_sysctl(facts, made):
    names = kernel.FLAVOURS[facts["flavour"]]
    for key, value in made.sysctl.items():
        name = key[len(names.prefix) :]
        if name in ("max", "expect_max"):
            facts["table"][name] = value
        elif kernel.timeout_name(name) in facts["timeouts"]:
            facts["timeouts"][kernel.timeout_name(name)] = value
        elif name in facts["switches"]:
            facts["switches"][name] = value


def converged(facts, made):
    after = copy.deepcopy(with_own_files(facts, made))
    after["table"].update(buckets=made.buckets)
    apply_sysctl(after, made)
    return after


def loaded(facts, made, applied):
    """After another load, with sysctl.d applied afterwards or not."""
    after = copy.deepcopy(facts)
    has_them = after["table"]["expect_max"] is not None
    after["table"].update(
        buckets=made.hashsize,
        max=8 * made.hashsize,
        expect_max=kernel.expect_max(made.hashsize) if has_them else None,
    )
    for name in after["timeouts"]:
        after["timeouts"][name] = kernel.default_timeout(name, after["kernel"]["release"])
    after["switches"] = {name: kernel.SWITCHES[name] for name in after["switches"]}
    if applied:
        apply_sysctl(after, made)
    return after


def test_there_are_hosts_with_systemd_and_without():
    assert {bool(facts_of(name)["services"]["systemd_sysctl"]) for name in LOADED} == {True, False}


@pytest.mark.parametrize("systemd", [True, False], ids=["as it is", "without systemd"])
@pytest.mark.parametrize("asked", ASKED, ids=repr)
@pytest.mark.parametrize("name", LOADED)
def test_loads_and_boots_in_a_row_move_nothing(name, asked, systemd):
    facts = facts_of(name)
    if not systemd:
        facts["services"]["systemd_sysctl"] = None
    facts["table"]["count"] = min(facts["table"]["count"], 40000)
    policy = examples.policy_of(**asked)
    made = plan.make(facts, policy)
    assert made.refusals == []
    facts = converged(facts, made)
    first = plan.make(facts, policy)
    assert (first.max, first.sysctl, first.hashsize, first.refusals) == (made.max, made.sysctl, made.hashsize, [])
    for applied in (False, True, False):
        facts = loaded(facts, made, applied)
        again = plan.make(facts, policy)
        # What is written stays as it is, and live values come back to it.
        assert (again.max, again.sysctl, again.hashsize) == (made.max, made.sysctl, made.hashsize)
        assert again.refusals == []
        facts = converged(facts, again)


def test_a_limit_that_a_load_has_made_is_nobody_s_choice():
    """As it was on hosts without systemd, from 65536 to 524288, 4194304 and 33554432."""
    facts = facts_of("centos6")
    made = plan.make(facts, examples.policy_of())._replace(hashsize=65536)
    facts = loaded(with_own_files(facts, made), made, applied=False)
    assert facts["table"]["max"] == 524288
    again = plan.make(facts, examples.policy_of())
    assert again.max == 65536
    assert again.reasons["max"].endswith("; the 524288 in force were made by a load")
    # A limit of that size which sysctl.d asks for is one.
    chosen = with_own_files(
        facts, made._replace(sysctl=dict(made.sysctl, **{"net.netfilter.nf_conntrack_max": 524288}))
    )
    assert plan.make(chosen, examples.policy_of()).max == 524288


def test_flows_in_use_count_against_a_limit_that_a_load_has_made():
    facts = facts_of("centos6")
    made = plan.make(facts, examples.policy_of())._replace(hashsize=65536)
    facts = loaded(with_own_files(facts, made), made, applied=False)
    facts["table"]["count"] = 80000
    again = plan.make(facts, examples.policy_of())
    assert 80000 <= again.max < 524288
    assert again.refusals == []
    facts["table"]["count"] = 300000
    (refusal,) = plan.make(facts, examples.policy_of()).refusals
    assert "300000 flows are in use now and the kernel would drop new ones" in refusal


def test_what_somebody_chose_is_not_lost_with_a_load():
    """A limit in force was adopted, which sizing alone would not plan; a load made another of it."""
    facts = facts_of("centos6")
    facts["table"]["max"] = 80001
    policy = examples.policy_of()
    made = plan.make(facts, policy)
    assert made.max == 80001
    facts = loaded(converged(facts, made), made, applied=False)
    assert facts["table"]["max"] == 81920
    assert plan.make(facts, policy).max == 80001


@pytest.mark.parametrize("name", ["centos5", "centos6"])
def test_without_systemd_a_load_makes_the_limit_that_is_planned(name):
    made = plan.make(facts_of(name), examples.policy_of())
    assert 8 * made.hashsize == made.max
    (warning,) = [warning for warning in made.warnings if warning.startswith("reload: ")]
    assert "the limit is then {0} (8 x hashsize)".format(made.max) in warning
    assert "timeouts and expectations are the kernel's own" in warning


def unloaded(facts):
    """The same host before its module was loaded."""
    before = copy.deepcopy(facts)
    usual = kernel.object_bytes(
        kernel.FLAVOURS[facts["flavour"]], facts["kernel"]["release"], facts["kernel"]["pointer_bytes"]
    )
    before.update(state="loadable", timeouts={}, counters={})
    before["table"] = dict(dict.fromkeys(facts["table"]), entry_bytes=kernel.entry_bytes(usual))
    before["kernel"]["writable"] = dict.fromkeys(facts["kernel"]["writable"], False)
    return before


@pytest.mark.parametrize("memory", [None, 2**28, 2**30, 3 * 2**29, 5 * 2**30, 2**36], ids=repr)
@pytest.mark.parametrize("asked", ASKED + [{"max_floor": 4096, "memory_percent": 0.5}], ids=repr)
@pytest.mark.parametrize("name", LOADED)
def test_before_the_module_is_loaded_the_plan_is_that_of_afterwards(name, asked, memory):
    facts = facts_of(name)
    # No flows yet, which an unloaded module cannot have.
    facts["table"]["count"] = 0
    names = kernel.FLAVOURS[facts["flavour"]]
    if memory and facts["flavour"] == "nf_conntrack":
        said = facts["kernel"]
        facts["memory"]["total_bytes"] = memory
        buckets, limit = kernel.default_table(said["release"], memory, said["page_size"], said["pointer_bytes"])
        facts["table"].update(buckets=buckets, max=limit, expect_max=kernel.expect_max(buckets))
    values = {
        "hashsize": facts["table"]["buckets"],
        names.prefix + "max": facts["table"]["max"],
        names.prefix + "expect_max": facts["table"]["expect_max"],
    }
    facts["outcome"]["boot"] = {
        key: {"kind": "default", "value": value, "source": "kernel default"} for key, value in values.items() if value
    }
    policy = examples.policy_of(**asked)
    before, after = plan.make(unloaded(facts), policy), plan.make(facts, policy)
    assert (before.max, before.hashsize, before.sysctl) == (after.max, after.hashsize, after.sysctl)
    assert [refusal.replace("in force after a load", "in force") for refusal in before.refusals] == after.refusals
    # And with what was written by then.
    written = with_own_files(unloaded(facts), before)
    again = plan.make(written, policy)
    assert (again.max, again.hashsize, again.sysctl) == (before.max, before.hashsize, before.sysctl)


def test_bullseye_before_and_after_a_load():
    before, after = (plan.make(facts_of(name), examples.policy_of()) for name in ("debian11_loadable", "debian11"))
    assert before.max == after.max == 40960
    assert (before.hashsize, before.sysctl) == (after.hashsize, after.sysctl)


@pytest.mark.parametrize(
    ("exposed", "limit", "reason"),
    [
        ([], 300000, "already in force after a load, and 131072 would lower it"),
        (["net.netfilter.nf_conntrack_max"], 131072, "2 percent of 4.0 GiB"),
    ],
    ids=["root's", "of a file that others may write"],
)
def test_what_will_be_in_force_is_not_lowered_either(exposed, limit, reason):
    boot = {
        "hashsize": {"kind": "fails", "value": None, "source": "install line"},
        "net.netfilter.nf_conntrack_max": {"kind": "value", "value": 300000, "source": "/etc/sysctl.d/90.conf:1"},
    }
    outcome = {"boot": boot, "reload": {}, "overriding": [], "problems": [], "exposed": exposed}
    made = examples.planned(dict(examples.NOT_LOADED, outcome=outcome))
    assert made.max == limit
    assert made.reasons["max"].startswith(reason)


@pytest.mark.parametrize("release", ["4.4.0-87-generic", "6.1.0-37-amd64"])
def test_timeouts_that_come_with_another_module_are_persisted_before(release):
    """Before 4.19 those of a family come with its module; they are written, and set where they are there."""
    there = {"kernel.release": release, "timeouts": {"tcp_established": 432000, "generic": 600}}
    made = examples.planned(there, timeouts={"dccp_open": 9})
    assert set(made.timeouts) == set(made.live["timeouts"]) == {"tcp_established", "generic"}
    persisted = {key.rpartition("conntrack_")[2] for key in made.sysctl if "timeout" in key}
    if release.startswith("4.4"):
        assert persisted >= {"icmpv6_timeout", "udp_timeout_stream", "dccp_timeout_open"}
        assert made.warnings == []
    else:
        assert persisted == {"tcp_timeout_established", "generic_timeout"}
        assert made.warnings == ["conntrack_timeouts: this kernel has no dccp_open; not written"]


def test_timeouts_that_the_kernel_will_not_have_are_not_written_for_it():
    made = examples.planned(
        dict(examples.NOT_LOADED, **{"kernel.release": "6.18.1"}), timeouts={"dccp_open": 9, "gre": 9}
    )
    assert "gre" in made.timeouts
    assert "dccp_open" not in made.timeouts
    assert made.warnings == ["conntrack_timeouts: this kernel has no dccp_open; not written"]
