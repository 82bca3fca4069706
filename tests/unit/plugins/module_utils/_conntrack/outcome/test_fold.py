# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What will be after a boot and after a load of the module, on trees of hosts; virtual machines judge the same in tests/outcome."""

import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import (
    Overriding,
    Value,
    outcome,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.owner import Owner
from ansible_collections.headroom.netfilter.tests.unit import examples

PREFIX = "net.netfilter.nf_conntrack_"
MAX, BUCKETS, EXPECT_MAX = PREFIX + "max", PREFIX + "buckets", PREFIX + "expect_max"
UDP, ESTABLISHED = PREFIX + "udp_timeout", PREFIX + "tcp_timeout_established"
HELPER = "/usr/lib/systemd/systemd-sysctl"
SYSCTL, MODPROBE = "/etc/sysctl.d/99-conntrack.conf", "/etc/modprobe.d/nf_conntrack.conf"
UDEV = "/etc/udev/rules.d/90-conntrack.rules"
RULE = 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="{0} --prefix=/net/netfilter"\n'

ALIAS = {"/proc/sys/net/nf_conntrack_max": "8192\n"}
EARLY = {"/etc/modules-load.d/local.conf": "nf_conntrack\n"}
LIMIT = {"/etc/sysctl.d/50-local.conf": MAX + " = 100000\n"}
HASHSIZE = {"/etc/modprobe.d/local.conf": "options nf_conntrack hashsize=5000\n"}
BROUGHT_BACK = {HELPER: "", "/etc/udev/rules.d/50-local.rules": RULE.format(HELPER)}
NOT_SYSTEMD = {"services.systemd_sysctl": None}

# Of a 4 GiB host without any file: more than 1 GiB, since 5.15.
DEFAULT = Value(65536, "kernel default")
SET = Value(100000, "/etc/sysctl.d/50-local.conf:1")


@pytest.fixture
def resolve(tmp_path):
    def run(tree, changes=(), owners=()):
        for path, text in tree.items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                target.symlink_to(text[3:])
            else:
                target.write_text(text)
        return outcome(Host(str(tmp_path)), examples.facts(changes), owners)[0]

    return run


def merged(*trees):
    return {path: text for tree in trees for path, text in tree.items()}


@pytest.mark.parametrize(
    ("tree", "boot", "reload"),
    [
        ({}, DEFAULT, DEFAULT),
        (merged(LIMIT, EARLY), SET, DEFAULT),
        (LIMIT, DEFAULT, DEFAULT),
        (merged(LIMIT, BROUGHT_BACK), SET, SET),
        (merged(LIMIT, EARLY, BROUGHT_BACK), SET, SET),
        (merged(LIMIT, {"/etc/udev/rules.d/50-local.rules": RULE.format(HELPER)}), DEFAULT, DEFAULT),
        (HASHSIZE, Value(40960, "8 x hashsize from /etc/modprobe.d/local.conf:1"), None),
        (merged(HASHSIZE, LIMIT, EARLY), SET, Value(40960, "8 x hashsize from /etc/modprobe.d/local.conf:1")),
        (
            merged({"/etc/sysctl.conf": MAX + "=5000\n"}, EARLY),
            DEFAULT,
            DEFAULT,
        ),
        (
            merged(
                {"/etc/sysctl.conf": "#\n" + MAX + "=5000\n", "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf"},
                EARLY,
            ),
            Value(5000, "/etc/sysctl.conf:2"),
            DEFAULT,
        ),
        (
            merged(LIMIT, {"/etc/sysctl.d/60-alias.conf": "net.nf_conntrack_max=7000\n"}, ALIAS, EARLY, BROUGHT_BACK),
            Value(7000, "/etc/sysctl.d/60-alias.conf:1"),
            SET,
        ),
        (
            merged(LIMIT, EARLY, {"/etc/modprobe.d/bad.conf": "options nf_conntrack hashsize = 5\n"}),
            Value(None, "the load fails: /etc/modprobe.d/bad.conf:1"),
            None,
        ),
        (
            merged(LIMIT, {"/etc/modprobe.d/own.conf": "install nf_conntrack /usr/local/bin/load-it\n"}),
            Value(None, "install command of /etc/modprobe.d/own.conf:1"),
            None,
        ),
        (
            merged(
                LIMIT,
                {
                    "/etc/modprobe.d/firewalld-sysctls.conf": "install nf_conntrack /usr/sbin/modprobe --ignore-install nf_conntrack $CMDLINE_OPTS && "
                    "/usr/sbin/sysctl --quiet --pattern 'net[.]netfilter[.]nf_conntrack.*' --system\n"
                },
            ),
            SET,
            None,
        ),
    ],
    ids=[
        "nothing",
        "loaded before sysctl.d is applied",
        "sysctl.d comes too early",
        "udev brings it back",
        "both",
        "a rule whose helper is not there",
        "hashsize",
        "hashsize, and a limit at boot",
        "sysctl.conf without a link",
        "sysctl.conf through its link",
        "the alias, which the rule passes over",
        "a load that fails",
        "an install command nobody knows",
        "firewalld's install command",
    ],
)
def test_the_limit(resolve, tree, boot, reload):
    found = resolve(tree)
    assert found.boot[MAX] == boot
    assert found.reload[MAX] == (reload or boot)


UDEV_CALLS = 'ACTION=="add", KERNEL=="nf_conntrack", RUN+="/usr/sbin/sysctl {0}"\n'


def test_a_pattern_that_is_not_understood_leaves_what_it_may_set_untold(resolve):
    rules = {UDEV: "#\n" + UDEV_CALLS.format("--pattern '([a-z_.]+)+$!' --system"), "/usr/sbin/sysctl": ""}
    found = resolve(merged(LIMIT, rules))
    assert found.reload[MAX] == Value(None, UDEV + ":2: --pattern ([a-z_.]+)+$! is not understood")
    assert found.reload[UDP] == Value(30, "kernel default")


def test_a_pattern_that_is_understood(resolve):
    others = {"/etc/sysctl.d/60.conf": UDP + "=45\n"}
    rules = {UDEV: UDEV_CALLS.format("-r '[.]nf_[a-z]*_udp|^$' --system"), "/usr/sbin/sysctl": ""}
    found = resolve(merged(LIMIT, others, rules))
    assert (found.reload[MAX], found.reload[UDP]) == (DEFAULT, Value(45, "/etc/sysctl.d/60.conf:1"))


@pytest.mark.parametrize(
    "rules", [UDEV_CALLS.format("-p /etc/sysctl.conf") * 40, UDEV_CALLS.format("-p /etc/sysctl.conf" * 40)]
)
def test_more_settings_than_are_read_are_untold(resolve, rules):
    start = time.process_time()
    found = resolve({"/etc/sysctl.conf": (MAX + "=5\n") * 9000, UDEV: rules * 99, "/usr/sbin/sysctl": ""})
    assert found.reload[MAX].value is None
    assert "more settings are applied than are read" in found.reload[MAX].source
    assert time.process_time() - start < 20


def test_every_key_of_the_host_has_an_outcome(resolve):
    found = resolve(merged(LIMIT, {"/etc/sysctl.d/60.conf": UDP + "=45\n"}, EARLY))
    expected = {"hashsize", MAX, EXPECT_MAX}
    assert expected < set(found.boot)
    assert len(found.boot) == len(expected) + len(examples.TIMEOUTS)
    assert found.boot[UDP] == Value(45, "/etc/sysctl.d/60.conf:1")
    assert found.reload[UDP] == Value(30, "kernel default")
    assert found.boot[ESTABLISHED] == Value(432000, "kernel default")
    assert found.boot[EXPECT_MAX] == Value(1024, "kernel default")


def test_a_module_that_is_not_loaded_has_the_timeouts_that_files_name(resolve):
    found = resolve(merged(LIMIT, {"/etc/sysctl.d/60.conf": UDP + "=45\n"}, EARLY), examples.NOT_LOADED)
    assert set(found.boot) == {"hashsize", MAX, EXPECT_MAX, UDP}
    assert found.boot[UDP].value == 45


@pytest.mark.parametrize(
    ("release", "hashsize"), [("6.1.0", 5120), ("4.4.0", 65536)], ids=["written", "read-only before 4.8"]
)
def test_buckets_are_a_sysctl_of_later_kernels(resolve, release, hashsize):
    tree = merged({"/etc/sysctl.d/60.conf": BUCKETS + "=5000\n"}, EARLY)
    found = resolve(tree, {"kernel.release": release, "memory.total_bytes": 8 * examples.GIB})
    assert found.boot["hashsize"].value == hashsize


@pytest.mark.parametrize(
    ("release", "memory", "buckets", "limit"),
    [
        ("6.12.0", 5 * examples.GIB, 262144, 262144),
        ("5.15.0", 2 * examples.GIB, 65536, 65536),
        ("6.1.0-50-cloud-amd64", 1019244544, 8192, 8192),
        ("5.10.0-32-cloud-amd64", 1026260992, 8192, 32768),
        ("5.10.0", 5 * examples.GIB, 65536, 262144),
        ("3.10.0-1160.el7.x86_64", 1927024640, 16384, 65536),
        ("3.10.0-1160.el7.x86_64", 8 * examples.GIB, 16384, 65536),
        ("2.6.32", 64 * examples.MIB, 512, 2048),
    ],
)
def test_what_the_kernel_makes_of_memory(resolve, release, memory, buckets, limit):
    """Hosts of tests/unit/hosts among them, whose live values these are."""
    found = resolve({}, {"kernel.release": release, "memory.total_bytes": memory, "table.max": 100000}).boot
    assert (found["hashsize"].value, found[MAX].value) == (buckets, limit)


def test_built_in(resolve):
    tree = merged(LIMIT, HASHSIZE, {"/proc/cmdline": "quiet nf_conntrack.hashsize=20000 sysctl.{0}=45\n".format(UDP)})
    found = resolve(tree, {"state": "builtin"})
    assert found.reload == {}
    assert found.boot["hashsize"] == Value(20480, "kernel command line")
    assert found.boot[MAX] == SET
    assert found.boot[UDP] == Value(45, "kernel command line")


def test_nothing_to_tell_of_where_there_is_no_conntrack(resolve):
    assert resolve(LIMIT, {"state": "absent"}) == ({}, {}, [], [], [])


def test_without_systemd_sysctl_conf_comes_last(resolve):
    tree = merged(LIMIT, EARLY, {"/etc/sysctl.conf": MAX + "=5000\n"})
    assert resolve(tree, NOT_SYSTEMD).boot[MAX] == Value(5000, "/etc/sysctl.conf:1")


# Who wins over the role.


def test_lines_behind_the_role_s_own(resolve):
    tree = {
        "/etc/sysctl.d/10-first.conf": MAX + "=1\n",
        "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
        "/etc/sysctl.conf": "{0}=2\n{1}=nonsense\nnet.core.somaxconn=3\n".format(MAX, UDP),
        MODPROBE: "options nf_conntrack hashsize=512\n",
        "/etc/modprobe.d/zz.conf": "options nf_conntrack hashsize=5000\n",
    }
    assert resolve(tree).overriding == [
        Overriding("/etc/sysctl.conf", 1, MAX + "=2", MAX, 2, "sysctl.d"),
        Overriding("/etc/sysctl.conf", 2, UDP + "=nonsense", UDP, None, "sysctl.d"),
        Overriding("/etc/modprobe.d/zz.conf", 1, "options nf_conntrack hashsize=5000", "hashsize", 5120, "modprobe.d"),
    ]


@pytest.mark.parametrize("name", ["a.conf", "nf_conntrack.conf"])
def test_options_that_the_role_comes_after(resolve, name):
    tree = {"/etc/modprobe.d/" + name: "options nf_conntrack hashsize=5000\n"}
    assert resolve(tree).overriding == []


def owner(keys, line=71, at_boot=True):
    path = "/etc/ufw/sysctl.conf" if line else None
    return Owner("ufw", keys, "said so", path, line, "the line" if line else None, at_boot, "change it")


def test_owners_write_last_at_boot_and_not_at_a_load(resolve):
    found = resolve(
        merged(LIMIT, EARLY, BROUGHT_BACK), (), [owner({MAX: 77, "hashsize": 600, "net.core.somaxconn": 1})]
    )
    assert found.boot[MAX] == Value(77, "ufw: said so")
    assert found.boot["hashsize"].value == 1024
    assert "net.core.somaxconn" not in found.boot
    assert found.reload[MAX] == SET
    assert Overriding("/etc/ufw/sysctl.conf", 71, "the line", MAX, 77, "ufw") in found.overriding


@pytest.mark.parametrize(
    ("changes", "boot"),
    [({"at_boot": False}, SET.value), ({"line": None}, 77)],
    ids=["only when it is asked to", "a process"],
)
def test_owners_that_override_no_line(resolve, changes, boot):
    found = resolve(merged(LIMIT, EARLY), (), [owner({MAX: 77}, **changes)])
    assert found.boot[MAX].value == boot
    assert found.overriding == []


def test_what_an_owner_sets_and_nobody_knows_cannot_be_told(resolve):
    found = resolve(merged(LIMIT, EARLY), (), [owner({MAX: None})])
    assert found.boot[MAX].value is None
    assert found.overriding == []


def test_problems_are_passed_on(resolve):
    tree = {
        "/etc/modprobe.d/bad.conf": "options nf_conntrack hashsize = 5\n",
        "/etc/udev/rules.d/50.rules": RULE.format("/usr/lib/systemd/systemd-sysctl"),
    }
    problems = resolve(tree).problems
    assert any(problem.startswith("/etc/modprobe.d/bad.conf:1: ") for problem in problems)
    assert any(problem.startswith("/etc/udev/rules.d/50.rules:1: ") for problem in problems)
