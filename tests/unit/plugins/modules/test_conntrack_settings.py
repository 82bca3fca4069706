# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The module conntrack_settings, run for real against a kernel in memory."""

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed")

from ansible_collections.headroom.netfilter.plugins.modules import conntrack_settings
from ansible_collections.headroom.netfilter.tests.unit.fakes import (
    ESTABLISHED,
    ESTABLISHED_KEY,
    EXPECT_MAX,
    EXPECT_MAX_KEY,
    HASHSIZE,
    MAX,
    MAX_KEY,
    FakeKernel,
)

GROW = {"max": 262144, "buckets": 131000, "expect_max": 2048, "timeouts": {"tcp_established": 7440}}
BEFORE = {"hashsize": 65536, MAX_KEY: 65536, EXPECT_MAX_KEY: 1024, ESTABLISHED_KEY: 432000}
AFTER = {"hashsize": 131072, MAX_KEY: 262144, EXPECT_MAX_KEY: 2048, ESTABLISHED_KEY: 7440}


@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_grow(run_module, check_mode):
    host = FakeKernel()
    result = run_module(conntrack_settings, host, check_mode, **GROW)
    assert (result["changed"], result["before"], result["after"]) == (True, BEFORE, AFTER)
    assert result["diff"] == [
        {
            "before_header": "live kernel",
            "after_header": "live kernel",
            "before": "hashsize = 65536\n"
            "net.netfilter.nf_conntrack_expect_max = 1024\n"
            "net.netfilter.nf_conntrack_max = 65536\n"
            "net.netfilter.nf_conntrack_tcp_timeout_established = 432000\n",
            "after": "hashsize = 131072\n"
            "net.netfilter.nf_conntrack_expect_max = 2048\n"
            "net.netfilter.nf_conntrack_max = 262144\n"
            "net.netfilter.nf_conntrack_tcp_timeout_established = 7440\n",
        }
    ]
    written = [(HASHSIZE, 131072), (MAX, 262144), (EXPECT_MAX, 2048), (ESTABLISHED, 7440)]
    assert host.written == ([] if check_mode else written)


def test_the_second_time_changes_nothing(run_module):
    host = FakeKernel()
    run_module(conntrack_settings, host, **GROW)
    for check_mode in (False, True):
        result = run_module(conntrack_settings, host, check_mode, **GROW)
        assert (result["changed"], result["before"], result["after"]) == (False, AFTER, AFTER)
        assert [shown["before"] for shown in result["diff"]] == [shown["after"] for shown in result["diff"]]
    assert len(host.written) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max": 32768}, "32768 asked for, but 65536 is in force"),
        ({"max": 999, "shrink": True}, "999 asked for, but 1000 flows are in use"),
        ({"max": -1}, "max: -1 will not do"),
        ({"timeouts": {"tcp_establish": 1}}, "did you mean tcp_established?"),
        ({"timeouts": {"dccp_open": 60}}, "this kernel has no such setting"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["real", "check"])
def test_refused(run_module, options, said, check_mode):
    host = FakeKernel()
    result = run_module(conntrack_settings, host, check_mode, **options)
    assert result["failed"] is True
    assert said in result["msg"]
    assert host.attempts == []


def test_what_fails_is_put_back(run_module):
    host = FakeKernel()
    host.fails_at = (4,)
    result = run_module(conntrack_settings, host, **GROW)
    assert result["failed"] is True
    assert result["msg"].endswith("what had been changed is again what it was before")
    assert (host.values[MAX], host.values[HASHSIZE], host.values[EXPECT_MAX]) == (65536, 65536, 1024)
    assert result["state"] == "undone"
    assert result["restored"] == [EXPECT_MAX_KEY + " is 1024", MAX_KEY + " is 65536", "hashsize is 65536"]
    assert result["not_restored"] == []


@pytest.mark.parametrize(
    "options",
    [{}, {"max": None, "buckets": None, "expect_max": None}, {"timeouts": {}}],
    ids=["none", "null", "empty"],
)
def test_nothing_asked_for(run_module, options):
    result = run_module(conntrack_settings, FakeKernel(), **options)
    assert (result["changed"], result["before"], result["after"]) == (False, {}, {})


def test_text_as_templates_give_it(run_module):
    host = FakeKernel()
    result = run_module(conntrack_settings, host, max="32768", timeouts={"tcp_established": "7440"}, shrink="yes")
    assert result["after"] == {MAX_KEY: 32768, ESTABLISHED_KEY: 7440}


def test_what_is_returned_is_what_is_documented(run_module):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    documented = yaml.safe_load(conntrack_settings.RETURN)
    of_every_module = {"changed", "diff", "invocation", "failed", "msg", "exception"}
    for host, kind in ((FakeKernel(), "success"), (FakeKernel(), "failure")):
        if kind == "failure":
            host.fails_at = (2,)
        result = run_module(conntrack_settings, host, **GROW)
        # Stale is what is not so here.
        wanted = {name for name, said in documented.items() if said["returned"] in ("always", kind)} - {"stale"}
        assert set(result) - of_every_module == wanted
