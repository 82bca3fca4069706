# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Initial RAM disks that load the module: what they have of it, by their configuration, their content and their age."""

import gzip
import os
import sys
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.loading import loads_at_boot
from ansible_collections.headroom.netfilter.tests.unit import examples
from ansible_collections.headroom.netfilter.tests.unit.disks import archive

RELEASE = examples.facts()["kernel"]["release"]
MAX = "net.netfilter.nf_conntrack_max"
BUILT = 1000000000  # when the disk was made

LIST = "etc/initramfs-tools/modules"
LINE = "etc/modprobe.d/nf_conntrack.conf"
LOAD = "etc/modules-load.d/nf_conntrack.conf"
INITRD = "boot/initrd.img-" + RELEASE
DRACUTS = "boot/initramfs-{0}.img".format(RELEASE)
NEW, OLD = "options nf_conntrack hashsize=262144\n", "options nf_conntrack hashsize=32768\n"

TOOLS = {"usr/sbin/mkinitramfs": "", LIST: "# some\nnf_conntrack\n", LINE: NEW}
DRACUT = {
    "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n',
    "etc/dracut.conf": "# hostonly=no\n",
    LOAD: "nf_conntrack\n",
    LINE: NEW,
}
ARCH = {
    "etc/mkinitcpio.conf": "MODULES=(ext4 nf_conntrack)\nHOOKS=(base udev modconf)\n",
    "usr/lib/modules/{0}/pkgbase".format(RELEASE): "linux-lts\n",
    LINE: NEW,
}
LTS = "boot/initramfs-linux-lts.img"
ZSTD = b"\x28\xb5\x2f\xfd" + b"x" * 100


def disk(content, pack=gzip.compress):
    return pack(archive(content))


def host(root, there, newer=()):
    """``there``: text by path, bytes of disks; all as old as the disk but for those that are newer."""
    for path, content in there.items():
        real = os.path.join(str(root), path)
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "wb") as target:
            target.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        age = BUILT + 100 if path in newer else BUILT - 100 if path not in (INITRD, DRACUTS, LTS) else BUILT
        os.utime(real, (age, age))
    return Host(str(root))


def facts(there, state="loaded"):
    found = examples.facts({"state": state})
    found["assignments"] = assignments(there, found, ())[0]
    return found


