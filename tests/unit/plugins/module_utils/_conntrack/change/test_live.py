# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Live values: what is written, in which order, and what is refused before anything is."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import Asked, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.tests.unit.fakes import (
    BUCKETS,
    ESTABLISHED,
    ESTABLISHED_KEY,
    EXPECT_MAX,
    EXPECT_MAX_KEY,
    HASHSIZE,
    LIBERAL,
    LOOSE,
    MAX,
    MAX_KEY,
    UDP,
    FakeKernel,
)

# What is there, what is asked for, what is then written, in order.
ORDER = [
    (
        "growing",
        {"limit": 65536, "buckets": 65536},
        {"max": 262144, "buckets": 131072},
        [(HASHSIZE, 131072), (MAX, 262144)],
    ),
    (
        "shrinking",
        {"limit": 262144, "buckets": 131072},
        {"max": 65536, "buckets": 65536, "shrink": True},
        [(MAX, 65536), (HASHSIZE, 65536)],
    ),
    (
        "more buckets and a lower limit",
        {"limit": 262144, "buckets": 65536},
        {"max": 131072, "buckets": 131072, "shrink": True},
        [(HASHSIZE, 131072), (MAX, 131072)],
    ),
    (
        "fewer buckets and a higher limit",
        {"limit": 65536, "buckets": 65536},
        {"max": 131072, "buckets": 32768, "shrink": True},
        [(MAX, 131072), (HASHSIZE, 32768)],
    ),
    (
        "timeouts after growing",
        {},
        {"max": 131072, "buckets": 131072, "timeouts": {"udp": 20, "tcp_established": 7440}},
        [(HASHSIZE, 131072), (MAX, 131072), (ESTABLISHED, 7440), (UDP, 20)],
    ),
    (
        "switches with the timeouts",
        {},
        {"max": 131072, "switches": {"tcp_loose": False, "tcp_be_liberal": 1}, "timeouts": {"udp": 20}},
        [(MAX, 131072), (UDP, 20), (LIBERAL, 1), (LOOSE, 0)],
    ),
    (
        "timeouts before shrinking",
        {},
        {"max": 32768, "buckets": 32768, "timeouts": {"tcp_established": 7440}, "shrink": True},
        [(ESTABLISHED, 7440), (MAX, 32768), (HASHSIZE, 32768)],
    ),
    (
        "what is so already is not written",
        {},
        {"max": 65536, "buckets": 131072, "timeouts": {"udp": 30}},
        [(HASHSIZE, 131072)],
    ),
    (
        "expectations with the limit, growing",
        {},
        {"expect_max": 2048, "max": 131072, "buckets": 131072, "timeouts": {"udp": 20}},
        [(HASHSIZE, 131072), (MAX, 131072), (EXPECT_MAX, 2048), (UDP, 20)],
    ),
    (
        "expectations with the limit, shrinking",
        {},
        {"expect_max": 512, "max": 32768, "buckets": 32768, "timeouts": {"udp": 20}, "shrink": True},
        [(UDP, 20), (EXPECT_MAX, 512), (MAX, 32768), (HASHSIZE, 32768)],
    ),
    ("only the expectations", {}, {"expect_max": 1025}, [(EXPECT_MAX, 1025)]),
    (
        "the first expectations are more, where a limit of 0 is none",
        {"expect_max": 0},
        {"expect_max": 1, "timeouts": {"udp": 20}},
        [(EXPECT_MAX, 1), (UDP, 20)],
    ),
    ("no expectations", {}, {"expect_max": 0, "shrink": True}, [(EXPECT_MAX, 0)]),
    ("expectations that are so already", {}, {"expect_max": 1024}, []),
    ("only the limit", {}, {"max": 131072}, [(MAX, 131072)]),
    ("only a timeout", {}, {"timeouts": {"udp": 31}}, [(UDP, 31)]),
    ("nothing", {}, {}, []),
]


@pytest.mark.parametrize(("kernel", "asked", "written"), [case[1:] for case in ORDER], ids=[c[0] for c in ORDER])
def test_order(kernel, asked, written):
    host = FakeKernel(**kernel)
    outcome = run(host, read(asked))
    assert host.written == written
    assert outcome["changed"] == bool(written)
    assert host.chains_stayed_short()


