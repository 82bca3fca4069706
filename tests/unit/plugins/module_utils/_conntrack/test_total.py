# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""From the door down: whatever a host's files hold and are, there are facts, findings, a plan and tables of them."""

import contextlib
import json
import os
import shutil
import time

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import risks
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import audit
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table as report
from ansible_collections.headroom.netfilter.tests.unit import golden

pytestmark = pytest.mark.on_one_python

# What few golden hosts have, so that everything that reads a file finds one.
OTHERS = {
    "/etc/sysctl.d/50-local.conf": "net.netfilter.nf_conntrack_max = 100000\n-net.netfilter.nf_*\nnet/netfilter/*udp* = 5\n",
    "/etc/sysctl.d/99-conntrack.conf": "net.netfilter.nf_conntrack_max = 262144\n",
    "/etc/modprobe.d/local.conf": "options nf_conntrack hashsize=5000 \\\n acct=1\nsoftdep other pre: nf-conntrack\n",
    "/etc/modprobe.d/install.conf": "install nf_conntrack modprobe -i nf_conntrack && sysctl --pattern 'net[.]' --system\n",
    "/etc/modules-load.d/local.conf": "nf_conntrack\n",
    "/etc/initramfs-tools/modules": "nf_conntrack\n",
    "/etc/udev/rules.d/50-local.rules": (
        'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conn*", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net"\n'
        'KERNEL=="nf_conntrack|x", RUN+="/usr/sbin/sysctl -p /etc/sysctl.d/50-local.conf"\n'
    ),
    "/usr/sbin/sysctl": "",
    "/etc/ufw/ufw.conf": "ENABLED=yes\n",
    "/etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
    "/etc/ufw/sysctl.conf": "net/netfilter/nf_conntrack_max=200000\n",
    "/etc/sysconfig/iptables-config": 'IPTABLES_MODULES_UNLOAD="yes"\nIPTABLES_SYSCTL_LOAD_LIST=" .nf_conntrack"\n',
    "/var/lock/subsys/iptables": "",
    "/usr/libexec/iptables/iptables.init": 'IPTABLES_MODULES_UNLOAD="yes"\n[ -f "$IPTABLES_CONFIG" ] && . "$IPTABLES_CONFIG"\n',
    "/var/lock/subsys/tuned": "",
    "/etc/tuned/active_profile": "local\n",
    "/etc/tuned/local/tuned.conf": "[main]\ninclude=throughput , -other\n[sysctl]\nnet.netfilter.nf_conntrack_max=5\n  6\n",
    "/usr/lib/tuned/throughput/tuned.conf": "[modules]\nnf_conntrack=+r hashsize=4096\n",
    "/etc/rc.local": "echo 5000 > /sys/module/nf_conntrack/parameters/hashsize\n",
    "/etc/crontab": "@reboot root sysctl -w net.netfilter.nf_conntrack_max=7 | tee /proc/sys/net/nf_conntrack_max\n",
    "/etc/systemd/system/local.service": "[Service]\nExecStart=/bin/sh -c 'sysctl net.netfilter.nf_conntrack_max=8'\n",
    "/etc/systemd/system/sysinit.target.d/headroom-conntrack.conf": "[Unit]\nWants=headroom-conntrack.service\n",
    "/etc/systemd/system/headroom-conntrack.service": "[Service]\nExecStart=/bin/sh /etc/headroom/conntrack-size --boot\n",
    "/etc/headroom/conntrack-size": (
        "MAX=0\nEXPECTED=0\nHEADROOM=2\nHEADROOM_OF=1\nSHARE=1\nSHARE_OF=50\nFLOOR=65536\nCEILING=2097152\n"
        "PER_BUCKET=1\nHASHSIZE=0\nSHRINK=0\n"
    ),
    "/proc/77/comm": "kube-proxy\n",
    "/proc/77/cmdline": "kube-proxy\0--config=/config.yaml\0--conntrack-max-per-core=5\0",
    "/proc/77/root/config.yaml": "conntrack:\n  maxPerCore: 32768\n  tcpEstablishedTimeout: 24h0m0s\n",
    "/proc/77/status": "Name:\tkube-proxy\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
    "/proc/66/comm": "kube-proxy\n",
    "/proc/66/cgroup": "0::/docker/" + "0123456789abcdef" * 4 + "\n",
    "/proc/66/net/stat/nf_conntrack": "entries drop early_drop\n00000005 00000006 00000007\n",
    "/proc/88/comm": "k3s-server\n",
    "/proc/stat": "btime 1763800000\n",
    "/proc/uptime": "100000.5 1.1\n",
    "/proc/kmsg": "<4>[   61.5] nf_conntrack: nf_conntrack: table full, dropping packet\n",
    "/var/log/syslog": "Nov 22 08:13:01 web kernel: [ 61.5] nf_conntrack: table full, dropping packet\n",
    "/var/log/messages": "2026-11-22T08:13:01.1+01:00 web kernel: net_ratelimit: 41 callbacks suppressed\n",
    "/usr/bin/journalctl": "2026-11-22T09:43:00+0000 web kernel: nf_conntrack: table full, dropping packet\n",
}
LINKS = {
    "/proc/66/ns/net": "net:[4026532000]",
    "/proc/77/ns/net": "net:[4026531840]",
    "/proc/self/ns/net": "net:[4026531840]",
    "/proc/1/ns/net": "net:[4026531840]",
}
NAMES = ("centos7_firewalld", "debian12", "debian11_loadable", "builtin_618", "ubuntu1604", "no_conntrack", "centos5")

