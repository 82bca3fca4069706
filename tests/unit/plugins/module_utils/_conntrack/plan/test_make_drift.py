# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What is written where, and what differs from the plan: live values, files, services."""

import hashlib

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Drift
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    NOT_LOADED,
    NOT_ROOT,
    assignments,
    contents,
    facts,
    planned,
)

SYSCTL = "/etc/sysctl.d/99-conntrack.conf"
MODPROBE = "/etc/modprobe.d/nf_conntrack.conf"
MODULES_LOAD = "/etc/modules-load.d/nf_conntrack.conf"
UDEV = "/etc/udev/rules.d/90-conntrack.rules"
BUCKETS, MAX, EXPECT_MAX = ("net.netfilter.nf_conntrack_" + name for name in ("buckets", "max", "expect_max"))
BUILTIN = {"state": "builtin"}
NO_SYSTEMD = {"services.systemd_sysctl": None}
FIREWALLD, IPTABLES = "/etc/firewalld/firewalld.conf", "/etc/sysconfig/iptables-config"


@pytest.mark.parametrize(
    ("changes", "fields", "files"),
    [
        ({}, {}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
        (NOT_LOADED, {}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
        (NO_SYSTEMD, {}, [SYSCTL, MODPROBE, MODULES_LOAD]),
        (BUILTIN, {}, [SYSCTL]),
        (CONTAINER, {}, []),
        (dict(BUILTIN, **CONTAINER), {}, []),
        (NOT_ROOT, {}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
        ({"state": "absent"}, {}, []),
        # An image is built: its kernel may be another.
        ({}, {"apply": False}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
        (BUILTIN, {"apply": False}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
        (CONTAINER, {"apply": False}, [SYSCTL, MODPROBE, MODULES_LOAD, UDEV]),
    ],
    ids=[
        "loaded",
        "not loaded",
        "no systemd",
        "built in",
        "container",
        "container, built in",
        "not root",
        "absent",
        "image",
        "image, built in",
        "image in a container",
    ],
)
def test_files_by_kind_of_host(changes, fields, files):
    plan = planned(changes, **fields)
    assert plan.files == files
    assert plan.systemd_sysctl == facts(changes)["services"]["systemd_sysctl"] or "absent" in changes.values()


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, [MAX, EXPECT_MAX]),
        (NOT_LOADED, [MAX, EXPECT_MAX]),
        ({"table.expect_max": None}, [MAX]),
        # Where modprobe.d means nothing; a limit is never in force with too few.
        (BUILTIN, [BUCKETS, MAX, EXPECT_MAX]),
    ],
    ids=["loaded", "not loaded", "no expectations", "built in"],
)
def test_sysctl_in_the_order_it_is_applied(changes, first):
    plan = planned(changes)
    keys = list(plan.sysctl)
    assert keys[: len(first)] == first
    timeouts = keys[len(first) :]
    assert timeouts == sorted(timeouts)
    assert len(timeouts) == len(plan.timeouts) == 15
    assert plan.sysctl[MAX] == plan.max
    assert plan.sysctl.get(EXPECT_MAX) == plan.expect_max
    assert plan.sysctl.get(BUCKETS, plan.buckets) == plan.buckets


# Live values.


def test_live_values_that_differ():
    plan = planned({"table.max": 262144, "table.buckets": 8192})
    assert [(drift.kind, drift.name, drift.found, drift.wanted) for drift in plan.drift] == [
        ("live", "hashsize", 8192, 262144),
        ("live", EXPECT_MAX, 128, 4096),
        ("live", "net.netfilter.nf_conntrack_generic_timeout", 600, 300),
        ("live", "net.netfilter.nf_conntrack_icmp_timeout", 30, 10),
        ("live", "net.netfilter.nf_conntrack_icmpv6_timeout", 30, 10),
        ("live", "net.netfilter.nf_conntrack_tcp_timeout_established", 432000, 7440),
        ("live", "net.netfilter.nf_conntrack_tcp_timeout_fin_wait", 120, 60),
        ("live", "net.netfilter.nf_conntrack_tcp_timeout_syn_recv", 60, 30),
        ("live", "net.netfilter.nf_conntrack_tcp_timeout_syn_sent", 120, 60),
        ("live", "net.netfilter.nf_conntrack_tcp_timeout_time_wait", 120, 60),
    ]
    assert plan.drift[0].said == "hashsize: 8192 found, 262144 planned"
    assert not plan.converged


@pytest.mark.parametrize(
    ("changes", "fields"),
    [(NOT_LOADED, {}), ({}, {"apply": False}), ({"state": "absent"}, {}), (CONTAINER, {})],
    ids=["not loaded", "not to be applied", "absent", "container"],
)
def test_no_live_drift(changes, fields):
    assert [drift for drift in planned(changes, **fields).drift if drift.kind == "live"] == []


def test_without_root_drift_is_refused_and_no_drift_is_not():
    (refusal,) = planned(NOT_ROOT).refusals
    assert refusal == "root is needed to change this host; run with --become"
    plan = planned(NOT_ROOT, max=8192, max_floor=1, hashsize=8192, timeout_profile="kernel")
    assert (plan.drift, plan.refusals, plan.converged) == ([], [], True)


# Files.

ALL = (SYSCTL, MODPROBE, MODULES_LOAD, UDEV)
CONTENTS = contents(planned(apply=False))


def saying(texts):
    """What renders a plan's files so."""
    return lambda plan: {path: texts[path] for path in plan.files}


def as_planned(path, text=None):
    text = CONTENTS[path] if text is None else text
    sha256 = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return {"sha256": sha256, "mode": "0644", "owner": "root", "group": "root", "ours": True}


def with_files(**changes):
    """The files of the example as planned, but for some."""
    return {"files": dict({path: as_planned(path) for path in ALL}, **changes)}


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"ours": False}, None),
        (None, "not there"),
        ({"sha256": "0" * 64}, "sha256 not as planned"),
        ({"mode": "0600"}, "mode not as planned"),
        ({"owner": "nobody"}, "owner not as planned"),
        ({"group": "1000", "mode": "0666"}, "mode, group not as planned"),
    ],
    ids=["as planned", "by another hand", "missing", "contents", "mode", "owner", "two things"],
)
def test_a_file_that_differs(path, changes, said):
    found = None if changes is None else dict(as_planned(path), **changes)
    plan = planned(with_files(**{path: found}), saying(CONTENTS), apply=False)
    wanted = {name: value for name, value in as_planned(path).items() if name != "ours"}
    was = found and {name: value for name, value in found.items() if name != "ours"}
    assert plan.drift == ([Drift("file", path, was, wanted, f"{path}: {said}")] if said else [])
    assert plan.converged == (said is None)