@pytest.mark.parametrize(("kernel", "asked", "written"), [case[1:] for case in ORDER], ids=[c[0] for c in ORDER])
def test_check_mode_foretells_the_real_run_and_writes_nothing(kernel, asked, written):
    checked, real = FakeKernel(**kernel), FakeKernel(**kernel)
    foretold, done = run(checked, read(asked), check=True), run(real, read(asked))
    for name in ("changed", "before", "after", "diff", "reboot_needed"):
        assert foretold[name] == done[name]
    assert checked.attempts == []


@pytest.mark.parametrize(("kernel", "asked", "written"), [case[1:] for case in ORDER], ids=[c[0] for c in ORDER])
def test_the_second_time_changes_nothing(kernel, asked, written):
    host = FakeKernel(**kernel)
    first = run(host, read(asked))
    del host.written[:]
    second = run(host, read(asked))
    assert (second["changed"], host.written) == (False, [])
    assert second["before"] == second["after"] == first["after"]


ASKED = {"max": 131072, "buckets": 65536, "expect_max": 2048, "timeouts": {"tcp_established": 7440}}


def test_before_and_after_tell_what_was_asked_for():
    outcome = run(FakeKernel(), read(ASKED))
    assert outcome["before"] == {"hashsize": 65536, MAX_KEY: 65536, EXPECT_MAX_KEY: 1024, ESTABLISHED_KEY: 432000}
    assert outcome["after"] == {"hashsize": 65536, MAX_KEY: 131072, EXPECT_MAX_KEY: 2048, ESTABLISHED_KEY: 7440}


@pytest.mark.parametrize(
    ("machine", "page", "asked", "found"),
    [
        ("x86_64", 4096, 70000, 70144),
        ("x86_64", 4096, 70144, 70144),
        ("aarch64", 65536, 70000, 73728),
        ("armv7l", 4096, 70000, 70656),
    ],
    ids=["4 KiB", "whole pages", "64 KiB", "32 bit"],
)
def test_rounded_buckets_count_as_asked(machine, page, asked, found):
    host = FakeKernel()
    host.machine_name, host.page = machine, page
    assert run(host, Asked(buckets=asked))["after"] == {"hashsize": found}
    assert host.values[HASHSIZE] == found
    assert not run(host, Asked(buckets=asked))["changed"]
    assert len(host.written) == 1


def test_the_sysctl_serves_where_the_parameter_cannot_be_written():
    host = FakeKernel()
    host.locked.add(HASHSIZE)
    run(host, Asked(buckets=131072))
    assert host.written == [(BUCKETS, 131072)]


