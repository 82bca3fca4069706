# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The facts of every golden host are as written down, for root and for others; README.md says how they are checked."""

import json
import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.tests.unit import golden

# What each host is there to show.
STATES = {
    "aarch64_64k": ("loaded", "nf_conntrack"),
    "armv7": ("loaded", "nf_conntrack"),
    "builtin_618": ("builtin", "nf_conntrack"),
    "centos5": ("loaded", "ip_conntrack"),
    "centos6": ("loaded", "nf_conntrack"),
    "centos7_firewalld": ("loaded", "nf_conntrack"),
    "container_readonly": ("builtin", "nf_conntrack"),
    "debian11": ("loaded", "nf_conntrack"),
    "debian11_loadable": ("loadable", "nf_conntrack"),
    "debian12": ("loaded", "nf_conntrack"),
    "debian13": ("loaded", "nf_conntrack"),
    "no_conntrack": ("absent", "nf_conntrack"),
    "ubuntu1604": ("loaded", "nf_conntrack"),
}


@pytest.fixture(params=golden.NAMES)
def name(request):
    return request.param


@pytest.fixture
def expected(name):
    return golden.load(name, "facts")


def test_as_root(tree, name, expected):
    assert golden.gathered(golden.GoldenHost(name, tree(name))) == expected["root"]


def test_as_another_user(tree, name, expected):
    found = golden.gathered(golden.GoldenHost(name, tree(name), as_root=False))
    assert found == golden.overlaid(expected["root"], expected["user"])


def test_what_another_user_may_not_read_is_listed(tree, name, expected):
    listed = golden.overlaid(expected["root"], expected["user"])["unreadable"]
    assert expected["root"]["unreadable"] == golden.load(name)["denied"] == []
    for path in listed:
        assert os.path.isfile(tree(name) + path)
        assert not os.stat(tree(name) + path).st_mode & 0o004


def test_facts_are_plain_data(tree, name):
    found = gather(golden.GoldenHost(name, tree(name)), ["all"])
    assert json.loads(json.dumps(found)) == found


def test_the_sums_of_what_is_written_down(name, expected):
    """Against a slip of the pen: numbers that follow from others do."""
    for facts in (expected["root"], golden.overlaid(expected["root"], expected["user"])):
        table, pointer = facts["table"], facts["kernel"]["pointer_bytes"]
        if facts["state"] not in ("loaded", "builtin"):
            assert {
                table[key] for key in ("count", "max", "buckets", "expect_max", "usage", "chain", "full_bytes")
            } == {None}
            continue
        assert table["usage"] == pytest.approx(table["count"] / table["max"], abs=5e-7)
        assert table["chain"] == pytest.approx(2 * table["count"] / table["buckets"], abs=5e-5)
        assert table["full_bytes"] == table["max"] * table["entry_bytes"] + table["buckets"] * pointer


def test_nobody_has_set_the_expectations_of_these_hosts(expected):
    """So that the kernels' own numbers, most of them captured, tell whether ours are theirs."""
    found, buckets = expected["root"]["table"]["expect_max"], expected["root"]["table"]["buckets"]
    if expected["root"]["state"] not in ("loaded", "builtin") or expected["root"]["flavour"] == "ip_conntrack":
        assert found is None
    else:
        assert found == kernel.expect_max(buckets)


def test_nobody_has_persisted_anything_on_these_hosts(expected):
    """So that the kernels' own numbers, most of them captured, tell whether the ones that we foresee are theirs."""
    facts = expected["root"]
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    live = {"hashsize": "buckets", prefix + "max": "max", prefix + "expect_max": "expect_max"}
    if facts["state"] in ("loaded", "builtin") and facts["flavour"] == "nf_conntrack":
        assert {key: facts["outcome"]["boot"][key]["value"] for key in live} == {
            key: facts["table"][name] for key, name in live.items()
        }
        assert set(facts["outcome"]["boot"]) == set(live)


def test_every_timeout_has_a_name_that_can_be_asked_for(expected):
    assert set(expected["root"]["timeouts"]) <= set(kernel.TIMEOUTS)


@pytest.mark.parametrize("name", STATES)
def test_state_and_flavour(name):
    facts = golden.load(name, "facts")["root"]
    assert (facts["state"], facts["flavour"]) == STATES[name]


def test_no_host_is_left_out():
    assert set(STATES) == set(golden.NAMES)


def test_denied_paths_are_listed_and_nothing_is_raised(tree):
    host = golden.GoldenHost("debian12", tree("debian12"))
    host._said["denied"] = ["/proc/meminfo", "/proc/sys/net/netfilter", "/usr/lib", "/etc/firewalld/firewalld.conf"]
    facts = gather(host, ["all"])
    assert facts["state"] == "loaded"
    assert facts["memory"] == {"total_bytes": None, "available_bytes": None}
    assert facts["timeouts"] == {}
    assert facts["table"]["buckets"] == 8192
    assert facts["services"]["firewalld"]["version"] is None
    assert set(facts["unreadable"]) == {
        "/etc/firewalld/firewalld.conf",
        "/proc/meminfo",
        "/proc/sys/net/netfilter",
        "/proc/sys/net/netfilter/nf_conntrack_count",
        "/proc/sys/net/netfilter/nf_conntrack_expect_max",
        "/proc/sys/net/netfilter/nf_conntrack_max",
        "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
        "/proc/sys/net/netfilter/nf_conntrack_tcp_loose",
        "/usr/lib",
        "/usr/lib/modprobe.d",
        "/usr/lib/modules-load.d",
        "/usr/lib/sysctl.d",
        "/usr/lib/udev/rules.d",
    }