PIECES = st.sampled_from(
    [
        b"nf_conntrack",
        b"net.netfilter.nf_conntrack_max",
        b"options nf_conntrack hashsize=",
        b"=",
        b" ",
        b"\n",
        b"\0",
        b"\r",
        b'"',
        b"'",
        b"\\",
        b"[",
        b"*",
        b"-",
        b"1" * 30,
        b"9" * 5000,
        b"0x",
        "\u00b2".encode(),
        "\u0665".encode(),
        "\u2028".encode(),
        b"\xff",
        b"\xed\xb2\x80",
        b"1_0",
        b"kB",
        b"conntrack:",
        b"sysctl --pattern '([a-z_.]+)+$!' --system",
        b"{{ 7 * 7 }}",
        b"/a\0b",
        b"-1",
        b"..",
        b"4026532000",
    ]
)
BYTES = st.binary(max_size=60) | st.lists(PIECES, max_size=12).map(b"".join)


def flipped(content, at, byte):
    at %= len(content) or 1
    return content[:at] + bytes([byte]) + content[at + 1 :]


def doubled(content, at, times):
    lines = content.split(b"\n")
    at %= len(lines)
    return b"\n".join(lines[:at] + [lines[at]] * times + lines[at:])


def within(content, at, piece):
    at %= len(content) + 1
    return content[:at] + piece + content[at:]


KINDS = ("missing", "folder", "a loop", "nowhere", "FIFO", "to a folder", "to a device", "too long")
AT = st.integers(0, 2000)
# What is done to a file: made anew from what it holds, or put something else in its place.
CHANGES = st.one_of(
    BYTES.map(lambda new: lambda content: new),
    st.builds(lambda at, byte: lambda content: flipped(content, at, byte), AT, st.integers(0, 255)),
    st.builds(lambda at, times: lambda content: doubled(content, at, times), AT, st.integers(2, 300)),
    st.builds(lambda at, piece: lambda content: within(content, at, piece), AT, BYTES),
    st.builds(lambda at: lambda content: content[:at], AT),
    st.sampled_from(KINDS),
)
STRANGE = st.sampled_from(
    [b"\xff.conf", b"\xed\xb2\x80.conf", b"\n.conf", b"a\xe2\x80\xae.conf", "\u00b2".encode(), b"99999999999999999999"]
)
FOLDERS = (
    "etc/sysctl.d",
    "etc/modprobe.d",
    "etc/udev/rules.d",
    "proc",
    "run/netns",
    "etc/cron.d",
    "etc/modules-load.d",
)


def put(path, change):
    if change == "folder":
        os.mkdir(path)
    elif change == "a loop":
        os.symlink(os.path.basename(path), path)
    elif change == "nowhere":
        os.symlink("there is no such file", path)
    elif change == "to a folder":
        os.symlink(".", path)
    elif change == "to a device":
        os.symlink("/dev/zero", path)
    elif change == "FIFO":
        os.mkfifo(path)
    elif change == "too long":
        with open(path, "wb") as target:
            target.truncate(3 * 1024 * 1024)


