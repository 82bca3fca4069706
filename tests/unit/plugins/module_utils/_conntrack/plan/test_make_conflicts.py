# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Others who write what the plan writes: stepped aside for, taken over or refused."""

import hashlib
import re

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.tests.unit import examples

MAX = "net.netfilter.nf_conntrack_max"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
PLANNED = 131072
CONTENTS = dict.fromkeys(files.MANAGED, "# text")


def overriding(value, key=MAX, path="/etc/sysctl.conf", line=12):
    text = "{0} = {1}".format(key, value)
    return {"path": path, "line": line, "text": text, "key": key, "value": value, "owner": "sysctl.d"}


def outcome(*lines, **events):
    return {
        "boot": events.get("boot", {}),
        "reload": events.get("reload", {}),
        "overriding": list(lines),
        "problems": [],
    }


def kube_proxy(keys, at_boot=True, path=None):
    return {
        "name": "kube-proxy",
        "keys": keys,
        "evidence": "process 4711: kube-proxy",
        "remedy": "set conntrack.maxPerCore",
        "path": path,
        "line": None,
        "text": None,
        "at_boot": at_boot,
    }


def made(outcome=None, owners=(), changes=(), contents=None, **fields):
    facts = dict(changes)
    facts.update({"outcome": outcome, "owners": list(owners)})
    return examples.planned(facts, CONTENTS if contents is None else contents, **fields)


def lines(found):
    return [drift for drift in found.drift if drift.kind == "line"]


def test_the_example_plans_what_these_tests_count_on():
    assert made().max == PLANNED


def test_a_line_that_would_win_is_refused_by_its_place():
    found = made(outcome(overriding(1000)))
    assert not found.converged
    assert len(found.refusals) == 1
    for part in (MAX, "/etc/sysctl.conf:12", "1000", str(PLANNED), "conntrack_takeover=true"):
        assert part in found.refusals[0]
    assert lines(found) == []


@pytest.mark.parametrize(
    "line",
    [overriding(PLANNED), overriding(5, "net.netfilter.nf_conntrack_frag6_timeout")],
    ids=["says the same", "no key of the plan"],
)
def test_a_line_that_takes_nothing_away_is_left_alone(line):
    found = made(outcome(line), takeover=True)
    assert found.refusals == []
    assert lines(found) == []


@pytest.mark.parametrize(
    "text", [MAX + " = 1000", "  -" + MAX.replace(".", "/") + "=1000   ", "\t" + MAX + " = 1000\r"]
)
def test_a_line_is_taken_over(text):
    found = made(outcome(dict(overriding(1000), text=text)), takeover=True)
    assert found.refusals == []
    (line,) = lines(found)
    assert (line.kind, line.name) == ("line", "/etc/sysctl.conf")
    assert re.search(line.regexp, text + "\n")
    assert not re.search(line.regexp, "#" + text + "\n")
    assert line.wanted == "# " + text.strip()


def test_a_package_s_file_is_not_edited():
    found = made(outcome(overriding(1000, path="/usr/lib/sysctl.d/99-vendor.conf")), takeover=True)
    assert lines(found) == []
    assert "99-vendor.conf" in found.refusals[0].rpartition(";")[2]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/rc.local", "sysctl -w net.netfilter.nf_conntrack_max=1000 && start-it"),
        ("/etc/modprobe.d/z.conf", "options nf_conntrack acct=1 hashsize=512"),
    ],
)
def test_a_line_that_says_more_is_not_edited(path, text):
    line = dict(overriding(1000, path=path), text=text)
    found = made(outcome(line), takeover=True)
    assert lines(found) == []
    assert path + ":12" in found.refusals[0]


def test_a_line_of_modprobe_d_is_taken_over():
    line = dict(overriding(512, "hashsize", "/etc/modprobe.d/z.conf"), text="options nf_conntrack hashsize=512")
    (taken,) = lines(made(outcome(line), takeover=True))
    assert taken.wanted == "# options nf_conntrack hashsize=512"


def test_without_files_of_its_own_the_plan_minds_no_line():
    found = made(outcome(overriding(1000)), changes=examples.CONTAINER)
    assert found.refusals == []


# What will be.


def as_planned(found):
    """The facts of a host after ``found`` was applied to it."""
    there = {
        path: {
            "sha256": hashlib.sha256(CONTENTS[path].encode()).hexdigest(),
            "mode": "0644",
            "owner": "root",
            "group": "root",
            "ours": True,
        }
        for path in found.files
    }
    return {
        "files": there,
        "table.max": found.max,
        "table.buckets": found.buckets,
        "table.expect_max": found.expect_max,
        "timeouts": dict(examples.TIMEOUTS, **found.timeouts),
    }


def test_what_a_boot_would_lose_is_drift_though_every_file_is_right():
    changes = as_planned(made())
    assert made(changes=changes).converged
    will = {
        MAX: {"value": 8192, "source": "/run/sysctl.d/zz.conf:1"},
        ESTABLISHED: {"value": None, "source": "a script"},
    }
    found = made(outcome(boot=will, reload={"hashsize": {"value": 512, "source": "kernel command line"}}), (), changes)
    assert [(drift.kind, drift.name, drift.found) for drift in found.drift] == [
        ("outcome", MAX, 8192),
        ("outcome", "hashsize", 512),
    ]
    assert "after the next boot (/run/sysctl.d/zz.conf:1)" in found.drift[0].said
    assert "after the next load of the module (kernel command line)" in found.drift[1].said