# What is there, what is asked for, what is said.
REFUSED = [
    (
        "limit",
        {},
        {"max": 32768},
        MAX_KEY + ": 32768 asked for, but 65536 is in force; name at least that, or set shrink=true",
    ),
    ("buckets", {}, {"buckets": 32768}, "hashsize: 32768 asked for, but 65536 is in force"),
    (
        "expectations",
        {},
        {"expect_max": 1023},
        EXPECT_MAX_KEY + ": 1023 asked for, but 1024 is in force; name at least that, or set shrink=true",
    ),
    (
        "below the flows in use",
        {"count": 40000},
        {"max": 39999, "shrink": True},
        MAX_KEY + ": 39999 asked for, but 40000 flows are in use",
    ),
    (
        "below the flows in use of a table without a limit",
        {"limit": 0, "count": 40000},
        {"max": 39999},
        MAX_KEY + ": 39999 asked for, but 40000 flows are in use",
    ),
    (
        "chains that would refuse new flows",
        {"count": 12801},
        {"buckets": 512, "shrink": True},
        "hashsize: 512 asked for, but with 12801 flows in use the kernel would refuse new ones for chains longer than 50; "
        "name at least 513",
    ),
    (
        "no such timeout",
        {},
        {"timeouts": {"dccp_open": 60}},
        "dccp_timeout_open (None found, 60 asked for): this kernel has no such setting",
    ),
    (
        "no such key",
        {"expect_max": None},
        {"expect_max": 2048},
        EXPECT_MAX_KEY + " (None found, 2048 asked for): this kernel has no such setting",
    ),
    (
        "another network namespace, expectations",
        {"first_netns": False},
        {"expect_max": 2048},
        EXPECT_MAX_KEY + " (1024 found, 2048 asked for): this is not the first network namespace",
    ),
    (
        "not root",
        {"root": False},
        {"max": 131072},
        MAX_KEY + " (65536 found, 131072 asked for): root is needed; run with become",
    ),
    ("not root, a timeout", {"root": False}, {"timeouts": {"udp": 20}}, "root is needed; run with become"),
    (
        "not root, shown by the sysctl alone",
        {"root": False},
        {"buckets": 131072},
        "hashsize (65536 found, 131072 asked for): root is needed",
    ),
    (
        "another network namespace",
        {"first_netns": False},
        {"max": 131072, "buckets": 131072, "timeouts": {"udp": 20}},
        "hashsize (65536 found, 131072 asked for), " + MAX_KEY + " (65536 found, 131072 asked for): "
        "this is not the first network namespace",
    ),
]


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize(("kernel", "asked", "said"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused_before_anything_is_written(kernel, asked, said, check):
    host = FakeKernel(**kernel)
    with pytest.raises(ChangeError) as caught:
        run(host, read(asked), check)
    assert said in str(caught.value)
    assert host.attempts == []


@pytest.mark.parametrize(
    ("kernel", "asked"),
    [
        ({"root": False}, {"max": 65536, "buckets": 65536, "timeouts": {"udp": 30}}),
        ({"first_netns": False}, {"max": 65536, "buckets": 65500, "expect_max": 1024}),
        ({"first_netns": False}, {"max": 65536, "timeouts": {"udp": 20}}),
        ({"count": 40000}, {"max": 40000, "shrink": True}),
        ({"limit": 0}, {"max": 65536}),
        ({"limit": 1000, "count": 5000}, {"max": 2000}),
    ],
    ids=[
        "not root, but all is so",
        "another namespace, but all is so",
        "another namespace, its own timeouts",
        "just the flows in use",
        "a first limit is not a lower one",
        "a rise that is still too low is a rise",
    ],
)
def test_not_refused(kernel, asked):
    host = FakeKernel(**kernel)
    outcome = run(host, read(asked))
    assert outcome["after"].get(MAX_KEY) == asked["max"] == host.values[MAX]


def test_chains_of_fifty_are_not_too_long():
    host = FakeKernel(count=12800)
    run(host, read({"buckets": 512, "shrink": True}))
    assert host.values[HASHSIZE] == 512


def test_a_read_only_proc_sys_is_said_with_its_container():
    host = FakeKernel()
    host.locked |= {MAX, BUCKETS, HASHSIZE} | {path for path in host.values if "timeout" in path}
    host.texts["/run/systemd/container"] = "lxc\n"
    with pytest.raises(ChangeError) as caught:
        run(host, Asked(timeouts={"udp": 20}))
    assert "read-only here, in a container of kind lxc; run on the host" in str(caught.value)


def test_a_module_that_is_not_loaded_is_said():
    host = FakeKernel(timeouts={})
    host.values.clear()
    del host.texts["/sys/module/nf_conntrack"]
    with pytest.raises(ChangeError) as caught:
        run(host, Asked(max=65536))
    assert "nf_conntrack is not loaded; load it first, or only persist" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max": 0}, "max: 0 will not do: expected a whole number of entries from 1 to 2147483647"),
        ({"expect_max": -1}, "expect_max: -1 will not do: expected a whole number of expectations from 0 to"),
        ({"buckets": 2**28}, "buckets: 268435456 will not do: expected a whole number of buckets from 1 to 268435455"),
        (
            {"timeouts": {"udp": 0}},
            "timeouts: {'udp': 0} will not do: udp: 0: expected a whole number of seconds from 1",
        ),
        ({"timeouts": {"upd": 30}}, "did you mean udp?"),
    ],
    ids=["limit", "expectations", "buckets", "timeout", "name"],
)
def test_options_that_will_not_do(options, said):
    with pytest.raises(ChangeError) as caught:
        read(options)
    assert said in str(caught.value)


@pytest.mark.parametrize("unset", [{}, dict.fromkeys(Asked._fields)], ids=["missing", "null"])
def test_what_is_not_given_is_left_alone(unset):
    outcome = run(FakeKernel(), read(unset))
    assert (outcome["changed"], outcome["before"], outcome["after"]) == (False, {}, {})
