# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Files are rendered from whole numbers and constants alone."""

import pytest
from jinja2 import UndefinedError

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import (
    KEYS,
    TEMPLATED,
    TEMPLATES,
    RenderError,
    rendered,
)
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

PLAN = plan.make(facts(), Policy(max=100000, timeout_profile="kernel", timeouts={"udp": 40}))

WANTED = {
    files.SYSCTL: """\
# Managed by headroom.netfilter.
# Written by the role headroom.netfilter.conntrack. systemd-sysctl applies it at boot, and the udev rule
# 90-conntrack.rules whenever the module is loaded later.

net.netfilter.nf_conntrack_max = 100000
net.netfilter.nf_conntrack_expect_max = 1568
net.netfilter.nf_conntrack_udp_timeout = 40
""",
    files.MODPROBE: """\
# Managed by headroom.netfilter.
# Written by the role headroom.netfilter.conntrack. Whoever loads the module gets these buckets, and at first a
# limit of 8 x hashsize.
options nf_conntrack hashsize=100352
""",
    files.MODULES_LOAD: """\
# Managed by headroom.netfilter.
# Written by the role headroom.netfilter.conntrack. The module is there at boot before systemd-sysctl sets its values.
nf_conntrack
""",
    files.UDEV: """\
# Managed by headroom.netfilter.
# Written by the role headroom.netfilter.conntrack. Each later load of the module gets the values of sysctl.d back.
ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter"
""",
}


def test_what_the_files_say():
    shown = {key: PLAN.sysctl[key] for key in PLAN.sysctl if key.endswith(("_max", "_udp_timeout"))}
    assert rendered(PLAN._replace(sysctl=shown)) == WANTED


@pytest.mark.parametrize("name", golden.NAMES)
def test_every_golden_host_has_its_files(name):
    made = plan.make(golden.load(name, "facts")["root"], Policy())
    found = rendered(made)
    assert list(found) == made.files
    for text in found.values():
        assert files.MARK in text.splitlines()[0]
        assert text[-1] == "\n" != text[-2]
    assert modprobe.problems(files.MODPROBE, found.get(files.MODPROBE, "")) == []


def test_every_managed_file_has_its_template():
    found = {"/" + str(path.relative_to(TEMPLATES))[: -len(".j2")] for path in TEMPLATES.rglob("*.j2")}
    assert found == set(TEMPLATED) == {*files.MANAGED, *files.BOOT} - {files.SIZER}


@pytest.mark.parametrize(
    "wrong",
    [
        {"hashsize": "65536"},
        {"hashsize": True},
        {"hashsize": 1.0},
        {"sysctl": {"net.netfilter.nf_conntrack_max": "1"}},
        {"sysctl": {"net.netfilter.nf_conntrack_max": None}},
        {"sysctl": {"net.netfilter.nf_conntrack_max\nkernel.core_pattern": 1}},
        {"sysctl": {"kernel.core_pattern": 1}},
        {"sysctl": {7: 1}},
        {"systemd_sysctl": "/tmp/x"},
        {"systemd_sysctl": '/usr/lib/systemd/systemd-sysctl", RUN+="/tmp/x'},
        {"systemd_sysctl": 7},
        {"files": ["/etc/passwd"]},
        {"files": ["../../tasks/main.yml"]},
    ],
)
def test_nothing_else_is_rendered(wrong):
    with pytest.raises(RenderError):
        rendered(PLAN._replace(**wrong))


class Clever(int):
    def __str__(self):
        return "1\nkernel.core_pattern = |/tmp/x"


def test_a_number_is_rendered_as_one():
    assert "hashsize=17\n" in rendered(PLAN._replace(hashsize=Clever(17)))[files.MODPROBE]


@pytest.mark.parametrize("name", ["hashsize", "systemd_sysctl"])
def test_what_the_plan_does_not_have_is_not_made_up(name):
    with pytest.raises(UndefinedError):
        rendered(PLAN._replace(**{name: None}))


def test_keys_are_those_that_a_plan_has():
    for name in golden.NAMES:
        assert set(plan.make(golden.load(name, "facts")["root"], Policy()).sysctl) <= KEYS