# Name, files, those of them that are newer than the disk; buckets after a boot, and the file that decides: nothing where the module is
# not in there, else whether all of it could be told.
CASES = [
    ("initramfs-tools, as old as its files", dict(TOOLS, **{INITRD: ZSTD}), (), 262144, True),
    (
        "initramfs-tools, opened",
        dict(TOOLS, **{INITRD: disk({"conf/modules": "nf_conntrack\n", LINE: OLD})}),
        (LINE,),
        32768,
        True,
    ),
    (
        "another line of it",
        dict(TOOLS, **{INITRD: disk({"conf/modules": "nf_conntrack hashsize=4096\n", LINE: OLD})}),
        (LINE,),
        4096,
        True,
    ),
    ("without a line of modprobe.d", dict(TOOLS, **{INITRD: disk({"conf/modules": "nf_nat\n"})}), (LINE,), 65536, True),
    ("cannot be unpacked, and is older", dict(TOOLS, **{INITRD: ZSTD}), (LINE,), None, False),
    ("cannot be unpacked, but is older than the list too", dict(TOOLS, **{INITRD: ZSTD}), (LINE, LIST), 262144, None),
    (
        "opened: not in there",
        dict(TOOLS, **{INITRD: disk({"conf/modules": "ext4\n", LINE: OLD})}),
        (LINE,),
        262144,
        None,
    ),
    ("there is none", TOOLS, (), 262144, None),
    ("not in the list", dict(TOOLS, **{LIST: "# nf_conntrack\nloop\n", INITRD: ZSTD}), (LINE,), 262144, None),
    (
        "a list of a package",
        {
            "usr/sbin/mkinitramfs": "",
            "usr/share/initramfs-tools/modules.d/vendor": "nf_conntrack\n",
            LINE: NEW,
            INITRD: disk({"conf/modules": "nf_conntrack\n", LINE: OLD}),
        },
        (LINE,),
        32768,
        True,
    ),
    ("a parameter of the list", dict(TOOLS, **{LIST: "nf_conntrack hashsize=4096\n", INITRD: ZSTD}), (), 4096, True),
    ("dracut, older than modules-load.d", dict(DRACUT, **{DRACUTS: ZSTD}), (LOAD, LINE), 262144, None),
    ("dracut, as old as its files", dict(DRACUT, **{DRACUTS: ZSTD}), (), 262144, True),
    (
        "dracut, opened",
        dict(DRACUT, **{DRACUTS: disk({LOAD: "nf_conntrack\n", LINE: OLD}), "etc/dracut.conf.d/a.conf": ""}),
        (LINE,),
        32768,
        True,
    ),
    ("dracut, cannot be unpacked", dict(DRACUT, **{DRACUTS: ZSTD}), (LINE,), None, False),
    (
        "dracut for every host",
        dict(DRACUT, **{"etc/dracut.conf.d/a.conf": "hostonly=no\n", DRACUTS: ZSTD}),
        (),
        262144,
        None,
    ),
    (
        "dracut for every host, and a package's list",
        dict(
            DRACUT,
            **{
                "etc/dracut.conf.d/a.conf": "hostonly='no'\n",
                "usr/lib/modules-load.d/v.conf": "nf_conntrack\n",
                DRACUTS: ZSTD,
            },
        ),
        (),
        65536,
        True,
    ),
    (
        "dracut's force_drivers",
        {
            "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n',
            "etc/dracut.conf.d/a.conf": 'force_drivers+=" xfs nf_conntrack "\n',
            LINE: NEW,
            DRACUTS: disk({"etc/cmdline.d/20-force_drivers.conf": "rd.driver.pre=nf_conntrack\n", LINE: OLD}),
        },
        (LINE,),
        32768,
        True,
    ),
    ("mkinitcpio", dict(ARCH, **{LTS: ZSTD}), (), 262144, True),
    (
        "mkinitcpio, opened",
        dict(ARCH, **{LTS: disk({"config": 'EARLYMODULES="ext4 nf_conntrack"\n', LINE: OLD})}),
        (LINE,),
        32768,
        True,
    ),
    (
        "mkinitcpio with systemd, opened",
        dict(ARCH, **{LTS: disk({"etc/modules-load.d/MODULES.conf": "ext4\nnf_conntrack\n", LINE: OLD})}),
        (LINE,),
        32768,
        True,
    ),
    (
        "mkinitcpio without modconf",
        dict(ARCH, **{"etc/mkinitcpio.conf": "MODULES=(nf_conntrack)\nHOOKS=(base)\n", LTS: ZSTD}),
        (),
        65536,
        True,
    ),
    ("mkinitcpio, no such module", dict(ARCH, **{"etc/mkinitcpio.conf": "MODULES=()\n", LTS: ZSTD}), (), 262144, None),
]