def test_what_files_will_mend_is_no_drift_of_the_outcome():
    will = {MAX: {"value": 8192, "source": "kernel default"}}
    assert {drift.kind for drift in made(outcome(boot=will, reload=will)).drift} == {"live", "file"}


# Programs.


@pytest.mark.parametrize(
    ("theirs", "in_force", "planned", "warned"),
    [
        (262144, 8192, 262144, False),
        (100000, 8192, 100000, True),
        (100000, 120000, 120000, True),
    ],
    ids=["more", "less", "less than is in force"],
)
def test_a_limit_that_a_program_sets_is_left_to_it(theirs, in_force, planned, warned):
    owner = kube_proxy({MAX: theirs})
    found = made(owners=[owner], changes={"table.max": in_force}, memory_percent=10, max_ceiling=2 * PLANNED)
    assert found.refusals == []
    assert found.max == found.sysctl[MAX] == found.live["max"] == planned
    assert "kube-proxy sets {0}".format(theirs) in found.reasons["max"]
    assert any("set conntrack.maxPerCore" in warning for warning in found.warnings) is warned
    # The next run finds what the program has set, and leaves it so.
    again = made(owners=[owner], changes={"table.max": theirs}, memory_percent=10, max_ceiling=2 * PLANNED)
    assert again.max == theirs


def test_a_timeout_that_a_program_sets_is_left_to_it():
    found = made(owners=[kube_proxy({ESTABLISHED: 86400})])
    assert found.timeouts["tcp_established"] == 86400
    assert "kube-proxy" in found.reasons["tcp_established"]
    assert any("tcp_established" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("keys", "asked", "refused"),
    [
        ({MAX: PLANNED}, {"max": 100000}, "conntrack_max: 100000 asked for, but"),
        ({MAX: PLANNED}, {"max": 200000}, "conntrack_max: 200000 asked for, but"),
        (
            {MAX: PLANNED},
            {"expected_connections": 200000},
            "conntrack_expected_connections: 200000 do not fit, because",
        ),
        ({"hashsize": 32768}, {"entries_per_bucket": 8, "shrink": True}, "conntrack_entries_per_bucket: 8 gives 16384"),
        ({"hashsize": 32768}, {"hashsize": 16384}, "conntrack_hashsize: 16384 gives 16384 buckets, but"),
        ({ESTABLISHED: 86400}, {"timeouts": {"tcp_established": 7440}}, "tcp_established: 7440 asked for, but"),
    ],
    ids=repr,
)
def test_a_variable_and_a_program_are_not_weighed(keys, asked, refused):
    """Both are named, with what the program sets and where that is changed."""
    (refusal,) = made(owners=[kube_proxy(keys)], **asked).refusals
    assert refused in refusal
    (value,) = keys.values()
    assert "process 4711: kube-proxy sets " in refusal
    assert str(value) in refusal
    assert "set conntrack.maxPerCore" in refusal


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ({MAX: PLANNED}, {"max": PLANNED}),
        ({MAX: PLANNED}, {"expected_connections": 60000}),
        ({MAX: 4 * PLANNED}, {"max": 4 * PLANNED, "memory_percent": 10}),
        # Buckets it only raises.
        ({"hashsize": 32768}, {"hashsize": 65536}),
        ({"hashsize": 32768}, {"entries_per_bucket": 2}),
        ({ESTABLISHED: 86400}, {"timeouts": {"tcp_established": 86400}}),
    ],
    ids=repr,
)
def test_a_variable_that_agrees_with_a_program(keys, asked):
    assert made(owners=[kube_proxy(keys)], **asked).refusals == []


@pytest.mark.parametrize(
    ("theirs", "asked", "bound"),
    [
        (100000000, {}, "conntrack_max_ceiling"),
        (100000000, {}, "conntrack_memory_percent"),
        (PLANNED + 1, {"max_ceiling": PLANNED}, "conntrack_max_ceiling"),
        (4 * PLANNED, {}, "conntrack_memory_percent"),
        (65535, {}, "conntrack_max_floor"),
    ],
)
def test_bounds_bind_programs_too(theirs, asked, bound):
    refusals = [refusal for refusal in made(owners=[kube_proxy({MAX: theirs})], **asked).refusals if bound in refusal]
    assert len(refusals) == 1
    assert "process 4711: kube-proxy sets {0}".format(theirs) in refusals[0]


def test_a_timeout_of_a_program_below_its_floor_is_refused_where_floors_are_enforced():
    keys = {"net.netfilter.nf_conntrack_udp_timeout": 10}
    found = made(owners=[kube_proxy(keys)], changes={"kernel.nat": True}, rfc_floors="enforce")
    (refusal,) = found.refusals
    assert "udp: process 4711: kube-proxy sets it to 10" in refusal
    assert "RFC 4787" in refusal


