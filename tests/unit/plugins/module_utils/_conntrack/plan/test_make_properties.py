# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What holds of every plan, whatever the facts and the policy."""

import copy
import hashlib
import json

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import SWITCHES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    NOT_LOADED,
    NOT_ROOT,
    TIMEOUTS,
    assignments,
    contents,
    facts,
)

MODPROBE = "/etc/modprobe.d/nf_conntrack.conf"
PLACES = [
    {},
    {},
    CONTAINER,
    {"kernel.init_netns": False, "kernel.writable": {"max": False, "buckets": False, "timeouts": True}},
    {"kernel.writable": {"max": True, "buckets": False, "timeouts": True}},
    {"kernel.writable": {"max": False, "buckets": True, "timeouts": False}},
    NOT_ROOT,
]
SERVICES = {
    "services.firewalld": st.sampled_from([None, {"unloads": True}, {"unloads": False}]),
    "services.iptables": st.sampled_from([None, {"unloads": True}, {"unloads": False}]),
    "services.systemd_sysctl": st.sampled_from([None, "/lib/systemd/systemd-sysctl"]),
}
UNLOADING = [
    {"path": "/etc/firewalld/firewalld.conf", "line": 4, "text": "CleanupModulesOnExit=yes"},
    {"path": "/etc/sysconfig/iptables-config", "line": 0, "text": ""},
]
ENTRIES = st.integers(1, 4000000)
BITS = st.integers(0, 1)
SECONDS = st.dictionaries(st.sampled_from(sorted(TIMEOUTS)), st.integers(1, 2147483))


