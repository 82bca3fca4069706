# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrack_target=image: what is read is a builder's, and vetoes nothing. And where there is nothing to read it from."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import (
    MANAGED,
    MODPROBE,
    MODULES_LOAD,
    SYSCTL,
    UDEV,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import timeouts_of
from ansible_collections.headroom.netfilter.tests.unit.examples import CONTAINER, GIB, NOT_LOADED, planned, policy_of

MAX = "net.netfilter.nf_conntrack_max"
CHROOT = dict(NOT_LOADED, **{"state": "absent", "kernel.release": "", "memory.total_bytes": None})
KUBE_PROXY = {
    "name": "kube-proxy",
    "keys": {MAX: 1000},
    "evidence": "process 4711: kube-proxy",
    "remedy": "set conntrack.maxPerCore",
    "path": None,
    "line": None,
    "text": None,
    "at_boot": True,
}
BUILDERS = {
    "a host": {},
    "one without systemd-sysctl for it to tell": {"services": {"systemd_sysctl": "/lib/systemd/systemd-sysctl"}},
    "built in": {"state": "builtin"},
    "no conntrack": dict(NOT_LOADED, state="absent"),
    "a chroot without /proc": CHROOT,
    "not loaded": NOT_LOADED,
    "a container": CONTAINER,
    "a very old one": {"flavour": "ip_conntrack", "table.expect_max": None, "timeouts": {"udp": 30}},
    "more in force": {"table.max": 4000000, "table.buckets": 4000256, "table.expect_max": 70000},
    "flows in use": {"table.count": 1000000, "table.max": 1000000},
    "little memory": {"memory.total_bytes": 2**24},
    "much memory": {"memory.total_bytes": 256 * GIB},
    "translating": {"kernel.nat": True},
    "a program": {"owners": [KUBE_PROXY]},
    "not all told": {"untold": ["812 processes"], "table.max": 999999},
}


@pytest.mark.parametrize(
    "asked", [{}, {"max": 500000}, {"expected_connections": 300000, "timeouts": {"gre": 9}}], ids=repr
)
@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_an_image_is_planned_the_same_wherever_it_is_built(builder, asked):
    plan = planned(builder, target="image", **asked)
    assert plan.files == [SYSCTL, MODPROBE, MODULES_LOAD, UDEV] == list(MANAGED)
    limit = {0: 65536, 1: 500000, 2: 600000}[len(asked)]
    assert (plan.max, plan.sysctl[MAX]) == (limit, limit)
    assert plan.hashsize == plan.buckets == -(-limit // 512) * 512
    assert plan.timeouts == timeouts_of(policy_of(**asked))
    assert plan.sysctl["net.netfilter.nf_conntrack_tcp_timeout_established"] == 7440
    assert plan.sysctl["net.netfilter.nf_conntrack_expect_max"] == plan.expect_max > 0
    assert (plan.refusals, plan.warnings) == ([], [])
    assert [drift for drift in plan.drift if drift.kind == "live"] == []


def test_the_memory_of_an_image_is_not_known():
    assert planned(target="image").reasons["max"] == "memory not known; raised to conntrack_max_floor"
    assert planned(target="image", expected_connections=3000000).refusals == [
        "conntrack_expected_connections: 3000000 do not fit into a limit of 2097152; raise conntrack_memory_percent or "
        "conntrack_max_ceiling, or name conntrack_max=6000000"
    ]


def test_an_image_without_systemd_has_no_rule_that_would_fail():
    plan = planned({"services.systemd_sysctl": None}, target="image", max=65536)
    assert plan.files == [SYSCTL, MODPROBE, MODULES_LOAD]
    assert plan.hashsize == 8192


@pytest.mark.parametrize("asked", [{}, {"apply": False}, {"apply": False, "max": 500000}], ids=repr)
def test_a_tree_without_proc_is_no_host_in_which_nothing_can_fill_up(asked):
    plan = planned(CHROOT, **asked)
    assert not plan.converged
    assert plan.refusals == [
        "conntrack_target: host, but there is no /proc to read the kernel from, as in a chroot; for an image set "
        "conntrack_target=image, for a host mount /proc"
    ]


def test_files_alone_for_a_kernel_that_has_no_use_for_them_are_refused():
    absent = dict(NOT_LOADED, state="absent")
    (refusal,) = planned(absent, apply=False).refusals
    assert refusal.startswith("conntrack_apply: false asks for the files alone, and the kernel of this host has no")
    assert "conntrack_target=image" in refusal
    assert planned(absent, apply=False, target="image").refusals == []
    assert planned(absent).converged