def test_files_are_not_looked_at_without_their_contents():
    assert planned(apply=False).drift == []


def test_files_that_the_host_does_not_need_are_not_looked_at():
    assert [drift.name for drift in planned(BUILTIN, saying(CONTENTS)).drift if drift.kind == "file"] == [SYSCTL]
    assert planned(CONTAINER, saying(CONTENTS)).drift == []


def test_text_is_compared_as_it_is_encoded():
    text = "# Gr\u00fc\u00dfe\n" + CONTENTS[SYSCTL]
    found = as_planned(SYSCTL, text)
    assert planned(with_files(**{SYSCTL: found}), saying(dict(CONTENTS, **{SYSCTL: text})), apply=False).drift == []


def test_a_bad_modprobe_line_is_refused_before_it_is_written():
    bad = dict(CONTENTS, **{MODPROBE: "# managed\noptions nf_conntrack hashsize = 131072\n"})
    first, foreseen = planned({}, saying(bad)).refusals
    assert first.startswith(MODPROBE + ":2: ")
    assert "the load fails: {0}:2".format(MODPROBE) in foreseen
    # Where it is not written, it does not matter.
    builtin = dict(bad, **contents(planned(BUILTIN)))
    assert planned(BUILTIN, saying(builtin)).refusals == []


# Services.


UNLOADING = {FIREWALLD: "CleanupModulesOnExit=no", IPTABLES: 'IPTABLES_MODULES_UNLOAD="no"'}


def unloading(path, text, unloads=True):
    """Of the firewall with this configuration, the line that counts."""
    lines = [] if text is None else [{"path": path, "line": 3, "text": text}]
    name = "firewalld" if path == FIREWALLD else "iptables"
    return {"services." + name: {"unloads": unloads}, "assignments": assignments(unloading=lines)}


@pytest.mark.parametrize(
    ("path", "text", "unloads", "found"),
    [
        (FIREWALLD, "CleanupModulesOnExit = yes", True, "CleanupModulesOnExit = yes"),
        (FIREWALLD, "CleanupModulesOnExit=maybe", True, "CleanupModulesOnExit=maybe"),
        (FIREWALLD, "CleanupModulesOnExit=maybe", False, None),
        (FIREWALLD, "CleanupModulesOnExit=no", False, None),
        # Where it takes for granted that it unloads, and where it knows no such setting.
        (FIREWALLD, "", True, ""),
        (FIREWALLD, None, True, None),
        (IPTABLES, "\texport IPTABLES_MODULES_UNLOAD=yes # so", True, "export IPTABLES_MODULES_UNLOAD=yes # so"),
        (IPTABLES, "", True, ""),
        (IPTABLES, 'IPTABLES_MODULES_UNLOAD="yes"', False, None),
    ],
)
@pytest.mark.parametrize("firewall", [True, False], ids=["kept", "left"])
def test_services_that_unload_the_module(path, text, unloads, found, firewall):
    """The line that counts is swapped, or one is added where none does."""
    plan = planned(unloading(path, text, unloads), apply=False, firewall=firewall)
    drift = [(one.kind, one.name, one.found, one.wanted) for one in plan.drift]
    if found is None or not firewall:
        assert (drift, plan.lines) == ([], [])
    else:
        assert drift == [("service", path, found or None, UNLOADING[path])]
        assert plan.lines == [{"path": path, "found": found, "wanted": UNLOADING[path]}]


@pytest.mark.parametrize(("apply", "kinds"), [(True, []), (False, ["service"])], ids=["live", "image"])
def test_services_of_a_container_are_those_of_the_image(apply, kinds):
    changes = dict(CONTAINER, **unloading(IPTABLES, "IPTABLES_MODULES_UNLOAD=yes"))
    assert [drift.kind for drift in planned(changes, apply=apply).drift] == kinds