@st.composite
def hosts(draw):
    changes = dict(draw(st.sampled_from(PLACES)))
    changes.update({name: draw(values) for name, values in SERVICES.items()})
    changes["assignments"] = assignments(unloading=draw(st.sampled_from([[], UNLOADING])))
    page, pointer = draw(st.sampled_from([(4096, 8), (65536, 8), (4096, 4)]))
    changes.update(
        {
            "state": draw(st.sampled_from(["loaded", "builtin", "loadable"])),
            "kernel.page_size": page,
            "kernel.pointer_bytes": pointer,
            "kernel.nat": draw(st.booleans()),
            "memory.total_bytes": draw(st.one_of(st.none(), st.integers(2**24, 2**42))),
            "table.entry_bytes": draw(st.sampled_from([320, 384, 448])),
            "table.count": draw(st.one_of(st.just(0), st.integers(0, 3000000))),
            "table.max": draw(st.one_of(st.just(0), ENTRIES)),
            "table.expect_max": draw(st.one_of(st.none(), st.integers(0, 70000))),
            "table.buckets": draw(st.integers(1, 4000000 * pointer // page)) * (page // pointer),
            "timeouts": {
                name: draw(st.integers(1, 500000)) for name in draw(st.sets(st.sampled_from(sorted(TIMEOUTS))))
            },
            "switches": {name: draw(BITS) for name in draw(st.sets(st.sampled_from(sorted(SWITCHES))))},
        }
    )
    if changes["state"] == "loadable":
        changes.update(NOT_LOADED)
    return facts(changes)


@st.composite
def policies(draw):
    floor, ceiling = sorted([draw(ENTRIES), draw(ENTRIES)])
    unset = st.none()
    fields = {
        "max": draw(st.one_of(unset, ENTRIES)),
        "expected_connections": draw(st.one_of(unset, ENTRIES)),
        "headroom": draw(st.floats(1, 10)),
        "memory_percent": draw(st.floats(0.01, 50)),
        "max_floor": floor,
        "max_ceiling": ceiling,
        "entries_per_bucket": draw(st.integers(1, 8)),
        "hashsize": draw(st.one_of(unset, unset, ENTRIES)),
        "timeout_profile": draw(st.sampled_from(sorted(PROFILES))),
        "timeouts": draw(SECONDS),
        "tcp_loose": draw(st.one_of(unset, BITS)),
        "tcp_be_liberal": draw(st.one_of(unset, BITS)),
        "rfc_floors": draw(st.sampled_from(policy.RFC_CHOICES)),
        "shrink": draw(st.booleans()),
        "apply": draw(st.booleans()),
        "firewall": draw(st.booleans()),
    }
    try:
        return policy.read({"conntrack_" + name: value for name, value in fields.items()})
    except policy.PolicyError:
        return policy.Policy(**dict(fields, max=None, hashsize=None, rfc_floors="warn"))


def full_plan(host, wanted):
    return plan.make(host, wanted, contents)


def converged(host, made):
    """The host after all of the plan's drift was acted upon."""
    after = copy.deepcopy(host)
    for drift in made.drift:
        if drift.kind == "file":
            after["files"][drift.name] = dict(drift.wanted, ours=True)
        elif drift.kind == "service":
            name = "firewalld" if "firewalld" in drift.name else "iptables"
            after["services"][name] = {"unloads": False}
        else:
            after["table"].update(max=made.max, buckets=made.buckets, expect_max=made.expect_max)
            after["timeouts"].update(made.timeouts)
            after["switches"].update(made.switches)
    return after


def is_tied(host, what):
    said = host["kernel"]
    return host["state"] != "loadable" and said["root"] and not said["writable"][what]


@given(hosts(), policies())
def test_a_plan_is_plain_data_and_leaves_the_facts_alone(host, wanted):
    before = copy.deepcopy(host)
    made = full_plan(host, wanted)
    assert host == before
    assert json.loads(json.dumps(as_dict(made))) == as_dict(made)
    assert made.converged == (not made.drift and not made.refusals)
    assert set(made.reasons) == {"max", "buckets", "expect_max"} | set(made.timeouts) | set(made.switches)
    assert all(made.reasons.values())


@given(hosts(), policies())
def test_never_below_the_flows_in_use(host, wanted):
    made = plan.make(host, wanted)
    if not made.refusals and made.max != host["table"]["max"]:
        assert made.max >= (host["table"]["count"] or 0)
        assert made.max >= 1


@given(hosts(), policies())
def test_never_lowered_unless_it_may_be(host, wanted):
    made = plan.make(host, wanted)
    if not wanted.shrink and not made.refusals:
        assert made.max >= (host["table"]["max"] or 0)
        assert made.buckets >= (host["table"]["buckets"] or 0)


@given(hosts(), policies())
def test_a_sized_limit_is_never_above_the_memory_share_unless_it_is_in_force(host, wanted):
    made = plan.make(host, wanted)
    memory, table = host["memory"]["total_bytes"], host["table"]
    if memory and wanted.max is None and not made.refusals and made.max != table["max"]:
        # Buckets that are there already cannot be taken back by a smaller limit.
        buckets = 0 if made.buckets == table["buckets"] else made.buckets
        full = made.max * table["entry_bytes"] + buckets * host["kernel"]["pointer_bytes"]
        assert full <= memory * wanted.memory_percent / 100


@given(hosts(), policies())
def test_buckets_are_whole_pages_of_pointers(host, wanted):
    made = plan.make(host, wanted)
    of_a_page = host["kernel"]["page_size"] // host["kernel"]["pointer_bytes"]
    assert made.buckets % of_a_page == made.hashsize % of_a_page == 0


@given(hosts(), policies())
def test_a_load_of_the_module_never_makes_the_limit_too_low(host, wanted):
    made = plan.make(host, wanted)
    if MODPROBE in made.files and not made.refusals:
        assert 8 * made.hashsize >= made.max


@given(hosts(), policies())
def test_only_what_the_host_has_is_written(host, wanted):
    made = plan.make(host, wanted)
    if host["state"] != "loadable":
        assert set(made.timeouts) <= set(host["timeouts"])
        assert set(made.switches) <= set(host["switches"])
        assert (made.expect_max is None) == (host["table"]["expect_max"] is None)
    if made.files and not made.refusals:
        each = len(made.timeouts) + len(made.switches)
        assert len(made.sysctl) == 1 + (host["state"] == "builtin") + (made.expect_max is not None) + each


@given(hosts(), policies())
def test_what_is_tied_does_not_differ(host, wanted):
    made = plan.make(host, wanted)
    live = {drift.name for drift in made.drift if drift.kind == "live"}
    assert not (
        is_tied(host, "max") and live & {"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_expect_max"}
    )
    assert not (is_tied(host, "buckets") and "hashsize" in live)
    assert not (is_tied(host, "timeouts") and any("timeout" in name or "tcp_" in name for name in live))


@given(hosts(), policies())
def test_the_plan_of_a_host_that_was_converged_is_empty(host, wanted):
    made = full_plan(host, wanted)
    if not made.refusals:
        again = full_plan(converged(host, made), wanted)
        assert (again.drift, again.lines, again.refusals) == ([], [], [])
        assert again._replace(drift=[], converged=True, reasons={}) == made._replace(
            drift=[], lines=[], converged=True, reasons={}
        )


@given(hosts(), policies())
def test_without_refusals_the_modprobe_line_can_be_loaded(host, wanted):
    made = full_plan(host, wanted)
    if MODPROBE in made.files and not plan.make(host, wanted).refusals:
        assert not [refusal for refusal in made.refusals if refusal.startswith(MODPROBE)]
        assert hashlib.sha256(contents(made)[MODPROBE].encode()).hexdigest() in {
            drift.wanted["sha256"] for drift in made.drift if drift.name == MODPROBE
        }
