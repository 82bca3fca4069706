# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Findings: what each is said of and what not, how bad it is, and that anything missing is no obstacle."""

import copy
import itertools
import os
import re

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import UNLOAD
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import RISKS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import timeout_key
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.examples import (
    CONTAINER,
    GIB,
    NOT_LOADED,
    NOT_ROOT,
    TIMEOUTS,
    assignments,
    facts,
)

HOME = os.path.abspath(__file__).partition("/tests/unit/")[0]
PREFIX = "net.netfilter.nf_conntrack_"
MAX = PREFIX + "max"
ESTABLISHED = PREFIX + "tcp_timeout_established"
MODPROBE = "/etc/modprobe.d/nf_conntrack.conf"
SHORT = {"timeouts": dict(TIMEOUTS, tcp_established=7440)}


def cards(*told):
    """Changes that make facts of what network cards tell."""
    names = ("interface", "exceeded", "available")
    return {"cloud": [dict(zip(names, one), driver="ena") for one in told]}


def table(count, limit, buckets=None):
    """Changes to the facts that such a table makes."""
    buckets = buckets or limit
    return {
        "table.count": count,
        "table.max": limit,
        "table.buckets": buckets,
        "table.usage": round(count / limit, 6) if limit else None,
        "table.chain": round(2 * count / buckets, 4),
    }


UFW = {"services.ufw": {"active": True}}
STRICT = {"switches": {"tcp_loose": 0, "tcp_be_liberal": 0}}
FIREWALLD = {"version": "0.9.3", "active": True, "cleanup_modules_on_exit": None, "unloads": True}
UNLOADING = {"services.firewalld": FIREWALLD}
CONNTRACKD = {"active": True, "sync": True, "hash_size": 32768, "hash_limit": 131072}
FULL = table(65000, 65536)
WIDE = table(100, 262144)


KEPT_OUT = assignments(
    modprobe=[
        {"path": UNLOAD, "line": 2, "command": "install", "name": "nf_conntrack", "rest": "/bin/false", "text": "x"}
    ]
)


def counted(**numbers):
    return {"counters": dict(facts()["counters"], **numbers)}


SHORT_OF_PORTS = dict({"kernel.nat": True}, **table(60000, 262144), **counted(insert_failed=5000))


def unlisted(entries=None, dying=None, unconfirmed=None, *listeners):
    return {"unlisted": {"entries": entries, "dying": dying, "unconfirmed": unconfirmed, "listeners": list(listeners)}}


def log(**said):
    return {"log": dict({"table_full": 0, "suppressed": 0, "netns": [], "source": ["journal", "kern.log"]}, **said)}


def after(event, source="kernel default", **values):
    """The outcome of an event, by the names of the keys behind the prefix, or hashsize."""
    keys = {
        name if name == "hashsize" else PREFIX + name: {"value": value, "source": source}
        for name, value in values.items()
    }
    return {"outcome": {event: keys}}


def problems(*said):
    names = ("kind", "severity", "said", "path", "line")
    return {"outcome": {"problems": [dict(zip(names, one)) for one in said]}}


def overriding(value, key=MAX):
    line = {"path": "/etc/sysctl.conf", "line": 6, "text": " x = {0}\n".format(value), "key": key, "value": value}
    return {"outcome": {"overriding": [dict(line, owner=None)]}}


def owners(*named):
    return {
        "owners": [
            {
                "name": name,
                "keys": keys,
                "evidence": "process arguments",
                "path": path,
                "line": 4,
                "text": "",
                "at_boot": True,
            }
            for name, keys, path in named
        ]
    }


def space(name="web", **said):
    """Another network namespace, quiet but for what is ``said``."""
    quiet = {"inode": 4026532111, "own": False, "count": 90, "max": 8192, "usage": 0.011, "drop": 0, "early_drop": 0}
    return dict(quiet, name=name, **dict(SHORT, **said))