@pytest.mark.parametrize(
    ("there", "newer", "buckets", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_buckets_after_a_boot(tmp_path, there, newer, buckets, told):
    found = facts(host(tmp_path, there, newer))
    part = found["assignments"].get("ramdisk")
    assert (part and part["told"]) == told
    outcome = predict(found)
    assert outcome.boot["hashsize"].value == buckets
    assert outcome.reload["hashsize"].value == 262144
    # Who was not told is not taken for anything else.
    assert (outcome.boot["hashsize"].kind == "untold") is (told is False)
    assert [problem.kind for problem in outcome.problems] == ["behind"] * (buckets != 262144 and not _is_made_so(there))
    if told is not None:
        assert loads_at_boot(found["assignments"], "nf_conntrack")


def _is_made_so(there):
    """Whether a disk that is made now would have the same buckets."""
    said = there.get(LIST, "") + there.get("etc/mkinitcpio.conf", "") + there.get("etc/dracut.conf.d/a.conf", "")
    return "4096" in said or "HOOKS=(base)" in said or "'no'" in said


def test_what_sysctl_d_says_holds(tmp_path):
    """It is applied after the disk is left."""
    there = dict(TOOLS, **{INITRD: ZSTD, "etc/sysctl.d/90-a.conf": MAX + " = 100000\n"})
    outcome = predict(facts(host(tmp_path, there, (LINE,))))
    assert (outcome.boot["hashsize"].value, outcome.boot[MAX].value) == (None, 100000)


def test_what_the_disks_sysctl_d_alone_says_stays(tmp_path):
    inside = {
        LOAD: "nf_conntrack\n",
        LINE: OLD,
        "etc/sysctl.d/a.conf": MAX + " = 90000\nnet.netfilter.nf_conntrack_udp_timeout = 50\n",
    }
    there = dict(DRACUT, **{DRACUTS: disk(inside), "etc/sysctl.d/a.conf": MAX + " = 100000\n"})
    outcome = predict(facts(host(tmp_path, there, (LINE,))))
    assert outcome.boot[MAX].value == 100000
    assert outcome.boot["net.netfilter.nf_conntrack_udp_timeout"].value == 50


def test_a_problem_names_the_command(tmp_path):
    there = dict(TOOLS, **{INITRD: disk({"conf/modules": "nf_conntrack\n", LINE: OLD})})
    (problem,) = predict(facts(host(tmp_path, there, (LINE,)))).problems
    assert (problem.kind, problem.severity, problem.path, problem.line) == ("behind", "warning", "/" + INITRD, None)
    assert "hashsize 32768" in problem.said
    assert "hashsize 262144" in problem.said
    assert problem.said.endswith("renewed: update-initramfs -u -k " + RELEASE)


@pytest.mark.parametrize(
    ("there", "command"),
    [
        (dict(TOOLS, **{INITRD: ZSTD}), "update-initramfs -u -k " + RELEASE),
        (dict(DRACUT, **{DRACUTS: ZSTD}), "dracut -f --kver " + RELEASE),
        (dict(ARCH, **{LTS: ZSTD}), "mkinitcpio -P"),
    ],
    ids=["initramfs-tools", "dracut", "mkinitcpio"],
)
@pytest.mark.parametrize("newer", [(), (LINE,)], ids=["as old", "older"])
def test_commands(tmp_path, there, command, newer):
    assert facts(host(tmp_path, there, newer))["assignments"]["ramdisk"]["renew"] == command


def test_a_copy_is_no_line_of_somebodys(tmp_path):
    """That can be taken over or refused: it goes with the next disk."""
    own = {
        files.MODPROBE[1:]: "options nf_conntrack hashsize=262144\n",
        files.SYSCTL[1:]: MAX + " = 262144\n",
    }
    there = dict(TOOLS, **own)
    there[INITRD] = disk({"conf/modules": "nf_conntrack\n", "etc/modprobe.d/a.conf": OLD})
    assert predict(facts(host(tmp_path, there, (files.MODPROBE[1:],)))).overriding == []


@pytest.mark.parametrize("state", ["loaded", "loadable"])
def test_a_load_that_fails_in_there_is_none(tmp_path, state):
    there = dict(TOOLS, **{INITRD: disk({"conf/modules": "nf_conntrack\n", LINE: "options nf_conntrack hashsize=x\n"})})
    outcome = predict(facts(host(tmp_path, there, (LINE,)), state))
    assert outcome.boot["hashsize"].value == 262144


def test_a_list_of_a_tool_that_is_gone_loads_nothing(tmp_path):
    there = {LIST: "nf_conntrack\n", "usr/lib/dracut/dracut.conf.d/01-dist.conf": 'hostonly="yes"\n', INITRD: ZSTD}
    assert facts(host(tmp_path, there))["assignments"]["early"] == []


@pytest.mark.parametrize("text", ["MODULES=(\n", 'MODULES="\n', "MODULES=a\n"], ids=["brackets", "quotes", "lines"])
def test_lists_without_an_end_take_no_time(tmp_path, text):
    started = time.process_time()
    facts(host(tmp_path, dict(ARCH, **{"etc/mkinitcpio.conf": text * 50000, LTS: ZSTD})))
    assert time.process_time() - started < 5


PACKAGE = "ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome."


@pytest.mark.parametrize(
    ("there", "newer"),
    [
        ({LOAD: "nf_conntrack\n", LINE: NEW, INITRD: ZSTD, "usr/sbin/mkinitramfs": "", LIST: "#\n"}, (LOAD, LINE)),
        (dict(DRACUT, **{DRACUTS: ZSTD}), (LOAD, LINE)),
        (dict(DRACUT, **{DRACUTS: ZSTD}), ()),
    ],
    ids=["Debian", "dracut's disk before the role", "dracut's disk after it"],
)
def test_ordinary_hosts_import_nothing_for_it(tmp_path, monkeypatch, there, newer):
    for name in ("ramdisk", "cpio"):
        monkeypatch.delitem(sys.modules, PACKAGE + name, raising=False)
    facts(host(tmp_path, there, newer))
    assert PACKAGE + "ramdisk" not in sys.modules


def test_of_more_lines_than_are_told_none_is(tmp_path):
    inside = {"conf/modules": "nf_conntrack\n", LINE: "options nf_conntrack acct=1\n" * 300}
    part = facts(host(tmp_path, dict(TOOLS, **{INITRD: disk(inside)}), (LINE,)))["assignments"]["ramdisk"]
    assert (part["told"], part["modprobe"]) == (False, [])
