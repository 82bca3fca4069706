# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""With the role's files in their place: what keeps values from being as planned, each line of it."""

import copy
import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.files import (
    MODPROBE,
    MODULES_LOAD,
    SYSCTL,
    UDEV,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import contested, predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.planned import planned, without
from ansible_collections.headroom.netfilter.tests.unit import examples

PREFIX = "net.netfilter.nf_conntrack_"
MAX, BUCKETS, UDP = PREFIX + "max", PREFIX + "buckets", PREFIX + "udp_timeout"
ALIAS, OLD_MAX = "net.nf_conntrack_max", "net.ipv4.netfilter.ip_conntrack_max"
HELPER = "/usr/lib/systemd/systemd-sysctl"
CONTENTS = {
    SYSCTL: "# ours\n{0} = 5\n{1} = 6\n".format(MAX, UDP),
    MODPROBE: "# ours\noptions nf_conntrack hashsize=512\n",
    MODULES_LOAD: "# ours\nnf_conntrack\n",
    UDEV: 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="{0} --prefix=/net/netfilter"\n'.format(
        HELPER
    ),
}
WANTED = {"hashsize": 512, MAX: 5, UDP: 6}


def read(root, files, changes=()):
    files = dict(files, **{"/proc/sys/net/nf_conntrack_max": "1\n", HELPER: ""})
    for path, text in files.items():
        target = os.path.join(str(root), path.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if text.startswith("-> "):
            os.symlink(text[3:], target)
        else:
            with open(target, "w", encoding="utf-8") as opened:
                opened.write(text)
    facts = examples.facts(changes)
    facts["assignments"] = assignments(Host(str(root)), facts, ())[0]
    return facts


def found(facts, contents=None, **wanted):
    future = planned(facts, CONTENTS if contents is None else contents)
    builtin = facts["state"] == "builtin"
    keys = wanted or {"boot": dict(WANTED), "reload": {} if builtin else WANTED}
    if builtin:
        keys["boot"].pop("hashsize", None)
    return future, list(contested(future, keys))


def names(contests):
    return [
        line and "{0}:{1}".format(os.path.basename(line.path), line.line)
        for line in (contest.decision.line for contest in contests)
    ]


# Lines of files by their names, and those that keep a limit from being 5.
LINES = [
    ("nothing", {}, []),
    ("an earlier file", {"98-a.conf": [MAX + "=6"]}, []),
    ("a later file", {"99-z.conf": [MAX + "=6"]}, ["99-z.conf:1"]),
    ("a later file that says the same", {"99-z.conf": [MAX + "=5"]}, []),
    ("at first another, then the same", {"99-z.conf": [MAX + "=1", MAX + "=5"]}, []),
    (
        "each of the later lines",
        {"99-z.conf": [MAX + "=6", MAX + "=7"], "z.conf": [MAX + "=8"]},
        ["z.conf:1", "99-z.conf:2", "99-z.conf:1"],
    ),
    ("a glob", {"99-z.conf": ["net.netfilter.*=6"]}, []),
    ("an exclusion takes it back", {"99-z.conf": ["-" + MAX]}, ["99-z.conf:1"]),
    ("a refused value takes its place", {"99-z.conf": [MAX + "=x"]}, ["99-z.conf:1"]),
    ("the alias", {"99-z.conf": [ALIAS + "=6"]}, ["99-z.conf:1"]),
    ("the alias earlier", {"98-a.conf": [ALIAS + "=6"]}, []),
    ("the alias refused", {"99-z.conf": [ALIAS + "=x"]}, []),
    ("the alias taken back", {"99-z.conf": ["-" + ALIAS]}, []),
    ("the alias the same again", {"98-a.conf": [ALIAS + "=6"], "99-z.conf": [ALIAS + "=6"]}, []),
    ("the alias another", {"98-a.conf": [ALIAS + "=6"], "99-z.conf": [ALIAS + "=7"]}, ["99-z.conf:1"]),
    ("a glob through the alias", {"99-z.conf": ["net.*=6"]}, ["99-z.conf:1"]),
    ("a glob through the alias, refused", {"99-z.conf": ["net.*=x"]}, []),
    ("a glob through the alias, earlier", {"98-a.conf": ["net.*=6"]}, []),
    ("a glob, but the alias is set", {"98-a.conf": [ALIAS + "=6"], "99-z.conf": ["net.*=6"]}, []),
    ("a glob, but the alias is excluded", {"99-z.conf": ["net.*=6", "-" + ALIAS]}, []),
    ("a glob once the alias is gone", {"99-z.conf": [ALIAS + "=6", "net.*=7"]}, ["99-z.conf:1", "99-z.conf:2"]),
    ("an older name that is not there", {"99-z.conf": [OLD_MAX + "=6"]}, []),
    # systemd writes our line where the same was read first, so before the alias.
    ("an earlier alias", {"10.conf": [MAX + " = 5"], "20.conf": [ALIAS + " = 6"]}, ["20.conf:1"]),
]


@pytest.mark.parametrize("state", ["loaded", "builtin"])
@pytest.mark.parametrize("there", [True, False], ids=["ours is there", "ours is not there yet"])
@pytest.mark.parametrize(("files", "expected"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_lines_of_sysctl_d(tmp_path, files, expected, there, state):
    laid_out = {"/etc/sysctl.d/" + name: "\n".join(lines) + "\n" for name, lines in files.items()}
    if there:
        laid_out[SYSCTL] = MAX + " = 5\n" + UDP + " = 7\n"
    facts = read(tmp_path, laid_out, {"state": state})
    future, contests = found(facts)
    assert names(contests) == expected
    gone = [(contest.decision.line.file, contest.decision.line.text) for contest in contests]
    will = predict(without(future, gone)).boot
    assert {key: will[key].value for key in (MAX, UDP)} == {MAX: 5, UDP: 6}
    # The same from the start.
    assert predict(planned(facts, CONTENTS, gone)).boot == will


def test_a_file_that_ours_hides_is_gone_with_it(tmp_path):
    hidden = {
        "/usr/lib/sysctl.d/99-conntrack.conf": "{0} = 6\n{1} = 7\n".format(MAX, ALIAS),
        "/run/modprobe.d/nf_conntrack.conf": "install nf_conntrack /bin/true\n",
        "/usr/lib/udev/rules.d/90-conntrack.rules": CONTENTS[UDEV].replace("/net/netfilter", "/net/core"),
    }
    assert found(read(tmp_path, hidden))[1] == []


def test_what_a_link_to_ours_says_is_what_ours_will_say(tmp_path):
    files = {SYSCTL: MAX + " = 7\n", "/etc/sysctl.d/99-z.conf": "-> 99-conntrack.conf"}
    assert found(read(tmp_path, files))[1] == []


def test_with_procps(tmp_path):
    files = {"/etc/sysctl.conf": MAX + " = 6\n" + UDP + " = x\n", "/etc/sysctl.d/zz.conf": UDP + " = 7\n"}
    facts = read(tmp_path, files, {"services.systemd_sysctl": None, "state": "builtin"})
    _future, contests = found(facts)
    assert names(contests) == ["sysctl.conf:1", "zz.conf:1"]


ZZ = "/etc/modprobe.d/zz.conf"
OF_MODULES = [
    ("options behind ours", {ZZ: "options nf_conntrack hashsize=1024\n"}, ["zz.conf:1"], "value"),
    (
        "two of them",
        {ZZ: "options nf_conntrack hashsize=1024\noptions nf_conntrack hashsize=2048\n"},
        ["zz.conf:2", "zz.conf:1"],
        "value",
    ),
    ("options before ours", {"/etc/modprobe.d/a.conf": "options nf_conntrack hashsize=1024\n"}, [], None),
    ("options that round to ours", {ZZ: "options nf_conntrack hashsize=500\n"}, [], None),
    (
        "a quote that does not end",
        {"/etc/modprobe.d/a.conf": 'options nf_conntrack dyndbg="+p\n'},
        ["a.conf:1"],
        "default",
    ),
    ("blanks", {ZZ: "options nf_conntrack hashsize = 65536\n"}, ["zz.conf:1"], "fails"),
    ("no load at all", {ZZ: "install nf_conntrack /bin/true\n"}, ["zz.conf:1"], "fails"),
    ("a command that nobody knows", {ZZ: "install nf_conntrack /sbin/load-it\n"}, ["zz.conf:1"], "untold"),
    ("barred", {"/proc/cmdline": "quiet module_blacklist=nf_conntrack\n"}, ["kernel command line:0"], "fails"),
    (
        "buckets of the command line",
        {"/proc/cmdline": "nf_conntrack.hashsize=1024\n"},
        ["kernel command line:0"],
        "value",
    ),
    ("garbage of the command line", {"/proc/cmdline": "nf_conntrack.hashsize=x\n"}, ["kernel command line:0"], "fails"),
    ("buckets of sysctl.d", {"/etc/sysctl.d/zz.conf": BUCKETS + " = 1024\n"}, ["zz.conf:1"], "value"),
]


@pytest.mark.parametrize(
    ("files", "expected", "kind"), [case[1:] for case in OF_MODULES], ids=[case[0] for case in OF_MODULES]
)
def test_lines_of_a_module(tmp_path, files, expected, kind):
    facts = read(tmp_path, files)
    _future, contests = found(facts)
    assert names(contests) == expected
    assert {contest.decision.value.kind for contest in contests} == {kind} - {None}
    gone = [(contest.decision.line.file, contest.decision.line.text) for contest in contests]
    for values in predict(planned(facts, CONTENTS, gone))[:2]:
        assert {key: values[key].value for key in WANTED} == WANTED


@pytest.mark.parametrize("files", [case[1] for case in OF_MODULES[:-1]], ids=[case[0] for case in OF_MODULES[:-1]])
def test_a_kernel_that_has_it_built_in_asks_nobody_for_a_load(tmp_path, files):
    facts = read(tmp_path, files, {"state": "builtin"})
    own = {SYSCTL: CONTENTS[SYSCTL] + BUCKETS + " = 512\n"}
    assert list(contested(planned(facts, own), {"boot": WANTED})) == []
    future = planned(facts, dict(own, **{path: "x" for path in CONTENTS if path != SYSCTL}))
    assert future["assignments"]["modprobe"] == facts["assignments"]["modprobe"]


@pytest.mark.parametrize("state", ["loaded", "builtin"])
def test_buckets_that_sysctl_d_says_afterwards(tmp_path, state):
    facts = read(tmp_path, {"/etc/sysctl.d/zz.conf": BUCKETS + " = 1024\n"}, {"state": state})
    own = {SYSCTL: CONTENTS[SYSCTL] + BUCKETS + " = 512\n"} if state == "builtin" else CONTENTS
    (contest,) = contested(planned(facts, own), {"boot": WANTED})
    assert (contest.key, contest.decision.value.value) == ("hashsize", 1024)
    assert contest.decision.line.text == BUCKETS + " = 1024"


def test_without_our_rule_a_load_is_contested_by_nobody_s_line(tmp_path):
    contents = {path: text for path, text in CONTENTS.items() if path != UDEV}
    _future, contests = found(read(tmp_path, {}), contents)
    assert names(contests) == ["nf_conntrack.conf:2", None]
    assert [(contest.event, contest.key, contest.decision.value.source) for contest in contests] == [
        ("reload", MAX, "8 x hashsize from {0}:2".format(MODPROBE)),
        ("reload", UDP, "kernel default"),
    ]


def test_a_key_that_the_kernel_does_not_have(tmp_path):
    facts = read(tmp_path, {})
    (contest,) = contested(planned(facts, CONTENTS), {"boot": {PREFIX + "dccp_timeout_open": 5}})
    assert (contest.decision.value.kind, contest.decision.value.value) == ("absent", None)


def test_facts_are_left_as_they_are(tmp_path):
    facts = read(tmp_path, {SYSCTL: MAX + " = 7\n", ZZ: "options nf_conntrack hashsize=1024\n"})
    before = copy.deepcopy(facts)
    planned(facts, CONTENTS, [(ZZ, "options nf_conntrack hashsize=1024")])
    assert facts == before