def found(*changes):
    """What is said of the example with all of ``changes``, by id."""
    merged = dict(SHORT)
    for change in changes:
        merged.update(change)
    said = findings(facts(merged))
    assert len({finding.id for finding in said}) == len(said)
    return {finding.id: finding for finding in said}


def test_nothing_to_say_of_a_quiet_host():
    assert found() == {}


CASES = [
    # What TCP's switches let in
    ("picked-up-midstream", "info", [UFW, counted(early_drop=1)], "tcp_loose 1, ufw active, 1 flow was given up early"),
    (
        "picked-up-midstream",
        "info",
        [UFW, counted(early_drop=3), log(table_full=2)],
        "tcp_loose 1, ufw active, 3 flows were given up early and 2 messages of a full table",
    ),
    (
        "cut-at-reload",
        "warning",
        [STRICT, UNLOADING],
        "tcp_loose 0, and firewalld 0.9.3 unloads the module at each restart",
    ),
    (
        "invalid-dropped",
        "info",
        [UFW, counted(invalid=100000)],
        "100000 packets were INVALID since boot, tcp_be_liberal 0, and ufw active",
    ),
    # What else has room for fewer
    (
        "ports-run-out",
        "warning",
        [{"kernel.nat": True}, table(58000, 262144), counted(insert_failed=1040, chain_too_long=40, drop=1040)],
        "1000 flows could not be inserted since boot, and addresses are translated here, with 58000 entries of a limit of 262144",
    ),
    (
        "conntrackd-keeps-less",
        "warning",
        [{"services.conntrackd": CONNTRACKD}, WIDE],
        "HashLimit 131072, and a limit of 262144 here",
    ),
    # What is full
    ("table-nearly-full", "warning", [table(61203, 65536)], "61203 of 65536 entries in use, 93.4 percent"),
    ("table-nearly-full", "critical", [FULL], "65000 of 65536 entries in use, 99.2 percent"),
    (
        "limit-out-of-reach",
        "critical",
        [CONTAINER, FULL],
        "65000 of 65536 entries in use, 99.2 percent, and this is docker",
    ),
    (
        "limit-out-of-reach",
        "warning",
        [CONTAINER, table(6200, 8192), {"kernel.container": None}],
        "6200 of 8192 entries in use, 75.7 percent, and this is another network namespace than the first",
    ),
    # What was dropped
    (
        "dropped-table-full",
        "critical",
        [
            FULL,
            counted(drop=700),
            log(table_full=12, suppressed=340, first_seen="2026-01-01T10:00:00Z", last_seen="2026-01-02T11:00:00Z"),
        ],
        "12 messages of a full table in the log and 340 held back, from 2026-01-01T10:00:00Z to 2026-01-02T11:00:00Z; "
        "700 packets counted as dropped since boot",
    ),
    (
        "dropped-table-full",
        "warning",
        [log(table_full=1, netns=[4026532111, 5]), {"namespaces": [space()]}],
        "1 message of a full table in the log, of network namespace 4026532111 (web), 5",
    ),
    (
        "dropped-table-full",
        "critical",
        [log(table_full=1), {"table.count": None}],
        "1 message of a full table in the log",
    ),
    (
        "dropped-chain-too-long",
        "warning",
        [counted(chain_too_long=5, insert_failed=5)],
        "5 flows refused since boot, the average chain is 0.0244 now",
    ),
    (
        "dropped-chain-too-long",
        "critical",
        [counted(chain_too_long=5, insert_failed=5), table(16384, 65536, 1024)],
        "5 flows refused since boot, the average chain is 32.0 now",
    ),
    (
        "cloud-allowance",
        "warning",
        [cards(("ens5", 17, 136812))],
        "ens5: 17 packets dropped since the driver started, and 136812 more connections can be tracked now",
    ),
    ("cloud-allowance", "warning", [cards(("ens5", 1, None))], "ens5: 1 packet dropped since the driver started"),
    (
        "cloud-allowance",
        "critical",
        [cards(("ens5", 0, 0), ("ens6", 0, 9))],
        "ens5: 0 packets dropped since the driver started, and 0 more connections can be tracked now",
    ),
    (
        "dropped-clash",
        "info",
        [counted(insert_failed=9, chain_too_long=5, drop=4), log()],
        "4 flows could not be inserted since boot",
    ),
    (
        "dropped-other",
        "info",
        [counted(drop=7, insert_failed=4), log()],
        "7 packets counted as dropped since boot, 4 of them by clashes at most; no message of a full table in journal, "
        "kern.log",
    ),
    (
        "dropped-other",
        "warning",
        [counted(drop=7)],
        "7 packets counted as dropped since boot, 0 of them by clashes at most; the log was not read",
    ),
    ("dropped-other", "warning", [counted(drop=7), log(source=[])], "7 packets counted as dropped since boot"),
    ("early-drop", "warning", [counted(early_drop=3)], "3 flows given up early since boot"),
    # What is slow or large
    (
        "chains-long",
        "warning",
        [table(100, 65536, 8191)],
        "8191 buckets for a limit of 65536: chains are 0.0 long on average, and 16.0 with a full table",
    ),
    (
        "chains-long",
        "critical",
        [table(16384, 65536, 1024)],
        "1024 buckets for a limit of 65536: chains are 32.0 long on average, and 128.0 with a full table",
    ),
    (
        "chains-long",
        "warning",
        [table(70000, 0, 8192)],
        "8192 buckets for a limit of 0: chains are 17.1 long on average",
    ),
    (
        "memory-unsafe",
        "warning",
        [WIDE, {"table.full_bytes": GIB}],
        "a full table of 262144 entries takes 1.0 GiB, 25.0 percent of 4.0 GiB",
    ),
    # Timeouts
    ("established-five-days", "info", [{"timeouts": TIMEOUTS}], "tcp_established 432000 s"),
    ("established-five-days", "warning", [{"timeouts": TIMEOUTS}, table(6200, 8192)], "tcp_established 432000 s"),
    (
        "below-rfc-floors",
        "warning",
        [{"kernel.nat": True, "timeouts": {"tcp_established": 7439, "udp": 120, "icmp": 30}}],
        "tcp_established 7439 s (at least 7440, RFC 5382 REQ-5), icmp 30 s (at least 60, RFC 5508 REQ-2)",
    ),
    # What will be
    ("lost-at-boot", "warning", [WIDE, after("boot", max=8192)], "limit 262144 -> 8192 (kernel default)"),
    (
        "lost-at-boot",
        "critical",
        [table(9000, 262144), after("boot", max=8192)],
        "limit 262144 -> 8192 (kernel default); 9000 flows are in use",
    ),
    ("lost-at-boot", "warning", [table(100, 0, 8192), after("boot", max=8192)], "limit 0 -> 8192 (kernel default)"),
    ("lost-at-boot", "warning", [{"state": "builtin"}, after("boot", max=4096)], "limit 8192 -> 4096 (kernel default)"),
    (
        "lost-at-reload",
        "critical",
        [table(100000, 262144), after("reload", "/etc/modprobe.d/x.conf:1", hashsize=512, buckets=512)],
        "buckets 262144 -> 512 (/etc/modprobe.d/x.conf:1); 100000 flows are in use",
    ),
    (
        "lost-at-reload",
        "warning",
        [
            {"services.firewalld": {"version": "0.9.3", "active": True, "unloads": True}},
            {"services.iptables": {"active": True, "unloads": True}},
            after(
                "reload", None, tcp_timeout_established=432000, expect_max=64, hashsize=4096, max=4096, udp_timeout=9
            ),
        ],
        "limit 8192 -> 4096, buckets 8192 -> 4096, expectations 128 -> 64, tcp_established 7440 -> 432000; firewalld "
        "0.9.3 unloads the module at each restart; iptables unloads the module at each restart",
    ),
    (
        "lost-at-reload",
        "warning",
        [
            {"services.firewalld": {"version": None, "active": True, "unloads": True}},
            after("reload", max=4096),
        ],
        "limit 8192 -> 4096 (kernel default); firewalld unloads the module at each restart",
    ),
    ("counted-not-listed", "warning", [unlisted(dying=1)], "of 100 entries in use 1 dying"),
    (
        "counted-not-listed",
        "warning",
        [unlisted(60, 40, 10)],
        "of 100 entries in use 40 dying, 10 unconfirmed, 10 in no list at all",
    ),
    (
        "counted-not-listed",
        "warning",
        [unlisted(None, 40, None, "conntrackd (8): 9 events lost", "? (7): 1 events lost")],
        "of 100 entries in use 40 dying; conntrackd (8): 9 events lost, ? (7): 1 events lost",
    ),
    ("counted-not-listed", "warning", [unlisted(7, 0)], "of 100 entries in use 7 in no list at all"),
    ("counted-not-listed", "critical", [FULL, unlisted(650, 650)], "of 65000 entries in use 650 dying"),
    ("counters-untold", "info", [{"counters": {}}], "neither /proc/net/stat nor ctnetlink tells"),
    (
        "lost-at-boot",
        "warning",
        [{"kernel.nat": True, "timeouts": {"udp": 120}}, after("boot", udp_timeout=30)],
        "udp 120 -> 30 (kernel default)",
    ),
    ("overridden", "warning", [overriding(4096)], "/etc/sysctl.conf:6 (x = 4096)"),
    ("overridden", "critical", [overriding(99)], "/etc/sysctl.conf:6 (x = 99)"),
    (
        "owners-disagree",
        "warning",
        [owners(("kube-proxy", {MAX: 131072, ESTABLISHED: None}, None), ("tuned", {MAX: 262144}, "/etc/tuned/x.conf"))],
        "limit: 131072 by kube-proxy (process arguments), 262144 by tuned (/etc/tuned/x.conf:4), 8192 in force",
    ),
    (
        "owners-disagree",
        "critical",
        [owners(("ufw", {MAX: 50}, "/etc/ufw/sysctl.conf"))],
        "limit: 50 by ufw (/etc/ufw/sysctl.conf:4), 8192 in force",
    ),
    # What is persisted
    (
        "modprobe-broken",
        "critical",
        [problems(("load", "critical", "hashsize has no value", MODPROBE, 1))],
        MODPROBE + ":1: hashsize has no value",
    ),
    (
        "modprobe-broken",
        "critical",
        [problems(("load", "critical", "module_blacklist= makes every load fail", "kernel command line", None))],
        "kernel command line: module_blacklist= makes every load fail",
    ),
    (
        "persistence-broken",
        "warning",
        [problems(*[("useless", "warning", said, MODPROBE, 3) for said in "abcde"])],
        MODPROBE + ":3: a, {0}:3: b, {0}:3: c, and 2 more".format(MODPROBE),
    ),
    (
        "modprobe-odd",
        "info",
        [problems(("odd", "info", "hashsize=0x40000 is 262144 to the kernel", MODPROBE, 2))],
        MODPROBE + ":2: hashsize=0x40000 is 262144 to the kernel",
    ),
    (
        "modprobe-useless",
        "info",
        [{"state": "builtin", "files": {MODPROBE: {}}}, problems(("builtin", "info", "nothing reads it", MODPROBE, 2))],
        MODPROBE + ":2: nothing reads it, {0} is there".format(MODPROBE),
    ),
    (
        "ramdisk-behind",
        "warning",
        [problems(("behind", "warning", "hashsize 1; renew it: dracut -f --kver 6", "/boot/initramfs-6.img", None))],
        "/boot/initramfs-6.img: hashsize 1; renew it: dracut -f --kver 6",
    ),
    ("modprobe-useless", "info", [{"state": "builtin", "files": {MODPROBE: {}}}], MODPROBE + " is there"),
    (
        "not-loaded",
        "info",
        [NOT_LOADED, after("reload", hashsize=65536, max=65536)],
        "the module is not loaded, and nothing says with how many buckets it is to be; it will have 65536, and a limit of 65536",
    ),
    (
        "not-loaded",
        "info",
        [NOT_LOADED],
        "the module is not loaded, and nothing says with how many buckets it is to be",
    ),
    # Namespaces
    (
        "namespace-dropping",
        "warning",
        [{"namespaces": [space(drop=40, early_drop=2), dict(space(drop=50), own=True)]}],
        "web: 90 of 8192 entries, 40 dropped, 2 given up early; the host itself has 100 of 8192",
    ),
    (
        "namespace-dropping",
        "critical",
        [{"namespaces": [space(None, count=8000, usage=0.9766)]}],
        "net:[4026532111]: 8000 of 8192 entries; the host itself has 100 of 8192",
    ),
    (
        "namespace-timeouts",
        "info",
        [{"namespaces": [space(timeouts=dict(SHORT["timeouts"], udp=10, icmp=5)), space("db", timeouts=TIMEOUTS)]}],
        "web: icmp 5 s, 30 on the host (and 1 more); db: tcp_established 432000 s, 7440 on the host",
    ),
    # What is not known
    (
        "unreadable",
        "info",
        [NOT_ROOT, log(source=[]), {"table.buckets": None, "unreadable": ["/a", "/b", "/c", "/d"]}],
        "4 paths are there and could not be read: /a, /b, /c, and 1 more; not known: buckets, chains and memory, messages of "
        "a full table",
    ),
    ("unreadable", "info", [{"unreadable": ["/a"]}], "1 path is there and could not be read: /a"),
    # Whose doing it is
    (
        "writable-by-others",
        "critical",
        [{"exposed": [{"path": "/etc/sysctl.d/x.conf", "why": "everybody may write /etc/sysctl.d"}]}],
        "/etc/sysctl.d/x.conf (everybody may write /etc/sysctl.d)",
    ),
    (
        "claim-ignored",
        "info",
        [{"claims": [{"what": "process 7: kube-proxy", "whose": "user 65534", "why": "it is not root's"}]}],
        "process 7: kube-proxy, of user 65534: it is not root's",
    ),
    ("untold", "info", [{"untold": ["9 processes of others"]}], "9 processes of others"),
    ("tree", "info", [{"untold": ["memory"], "kernel": {"python": None}}], "memory"),
]