def test_more_buckets_of_a_program_are_planned_for():
    found = made(owners=[kube_proxy({"hashsize": 2 * PLANNED})])
    assert found.buckets == found.hashsize == 2 * PLANNED
    assert found.refusals == []


def test_a_file_that_others_than_root_may_write_moves_nothing_and_holds_nothing_up():
    there = {"exposed": [{"path": "/etc/sysctl.d/zz.conf", "why": "everybody may write /etc/sysctl.d/zz.conf"}]}
    found = made(outcome(), changes=there)
    assert (found.max, found.refusals) == (PLANNED, [])
    (warning,) = [warning for warning in found.warnings if "everybody may write" in warning]
    assert "/etc/sysctl.d/zz.conf" in warning
    will = {MAX: {"value": 1000, "source": "/etc/sysctl.d/zz.conf:12"}}
    changes = dict(as_planned(made()), **there)
    assert not made(outcome(boot=will), changes=changes).converged
    assert made(dict(outcome(boot=will), exposed=[MAX]), changes=changes).converged
    again = plan.recheck(found, examples.facts(dict(there, outcome=outcome())), examples.policy_of())
    assert again.warnings == found.warnings


def test_root_does_not_write_where_others_can():
    there = {"exposed": [{"path": "/etc/sysctl.d", "why": "everybody may write /etc/sysctl.d"}]}
    (refusal,) = made(outcome(), changes=there).refusals
    assert "everybody may write /etc/sysctl.d, so that root cannot write there safely" in refusal
    services = {"services": dict(examples.facts()["services"], firewalld=FIREWALLD)}
    assert [drift.kind for drift in made(outcome(), changes=services).drift].count("service") == 1
    there = {"exposed": [{"path": "/etc/firewalld/firewalld.conf", "why": "group 7 may write /etc/firewalld"}]}
    found = made(outcome(), changes=dict(services, **there))
    assert (found.refusals, [drift for drift in found.drift if drift.kind == "service"]) == ([], [])


FIREWALLD = {"version": "1.3.3", "active": True, "cleanup_modules_on_exit": "yes"}


def test_lines_that_are_not_told_are_not_taken_for_none():
    (refusal,) = made(outcome(), changes={"left_out": {"outcome.overriding": 3}}).refusals
    assert refusal.startswith("outcome.overriding: 3 more lines win over")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/sysctl.d/\\x1b.conf", "net.netfilter.nf_conntrack_max = 5"),
        ("/etc/sysctl.d/zz.conf... (99 more)", "net.netfilter.nf_conntrack_max = 5"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = 5\\x1b"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = 5... (99 more)"),
        ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_max = " + "5" * 267 + "... (99 more)"),
    ],
)
def test_what_is_shown_otherwise_than_it_is_cannot_be_taken_over(path, text):
    line = dict(overriding(5, path=path), text=text)
    (refusal,) = made(outcome(line), takeover=True).refusals
    assert refusal.endswith("; take it out there")


UNTOLD = {
    "untold": ["812 processes"],
    "table.max": 4 * PLANNED,
    "table.buckets": 4 * PLANNED,
    "table.expect_max": 99999,
}


@pytest.mark.parametrize("asked", [{}, {"max": PLANNED}, {"hashsize": PLANNED}], ids=repr)
def test_nothing_is_lowered_where_not_all_was_told(asked):
    found = made(changes=UNTOLD, shrink=True, memory_percent=10, max_ceiling=PLANNED, **asked)
    assert (found.max, found.buckets, found.expect_max, found.refusals) == (4 * PLANNED, 4 * PLANNED, 99999, [])
    assert any("nothing is lowered" in warning and "812 processes" in warning for warning in found.warnings)
    told = made(changes=dict(UNTOLD, untold=[]), shrink=True, memory_percent=10, max_ceiling=PLANNED, **asked)
    assert told.max == PLANNED


@pytest.mark.parametrize(
    "owner",
    [
        kube_proxy({MAX: 1000}, at_boot=False),
        kube_proxy({MAX: None}),
        kube_proxy({MAX: 1000}, path="/etc/ufw/sysctl.conf"),
    ],
    ids=["only once", "nobody knows what", "a line, which can go"],
)
def test_owners_that_are_not_stepped_aside_for(owner):
    assert made(owners=[owner]).max == PLANNED


def test_an_image_has_none_of_the_programs_of_the_host_that_builds_it():
    assert made(owners=[kube_proxy({MAX: 1000})], apply=False).max == PLANNED


def test_what_a_program_will_set_is_no_drift_of_the_outcome():
    owner = kube_proxy({MAX: 100000})
    changes = as_planned(made(owners=[owner], changes={"table.max": 120000}))
    will = outcome(boot={MAX: {"value": 100000, "source": "kube-proxy"}})
    assert made(will, [owner], changes).converged


def test_a_plan_that_stands_is_checked_against_new_lines():
    first = made()
    facts = examples.facts(dict(as_planned(first), outcome=outcome(overriding(1000))))
    assert plan.recheck(first, facts, examples.policy_of()).refusals
