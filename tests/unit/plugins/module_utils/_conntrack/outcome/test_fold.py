# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What will be after a boot and after a load of the module, on trees of hosts; virtual machines judge the same in tests/outcome."""

import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import (
    Overriding,
    made_by_load,
    predict,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import Value
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.owners.owner import Owner
from ansible_collections.headroom.netfilter.tests.unit import examples

PREFIX = "net.netfilter.nf_conntrack_"
MAX, BUCKETS, EXPECT_MAX = PREFIX + "max", PREFIX + "buckets", PREFIX + "expect_max"
LOOSE, LIBERAL = PREFIX + "tcp_loose", PREFIX + "tcp_be_liberal"
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
DEFAULT = Value("default", 65536, "kernel default")
SET = Value("value", 100000, "/etc/sysctl.d/50-local.conf:1")


def value(number, source):
    return Value("value", number, source)


def default(number):
    return Value("default", number, "kernel default")


def untold(source):
    return Value("untold", None, source)


def fails(source):
    return Value("fails", None, "the load fails: " + source)


@pytest.fixture
def told(tmp_path):
    """The facts of a tree, with what decides there."""

    def run(tree, changes=(), owners=()):
        for path, text in tree.items():
            target = tmp_path / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                target.symlink_to(text[3:])
            else:
                target.write_text(text)
        facts = examples.facts(changes)
        facts["assignments"] = assignments(Host(str(tmp_path)), facts, owners)[0]
        return facts

    return run


@pytest.fixture
def resolve(told):
    return lambda *what: predict(told(*what))


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
        (HASHSIZE, value(40960, "8 x hashsize from /etc/modprobe.d/local.conf:1"), None),
        (merged(HASHSIZE, LIMIT, EARLY), SET, value(40960, "8 x hashsize from /etc/modprobe.d/local.conf:1")),
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
            value(5000, "/etc/sysctl.conf:2"),
            DEFAULT,
        ),
        (
            merged(LIMIT, {"/etc/sysctl.d/60-alias.conf": "net.nf_conntrack_max=7000\n"}, ALIAS, EARLY, BROUGHT_BACK),
            value(7000, "/etc/sysctl.d/60-alias.conf:1"),
            SET,
        ),
        (
            merged(LIMIT, EARLY, {"/etc/modprobe.d/bad.conf": "options nf_conntrack hashsize = 5\n"}),
            fails("/etc/modprobe.d/bad.conf:1"),
            None,
        ),
        (
            merged(LIMIT, {"/etc/modprobe.d/own.conf": "install nf_conntrack /usr/local/bin/load-it\n"}),
            untold("install command of /etc/modprobe.d/own.conf:1"),
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
    assert found.reload[MAX] == untold(UDEV + ":2: --pattern ([a-z_.]+)+$! is not understood")
    assert found.reload[UDP] == default(30)


def test_a_pattern_that_is_understood(resolve):
    others = {"/etc/sysctl.d/60.conf": UDP + "=45\n"}
    rules = {UDEV: UDEV_CALLS.format("-r '[.]nf_[a-z]*_udp|^$' --system"), "/usr/sbin/sysctl": ""}
    found = resolve(merged(LIMIT, others, rules))
    assert (found.reload[MAX], found.reload[UDP]) == (DEFAULT, value(45, "/etc/sysctl.d/60.conf:1"))


@pytest.mark.parametrize(
    "rules", [UDEV_CALLS.format("-p /etc/sysctl.conf") * 40, UDEV_CALLS.format("-p /etc/sysctl.conf" * 40)]
)
def test_more_settings_than_are_read_are_untold(resolve, rules):
    start = time.process_time()
    found = resolve({"/etc/sysctl.conf": (MAX + "=5\n") * 9000, UDEV: rules * 99, "/usr/sbin/sysctl": ""})
    assert found.reload[MAX].value is None
    assert found.reload[MAX].kind == "untold"
    assert time.process_time() - start < 20


def test_every_key_of_the_host_has_an_outcome(resolve):
    found = resolve(merged(LIMIT, {"/etc/sysctl.d/60.conf": UDP + "=45\n"}, EARLY))
    expected = {"hashsize", MAX, EXPECT_MAX, LOOSE, LIBERAL}
    assert expected < set(found.boot)
    assert len(found.boot) == len(expected) + len(examples.TIMEOUTS)
    assert found.boot[UDP] == value(45, "/etc/sysctl.d/60.conf:1")
    assert found.reload[UDP] == default(30)
    assert found.boot[ESTABLISHED] == default(432000)
    assert found.boot[EXPECT_MAX] == default(1024)


# procps writes each line in its turn, where systemd-sysctl has one value for each key.
NOT_MERGING = {"state": "builtin", "services.systemd_sysctl": None}
# A time that kernels with 250 ticks a second have room for and those with 1000 have not, and one that the former have none for.
MONTH, YEAR = 30 * 86400, 365 * 86400
LONG = "/etc/sysctl.d/60.conf:2: whether this kernel takes more than {0} s, and for what, is not known"


@pytest.mark.parametrize(
    ("kernel", "seconds", "expected"),
    [
        ({}, MONTH, value(MONTH, "/etc/sysctl.d/60.conf:2")),
        ({}, 8589934, value(8589934, "/etc/sysctl.d/60.conf:2")),
        ({}, 8589935, value(45, "/etc/sysctl.d/60.conf:1")),
        ({"kernel.hz": 100}, 21474836, value(21474836, "/etc/sysctl.d/60.conf:2")),
        ({"kernel.hz": 100}, 21474837, value(45, "/etc/sysctl.d/60.conf:1")),
        ({"kernel.hz": 300}, 7158278, value(7158278, "/etc/sysctl.d/60.conf:2")),
        ({"kernel.hz": 300}, 7158279, value(45, "/etc/sysctl.d/60.conf:1")),
        ({"kernel.hz": 1000}, 2147483, value(2147483, "/etc/sysctl.d/60.conf:2")),
        ({"kernel.hz": 1000}, MONTH, value(45, "/etc/sysctl.d/60.conf:1")),
        ({"kernel.hz": None}, 2147483, value(2147483, "/etc/sysctl.d/60.conf:2")),
        ({"kernel.hz": None}, MONTH, untold(LONG.format(2147483))),
        ({"kernel.hz": None}, 3 * YEAR, value(45, "/etc/sysctl.d/60.conf:1")),
        ({"kernel.release": "3.10.0-1160.el7", "kernel.hz": 1000}, MONTH, untold(LONG.format(2147483))),
        ({"kernel.release": "3.10.0", "kernel.hz": 250}, MONTH, value(MONTH, "/etc/sysctl.d/60.conf:2")),
        (
            {"kernel.release": "3.10.0", "kernel.hz": 1000, "kernel.pointer_bytes": 4},
            MONTH,
            value(45, "/etc/sysctl.d/60.conf:1"),
        ),
    ],
    ids=str,
)
def test_a_time_of_so_many_ticks_is_taken_refused_or_not_told(resolve, kernel, seconds, expected):
    lines = "{0}=45\n{0}={1}\n".format(UDP, seconds)
    found = resolve(merged({"/etc/sysctl.d/60.conf": lines}, EARLY), dict(NOT_MERGING, **kernel))
    assert found.boot[UDP] == expected


@pytest.mark.parametrize(
    ("release", "said", "expected"),
    [
        ("6.1.0-37-amd64", "0", value(0, "/etc/sysctl.d/60.conf:1")),
        ("6.1.0-37-amd64", "2", default(1)),
        ("6.1.0-37-amd64", "-1", default(1)),
        ("4.18.0-553.el8", "2", value(2, "/etc/sysctl.d/60.conf:1")),
        ("4.18.0-553.el8", "-1", value(-1, "/etc/sysctl.d/60.conf:1")),
    ],
)
def test_switches_are_0_or_1_since_a_release(resolve, release, said, expected):
    found = resolve(
        merged({"/etc/sysctl.d/60.conf": "{0}={1}\n".format(LOOSE, said)}, EARLY), {"kernel.release": release}
    )
    assert (found.boot[LOOSE], found.boot[LIBERAL]) == (expected, default(0))
    assert found.reload[LOOSE] == default(1)


def test_a_program_that_asks_for_what_the_kernel_refuses_leaves_what_was_there(resolve):
    keys = {UDP: 8589935, ESTABLISHED: 8589934, LIBERAL: 2, LOOSE: 0}
    found = resolve(EARLY, (), [Owner("tool", keys, "its flags", None, None, None, True, "stop it")])
    assert found.boot[UDP] == default(30)
    assert found.boot[LIBERAL] == default(0)
    assert found.boot[ESTABLISHED].value == 8589934
    assert found.boot[LOOSE].value == 0


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
    assert found.boot["hashsize"] == value(20480, "kernel command line")
    assert found.boot[MAX] == SET
    assert found.boot[UDP] == value(45, "kernel command line")


def test_nothing_to_tell_of_where_there_is_no_conntrack(resolve):
    assert resolve(LIMIT, {"state": "absent"}) == ({}, {}, [], [], [])


def test_without_systemd_sysctl_conf_comes_last(resolve):
    tree = merged(LIMIT, {"/etc/sysctl.conf": MAX + "=5000\n"})
    assert resolve(tree, dict(NOT_SYSTEMD, state="builtin")).boot[MAX] == value(5000, "/etc/sysctl.conf:1")


def test_without_systemd_a_boot_is_told_as_far_as_it_is_known(resolve):
    """What it leaves whether the module is there before sysctl.d is applied, or only later."""
    tree = merged(LIMIT, EARLY, HASHSIZE, {"/etc/sysctl.d/60.conf": "{0}=30\n{1}=7440\n".format(UDP, ESTABLISHED)})
    found = resolve(tree, NOT_SYSTEMD)
    assert found.boot["hashsize"] == value(5120, "/etc/modprobe.d/local.conf:1")
    for key in (MAX, ESTABLISHED):
        assert found.boot[key].kind == "untold"
        assert "without systemd it is not known whether the module is there" in found.boot[key].source
    assert found.boot[EXPECT_MAX] == default(80)
    assert found.reload[MAX] == value(40960, "8 x hashsize from /etc/modprobe.d/local.conf:1")


@pytest.mark.parametrize("state", ["loaded", "builtin"])
def test_expectations_that_a_load_is_given(resolve, state):
    tree = {"/etc/modprobe.d/a.conf": "options nf_conntrack expect_hashsize=1000\n"}
    given = value(4000, "4 x expect_hashsize from /etc/modprobe.d/a.conf:1")
    assert resolve(tree, {"state": state}).boot[EXPECT_MAX] == (given if state == "loaded" else default(1024))


# What is not told whole.


@pytest.mark.parametrize(
    ("tree", "keys", "part"),
    [
        ({"/etc/sysctl.d/a.conf": MAX + "=5" + " " * 400 + "#\n"}, [MAX, UDP], "sysctl.d"),
        ({"/etc/sysctl.d/a.conf": (MAX + "=5\n") * 300}, [MAX, UDP], "sysctl.d"),
        ({"/etc/sysctl.d/\x1b.conf": MAX + "=5\n"}, [MAX, UDP], "sysctl.d"),
        (
            {"/etc/modprobe.d/a.conf": "options nf_conntrack hashsize=5 acct=" + "1" * 400 + "\n"},
            ["hashsize", UDP],
            "modprobe.d",
        ),
        ({"/proc/cmdline": "nf_conntrack.hashsize=" + "5" * 400 + "\n"}, ["hashsize", UDP], "the kernel command line"),
        ({"/etc/modules-load.d/\x1b.conf": "nf_conntrack\n"}, [MAX], "modules-load.d"),
    ],
    ids=["a long line", "many lines", "a file's name", "a long option", "a long word", "what loads early"],
)
def test_what_is_cut_off_is_untold(resolve, tree, keys, part):
    found = resolve(merged(LIMIT, tree, {} if part == "modules-load.d" else EARLY))
    for key in keys:
        assert found.boot[key] == untold("not all of {0} could be told".format(part))


def test_a_rule_that_is_cut_off_leaves_a_load_untold(resolve):
    rule = UDEV_CALLS.format("--pattern '" + "a" * 400 + "' --system")
    found = resolve(merged(LIMIT, EARLY, {UDEV: rule, "/usr/sbin/sysctl": ""}))
    assert found.reload[MAX] == untold("not all of udev's rules could be told")
    assert found.boot[MAX] == SET


# Who wins over the role.

OWN = {SYSCTL: "{0} = 100000\n{1} = 40\n".format(MAX, UDP), MODPROBE: "options nf_conntrack hashsize=512\n"}


def test_lines_that_win_over_the_role_s_own(resolve):
    tree = {
        "/etc/sysctl.d/10-first.conf": MAX + "=1\n",
        "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
        "/etc/sysctl.conf": "{0}=2\n{1}=nonsense\nnet.core.somaxconn=3\n{0}=3\n".format(MAX, UDP),
        "/etc/modprobe.d/zz.conf": "options nf_conntrack hashsize=5000\noptions nf_conntrack hashsize=6000\n",
        "/etc/sysctl.d/zz.conf": BUCKETS + " = 1024\n",
    }
    text = "options nf_conntrack hashsize={0}"
    assert resolve(merged(tree, OWN)).overriding == [
        Overriding("/etc/sysctl.d/zz.conf", 1, BUCKETS + " = 1024", "hashsize", 1024, "sysctl.d"),
        Overriding("/etc/modprobe.d/zz.conf", 2, text.format(6000), "hashsize", 6144, "modprobe.d"),
        Overriding("/etc/modprobe.d/zz.conf", 1, text.format(5000), "hashsize", 5120, "modprobe.d"),
        Overriding("/etc/sysctl.conf", 4, MAX + "=3", MAX, 3, "sysctl.d"),
        Overriding("/etc/sysctl.conf", 1, MAX + "=2", MAX, 2, "sysctl.d"),
        Overriding("/etc/sysctl.conf", 2, UDP + "=nonsense", UDP, 30, "sysctl.d"),
    ]


@pytest.mark.parametrize(
    "tree",
    [
        {"/etc/sysctl.d/zz.conf": MAX + "=2\n", "/etc/modprobe.d/zz.conf": "options nf_conntrack hashsize=5000\n"},
        dict(OWN, **{"/etc/sysctl.d/zz.conf": MAX + "=2\n{0}=100000\n".format(MAX)}),
        dict(OWN, **{"/etc/modprobe.d/zz.conf": "options nf_conntrack hashsize=500\n"}),
        dict(OWN, **{"/etc/sysctl.d/zz.conf": "net.nf_conntrack_max=100000\n", **ALIAS}),
    ],
    ids=["the role has not run", "it says the role's value in the end", "it is rounded to the same", "an alias"],
)
def test_lines_that_take_nothing_away(resolve, tree):
    assert resolve(tree).overriding == []


def test_options_that_the_role_comes_after(resolve):
    assert resolve(merged(OWN, {"/etc/modprobe.d/a.conf": "options nf_conntrack hashsize=5000\n"})).overriding == []


def owner(keys, line=71, at_boot=True):
    path = "/etc/ufw/sysctl.conf" if line else None
    return Owner("ufw", keys, "said so", path, line, "the line" if line else None, at_boot, "change it")


def test_owners_write_last_at_boot_and_not_at_a_load(resolve):
    found = resolve(
        merged(LIMIT, EARLY, BROUGHT_BACK, {"/etc/sysctl.d/99-conntrack.conf": MAX + " = 9\n"}),
        (),
        [owner({MAX: 77, "hashsize": 600, "net.core.somaxconn": 1})],
    )
    assert found.boot[MAX] == value(77, "ufw: said so")
    assert found.boot["hashsize"].value == 1024
    assert "net.core.somaxconn" not in found.boot
    assert found.reload[MAX] == value(9, "/etc/sysctl.d/99-conntrack.conf:1")
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
    assert found.boot[MAX] == untold("ufw: said so")
    assert found.overriding == []


def test_problems_are_passed_on(resolve):
    tree = {
        "/etc/modprobe.d/bad.conf": "options nf_conntrack hashsize = 5\n",
        "/etc/udev/rules.d/50.rules": RULE.format("/usr/lib/systemd/systemd-sysctl"),
    }
    broken, *_others, stale = resolve(tree).problems
    assert [(one.path, one.line) for one in (broken, stale)] == [
        ("/etc/modprobe.d/bad.conf", 1),
        ("/etc/udev/rules.d/50.rules", 1),
    ]
    assert (broken.kind, broken.severity) == ("load", "critical")
    assert (stale.kind, stale.severity) == ("useless", "warning")
    assert stale.said == "calls /usr/lib/systemd/systemd-sysctl, which is not there; on this host it is " + HELPER


# What a load has made.


@pytest.mark.parametrize(
    ("tree", "limit", "made"),
    [
        (OWN, 4096, False),
        (merged(OWN, {SYSCTL: MAX + " = 2000\n"}), 4096, True),
        (merged(OWN, {SYSCTL: MAX + " = 2000\n"}), 4097, False),
        (merged(OWN, {SYSCTL: MAX + " = 4096\n"}), 4096, False),
        ({MODPROBE: OWN[MODPROBE]}, 4096, False),
        ({SYSCTL: MAX + " = 2000\n", "/etc/modprobe.d/zz.conf": OWN[MODPROBE]}, 4096, False),
        (merged(OWN, {SYSCTL: MAX + " = 2000\n"}), None, False),
    ],
    ids=["more asked for", "made", "another", "asked for", "nothing kept", "another's line", "not loaded"],
)
def test_a_limit_that_a_load_has_made(told, tree, limit, made):
    assert made_by_load(told(tree, {"table.max": limit})) is made


KERNEL = {"/boot/sysctl.conf-6.1.0-37-amd64": MAX + " = 90000\n" + UDP + " = 90\n"}
OF_KERNEL = value(90000, "/boot/sysctl.conf-6.1.0-37-amd64:1")


@pytest.mark.parametrize(
    ("tree", "changes", "boot", "reload"),
    [
        (merged(KERNEL, EARLY, BROUGHT_BACK), {}, OF_KERNEL, DEFAULT),
        (merged(KERNEL, LIMIT, EARLY, BROUGHT_BACK), {}, SET, SET),
        # A call for all the others: its glob is kept away by no line of the first.
        (
            merged(KERNEL, {"/etc/sysctl.d/50-local.conf": PREFIX + "ma* = 100000\n"}, EARLY),
            {},
            SET,
            DEFAULT,
        ),
        (merged(KERNEL, BROUGHT_BACK), {}, DEFAULT, DEFAULT),
        (merged(KERNEL, EARLY), NOT_SYSTEMD, DEFAULT, DEFAULT),
    ],
    ids=["by itself", "sysctl.d wins", "a glob", "a module that comes later", "no systemd"],
)
def test_what_came_with_a_kernel_is_applied_at_a_boot_before_all_others(resolve, tree, changes, boot, reload):
    found = resolve(tree, changes)
    assert (found.boot[MAX], found.reload[MAX]) == (boot, reload)


def test_a_credential_that_cannot_be_read_leaves_untold_what_it_may_set(resolve):
    unit = {"/usr/lib/systemd/system/systemd-sysctl.service": "[Service]\nImportCredential=sysctl.*\n"}
    found = resolve(merged(LIMIT, EARLY, unit, {"/etc/credstore.encrypted/sysctl.extra": "k6iUCUh0"}))
    assert found.boot[MAX].kind == "untold"