@pytest.mark.parametrize(
    ("name", "severity", "changes", "seen"), CASES, ids=["{0}-{1}".format(*case) for case in CASES]
)
def test_what_is_found(name, severity, changes, seen):
    said = found(*changes)
    assert name in said
    assert said[name].severity == severity
    assert said[name].seen.startswith(seen)
    assert (said[name].why, said[name].remedy) == (RISKS[name].why, RISKS[name].remedy)


def test_every_finding_and_every_severity_of_it_is_tested():
    tested = {(name, severity) for name, severity, _changes, _seen in CASES}
    assert tested == {(name, severity) for name, risk in RISKS.items() for severity in risk.severities}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("table-nearly-full", [table(6143, 8192)]),
        ("limit-out-of-reach", [CONTAINER]),
        ("limit-out-of-reach", [FULL, NOT_ROOT]),
        # A container with the host's own namespaces and full rights.
        ("limit-out-of-reach", [FULL, {"kernel.container": "docker"}]),
        ("dropped-clash", [counted(insert_failed=5, chain_too_long=5)]),
        # A full table refuses flows, too, and without a translation there is no port to be given.
        ("ports-run-out", [SHORT_OF_PORTS, {"kernel.nat": False}]),
        ("ports-run-out", [SHORT_OF_PORTS, log(table_full=1)]),
        ("ports-run-out", [SHORT_OF_PORTS, counted(insert_failed=5000, early_drop=1)]),
        ("ports-run-out", [SHORT_OF_PORTS, table(57999, 262144)]),
        ("ports-run-out", [SHORT_OF_PORTS, counted(insert_failed=999)]),
        ("dropped-clash", [SHORT_OF_PORTS]),
        ("picked-up-midstream", [FULL, counted(early_drop=1)]),
        ("picked-up-midstream", [UFW, table(65000, 65536)]),
        ("picked-up-midstream", [UFW, STRICT, counted(early_drop=1)]),
        ("cut-at-reload", [UNLOADING]),
        ("cut-at-reload", [UNLOADING, STRICT, {"state": "builtin"}]),
        ("cut-at-reload", [STRICT, {"services.firewalld": dict(FIREWALLD, unloads=False)}]),
        ("invalid-dropped", [counted(invalid=100000)]),
        ("invalid-dropped", [UFW, counted(invalid=99999)]),
        ("invalid-dropped", [UFW, counted(invalid=100000), {"switches": {"tcp_loose": 1, "tcp_be_liberal": 1}}]),
        ("conntrackd-keeps-less", [{"services.conntrackd": CONNTRACKD}, table(100, 131072)]),
        ("conntrackd-keeps-less", [{"services.conntrackd": dict(CONNTRACKD, active=False)}, WIDE]),
        ("conntrackd-keeps-less", [{"services.conntrackd": dict(CONNTRACKD, sync=False)}, WIDE]),
        ("lost-at-boot", [after("boot", tcp_loose=1, tcp_be_liberal=0)]),
        ("cloud-allowance", [cards(("ens5", 0, 1), ("ens6", 0, None))]),
        ("dropped-other", [counted(insert_failed=5, drop=5)]),
        ("dropped-other", [counted(drop=5), log(table_full=5)]),
        ("counted-not-listed", [{"unlisted": None}]),
        ("counted-not-listed", [unlisted()]),
        ("counted-not-listed", [FULL, unlisted(649, 649, 0)]),
        # Some came while the table was gone through.
        ("counted-not-listed", [table(1000, 1024), unlisted(9, 0)]),
        ("counters-untold", [{"counters": {}}, NOT_LOADED]),
        ("counters-untold", [{"counters": {}, "kernel.python": None}]),
        ("chains-long", [table(100, 65536, 8192)]),
        ("memory-unsafe", [{"table.full_bytes": 4 * GIB // 10}]),
        ("memory-unsafe", [NOT_LOADED, {"table.full_bytes": GIB}]),
        ("below-rfc-floors", [{"timeouts": {"udp": 1}}]),
        ("lost-at-boot", [after("boot", max=8192, hashsize=7900, tcp_timeout_established=7440)]),
        ("lost-at-boot", [after("boot", max=0, hashsize=9000, tcp_timeout_established=60, expect_max=None)]),
        ("lost-at-boot", [table(100, 0, 8192), after("boot", max=0)]),
        ("lost-at-boot", [{"kernel.nat": True, "timeouts": {"udp": 180}}, after("boot", udp_timeout=120)]),
        ("lost-at-boot", [after("boot", dccp_timeout_open=9)]),
        ("lost-at-boot", [CONTAINER, after("boot", max=5)]),
        ("lost-at-boot", [NOT_LOADED, after("boot", max=5)]),
        ("lost-at-reload", [{"state": "builtin"}, after("reload", max=5)]),
        ("overridden", [CONTAINER, overriding(5)]),
        ("owners-disagree", [owners(("a", {"hashsize": 8000, ESTABLISHED: None, MAX: 8192}, None))]),
        ("persistence-broken", [CONTAINER, problems(("useless", "warning", "a", MODPROBE, 1))]),
        # A load does not fail of these.
        ("modprobe-broken", [problems(("useless", "warning", "x", MODPROBE, 1), ("odd", "info", "y", MODPROBE, 2))]),
        # Nor is one that conntrack_unload has made fail.
        (
            "modprobe-broken",
            [{"state": "loadable", "assignments": KEPT_OUT}, problems(("load", "critical", "x", UNLOAD, 2))],
        ),
        ("modprobe-useless", [{"files": {MODPROBE: {}}}]),
        ("modprobe-useless", [{"state": "builtin"}]),
        ("not-loaded", [NOT_LOADED, {"files": {MODPROBE: {}}}]),
        ("not-loaded", [NOT_LOADED, after("reload", MODPROBE + ":4", hashsize=65536)]),
        ("namespace-dropping", [{"namespaces": [space(usage=0.7499), dict(space(drop=9), own=True)]}]),
        ("namespace-timeouts", [{"namespaces": [space(timeouts={"gre": 1, "udp": 30}), space(timeouts=None)]}]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_found(name, changes):
    assert name not in found(*changes)


@pytest.mark.parametrize(
    ("name", "severity", "changes"),
    [
        ("table-nearly-full", "warning", [table(6144, 8192)]),
        ("table-nearly-full", "critical", [table(7600, 8000)]),
        ("dropped-table-full", "critical", [table(6144, 8192), log(table_full=1)]),
        ("chains-long", None, [table(65536, 65536, 8192)]),
        ("lost-at-boot", "warning", [{"switches": {"tcp_loose": 0}}, after("boot", tcp_loose=1)]),
        ("lost-at-boot", "warning", [table(9000, 262144), after("boot", max=9000)]),
        ("lost-at-boot", "critical", [table(9001, 262144), after("boot", max=9000)]),
        ("lost-at-boot", "warning", [table(12800, 262144), after("boot", hashsize=512)]),
        ("lost-at-boot", "critical", [table(12801, 262144), after("boot", hashsize=512)]),
        ("namespace-dropping", "warning", [{"namespaces": [space(usage=0.75)]}]),
        ("namespace-dropping", "critical", [{"namespaces": [space(usage=0.95)]}]),
    ],
)
def test_bounds(name, severity, changes):
    said = found(*changes)
    assert (said[name].severity if name in said else None) == severity


def test_a_message_of_which_only_the_last_time_is_known():
    seen = found(log(table_full=2, first_seen=None, last_seen="2026-01-02T11:00:00Z"))["dropped-table-full"].seen
    assert seen == "2 messages of a full table in the log"


@pytest.mark.parametrize(
    "service",
    [
        {"services.firewalld": {"version": "0.9.11", "active": True, "unloads": False}},
        {"services.firewalld": {"version": "0.9.3", "active": False, "unloads": True}},
        {"services.iptables": {"active": True, "modules_unload": "yes", "unloads": False}},
        {"services.iptables": {"active": False, "unloads": True}},
    ],
    ids=repr,
)
def test_firewalls_that_leave_the_module_alone(service):
    assert "unloads" not in found(service, after("reload", max=5))["lost-at-reload"].seen


def test_without_the_persistence_subset_nothing_is_said_of_what_is_persisted():
    host = facts(NOT_LOADED)
    del host["files"]
    assert findings(host) == []


def test_the_old_names_are_judged_as_the_new_ones():
    keys = {"net.ipv4.netfilter.ip_conntrack_max": {"value": 4096, "source": None}}
    assert found({"flavour": "ip_conntrack", "outcome": {"boot": keys}})["lost-at-boot"].seen == "limit 8192 -> 4096"


def test_a_sentence_names_some_and_counts_the_others():
    longer = {timeout_key(name): 500000 for name in sorted(TIMEOUTS)[:9]}
    assert found(after("boot", **longer))["lost-at-boot"].seen.endswith(" (kernel default), and 3 more")


def test_worst_first_then_by_id():
    said = findings(facts(dict(FULL, timeouts=TIMEOUTS, **counted(early_drop=1, insert_failed=1))))
    assert [(one.severity, one.id) for one in said] == [
        ("critical", "table-nearly-full"),
        ("warning", "early-drop"),
        ("warning", "established-five-days"),
        ("info", "dropped-clash"),
    ]


# Whatever is missing


def everything(state="loaded"):
    """Facts that have something of every part."""
    changes = {"state": state, "kernel.nat": True, "timeouts": TIMEOUTS, "files": {MODPROBE: {}}, "unreadable": ["/a"]}
    for change in (FULL, counted(drop=9, insert_failed=3, chain_too_long=1, early_drop=1), log(table_full=1)):
        changes.update(change)
    changes.update(owners(("a", {MAX: 5, ESTABLISHED: 9}, None), ("b", {MAX: 6}, "/etc/x")))
    changes["namespaces"] = [space(drop=1, timeouts=TIMEOUTS), space(None, usage=1.0)]
    changes.update(cards(("ens5", 17, 0)))
    changes["outcome"] = {
        "boot": after("boot", max=5, hashsize=5)["outcome"]["boot"],
        "reload": after("reload", max=5, hashsize=5)["outcome"]["reload"],
        "overriding": overriding(5)["outcome"]["overriding"],
        "problems": problems(("load", "critical", "x", MODPROBE, 1), ("odd", "info", "y", "y", None))["outcome"][
            "problems"
        ],
    }
    return copy.deepcopy(facts(changes))


def names(value, path=()):
    """The way to each name, however deep."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if isinstance(key, str):
            yield path + (key,)
        yield from names(item, path + (key,))


def well_formed(said):
    for one in said:
        assert one.severity in RISKS[one.id].severities
        assert one.seen
        assert "None" not in one.seen
    assert said == sorted(said, key=lambda one: (SEVERITIES.index(one.severity), one.id))


@pytest.mark.parametrize("state", ["loaded", "builtin", "loadable", "absent"])
@pytest.mark.parametrize("missing", [True, False], ids=["missing", "none"])
def test_whatever_is_not_known_is_no_obstacle(state, missing):
    for path in list(names(everything(state))):
        host = everything(state)
        inner = host
        for key in path[:-1]:
            inner = inner[key]
        if missing:
            del inner[path[-1]]
        else:
            inner[path[-1]] = None
        well_formed(findings(host))


def test_any_subset_will_do():
    whole = everything()
    parts = [name for name in whole if name != "state"]
    for size in (0, 1, 2, len(parts)):
        for chosen in itertools.combinations(parts, size):
            well_formed(findings(dict({name: whole[name] for name in chosen}, state="loaded")))


def test_facts_are_left_as_they_are():
    given = everything()
    findings(given)
    assert given == everything()


@pytest.mark.parametrize("user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("name", golden.NAMES)
def test_every_golden_host_is_judged(name, user):
    known = golden.load(name, "facts")
    well_formed(findings(golden.overlaid(known["root"], known["user"]) if user else known["root"]))


# The page


def sections():
    """The sections of the page by their headings."""
    with open(os.path.join(HOME, "docs", "findings.md"), encoding="utf-8") as page:
        parts = page.read().split("\n## ")[1:]
    return {part.partition("\n")[0]: part for part in parts if not part.startswith("Bounds\n")}


def test_the_page_has_a_section_for_each_finding():
    assert list(sections()) == list(RISKS)


@pytest.mark.parametrize("name", sorted(RISKS))
def test_a_section_has_the_severities_and_the_variables_of_the_remedy(name):
    section = sections()[name]
    assert section.startswith("{0}\n\n*{1}.* ".format(name, " or ".join(RISKS[name].severities)))
    variables = set(re.findall("conntrack_[a-z_]+", RISKS[name].remedy))
    assert variables <= set(re.findall("conntrack_[a-z_]+", section))