@contextlib.contextmanager
def changed(root, changes, strange):
    """The tree with some of its files as they should not be, until the end."""
    kept, made = {}, []
    try:
        for file, change in changes.items():
            path = os.path.join(root, file)
            kept[path] = path + ".kept-for-later"
            os.rename(path, kept[path])
            if callable(change):
                with open(kept[path], "rb") as source, open(path, "wb") as target:
                    target.write(change(source.read()))
            else:
                put(path, change)
        for folder, name in strange:
            path = os.path.join(os.fsencode(root), folder.encode(), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.lexists(path):
                os.mkdir(path) if folder == "proc" else open(path, "wb").close()
                made.append(path)
        yield
    finally:
        for path in made:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for path, before in kept.items():
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.unlink(path)
            os.rename(before, path)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Of some golden hosts, with OTHERS where they have no such file: the root, and the files below it."""
    found = {}
    for name in NAMES:
        root = golden.lay_out(name, str(tmp_path_factory.mktemp("total") / name))
        for path, text in OTHERS.items():
            real = os.path.join(root, path.lstrip("/"))
            os.makedirs(os.path.dirname(real), exist_ok=True)
            if not os.path.lexists(real):
                with open(real, "w", encoding="utf-8") as target:
                    target.write(text)
            if path in ("/etc/rc.local", "/usr/sbin/sysctl"):
                os.chmod(real, 0o755)
        for path, target in LINKS.items():
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.symlink(target, root + path)
        paths = (os.path.join(folder, file) for folder, _folders, files in os.walk(root) for file in files)
        found[name] = root, sorted(os.path.relpath(path, root) for path in paths if not os.path.islink(path))
    return found


def all_of_it(name, root, as_root):
    facts = gather(golden.GoldenHost(name, root, as_root), ["all"])
    # As a module hands it on, and a controller reads it.
    judged(name, json.loads(json.dumps(facts, ensure_ascii=False).encode("utf-8").decode("utf-8")))


def judged(name, facts):
    findings = risks.findings(facts)
    made = as_dict(plan.make(facts, policy.read({})))
    report.fleet([report.Shown(name, report.of_facts(facts), report.of_plan(made))])
    audit.lines([(name, facts, findings)])


@pytest.mark.parametrize("name", NAMES)
def test_as_they_are(trees, name):
    all_of_it(name, trees[name][0], True)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/default/ufw", b"IPT_SYSCTL=/a\0b\n"),
        ("/etc/udev/rules.d/50-local.rules", b'KERNEL=="nf_conntrack", RUN+="a\0b/sysctl -p /c\0d"\n'),
        ("/etc/tuned/active_profile", b"a\0b\n"),
        ("/proc/meminfo", "MemTotal: \u00b2 kB\n".encode()),
        ("/proc/sys/kernel/osrelease", b"9" * 5000 + b".1\n"),
        ("/proc/sys/net/netfilter/nf_conntrack_max", b"9" * 5000 + b"\n"),
        ("/sys/devices/system/cpu/online", "0-\u00b2\n".encode()),
        ("/proc/77/cmdline", b"kube-proxy\0--config=/a\nb\0"),
        ("/proc/77/status", b"Uid:\t0\t0\nCapEff:\t\n"),
    ],
)
def test_what_was_not_thought_of(trees, path, content):
    root, _files = trees["debian12"]
    with changed(root, {path.lstrip("/"): lambda _content: content}, ()):
        all_of_it("debian12", root, True)


@given(
    st.sampled_from(NAMES),
    st.dictionaries(st.integers(0, 10**6), CHANGES, min_size=1, max_size=4),
    st.lists(st.tuples(st.sampled_from(FOLDERS), STRANGE), max_size=2),
    st.sampled_from([True, True, True, False]),
)
def test_whatever_is_in_some_files(trees, name, changes, strange, as_root):
    root, files = trees[name]
    with changed(root, {files[number % len(files)]: change for number, change in changes.items()}, strange):
        all_of_it(name, root, as_root)


@given(st.sampled_from(NAMES), st.sampled_from(sorted(OTHERS)), BYTES)
def test_whatever_is_in_a_file_that_is_understood(trees, name, path, content):
    root, _files = trees[name]
    with changed(root, {path.lstrip("/"): lambda _content: content}, ()):
        all_of_it(name, root, True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_something_else(trees, kind):
    root, files = trees["debian12"]
    with changed(root, dict.fromkeys(files, kind), ()):
        all_of_it("debian12", root, True)
    for path in OTHERS:
        with changed(root, {path.lstrip("/"): kind}, ()):
            all_of_it("debian12", root, True)


# What is decided by: other words there are none.
WORDS = {"state", "flavour", "container"}


def with_texts(value, text, name=""):
    """Facts as long as they may be: each free text this one, each list with fifty items."""
    if isinstance(value, dict):
        return {key: with_texts(item, text, key) for key, item in value.items()}
    if isinstance(value, list):
        return [with_texts(item, text) for item in value[:1] * 50]
    return text if isinstance(value, str) and name not in WORDS else value


@pytest.mark.parametrize(
    "fill", [" ", "a", "=", "\\", "'", '"', "1", "- ", "a.", "\n", "\u2028", "{{", "options a hashsize=", "a = "]
)
def test_the_longest_facts_do_not_take_long(trees, fill):
    facts = gather(golden.GoldenHost("debian12", trees["debian12"][0]), ["all"])
    text = (fill * 300)[:300]
    start = time.process_time()
    judged("debian12", with_texts(facts, text))
    assert time.process_time() - start < 5
