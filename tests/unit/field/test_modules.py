# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts that people have reported, as far as it matters what is loaded and with which parameters: trees, and what is true of them."""

import os
import shutil

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.risks import findings
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "net.netfilter.nf_conntrack_"


class FieldHost(Host):
    """A tree, read as root of its machine reads it."""

    def machine(self):
        return "x86_64"

    def page_size(self):
        return 4096

    def is_root(self):
        return True


@pytest.fixture
def told(tmp_path):
    """Facts of a case, with other files than it has, and its findings by id: how bad, and what was seen."""

    def of(case, files=None, links=None):
        root = str(tmp_path / case)
        shutil.copytree(os.path.join(HERE, case), root)
        for path, text in (files or {}).items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as target:
                target.write(text)
        for path, target in (links or {}).items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            os.symlink(target, os.path.join(root, path))
        facts = gather(FieldHost(root), ["all"])
        return facts, {finding.id: (finding.severity, finding.seen) for finding in findings(facts)}

    return of


def will_be(facts, event, *keys):
    """The values, and the lines they are from."""
    values = [facts["outcome"][event][key if key == "hashsize" else PREFIX + key] for key in keys]
    return [(value["value"], value["source"]) for value in values]


OPENVZ = "08-openvz-parameter"


def test_a_parameter_that_a_vendor_added_is_one(told):
    """Virtuozzo 7: options nf_conntrack ip_conntrack_disable_ve0=0, which its kernel has, of an age that refuses what it has not."""
    facts, found = told(OPENVZ)
    assert facts["assignments"]["parameters"] == ["ip_conntrack_disable_ve0"]
    assert facts["outcome"]["problems"] == []
    assert not {"modprobe-broken", "persistence-broken"} & set(found)
    assert will_be(facts, "reload", "hashsize", "max") == [(16384, "kernel default"), (65536, "kernel default")]


def test_the_same_line_on_a_kernel_of_that_age_without_it(told):
    """As kept by a host that went from OpenVZ to its distribution's kernel: CentOS 7's 3.10 refuses the load."""
    line = {"etc/modprobe.d/vz.conf": "options nf_conntrack ip_conntrack_disable_ve1=0\n"}
    facts, found = told(OPENVZ, line)
    assert found["modprobe-broken"][0] == "critical"
    assert (
        "'ip_conntrack_disable_ve1' is no parameter of nf_conntrack here: before Linux 3.11"
        in found["modprobe-broken"][1]
    )
    assert {value["kind"] for value in facts["outcome"]["reload"].values()} == {"fails"}


def test_a_parameter_that_there_is_not_does_nothing(told):
    """Linux 6.1.192 in QEMU: insmod nf_conntrack.ko nf_conntrack_max=65535 gives 0, "unknown parameter ignored"."""
    facts, found = told("12-modprobe-nf_conntrack_max")
    assert found["persistence-broken"][0] == "warning"
    assert found["persistence-broken"][1].startswith(
        "/etc/modprobe.d/nf_conntrack.conf:1: 'nf_conntrack_max' is no parameter"
    )
    assert "modprobe-broken" not in found
    assert will_be(facts, "boot", "max") == [(262144, "kernel default")]


def test_buckets_of_expectations_bound_them(told):
    """Linux 6.1.192 in QEMU with these options: hashsize 262144, max 2097152, expect_max 1048576."""
    facts, found = told("13-expect_hashsize")
    line = "/etc/modprobe.d/nf_conntrack.conf:1"
    for event in ("boot", "reload"):
        assert will_be(facts, event, "hashsize", "max", "expect_max") == [
            (262144, line),
            (2097152, "8 x hashsize from " + line),
            (1048576, "4 x expect_hashsize from " + line),
        ]
    assert not [name for name in found if name.startswith("lost-at")]


def test_a_module_that_is_not_to_be_loaded(told):
    """A vendor's guide has it switched off: install nf_conntrack /bin/false, and blacklisted with all that needs it."""
    facts, found = told("15-kunpeng-disable")
    assert facts["state"] == "loadable"
    assert found["modprobe-broken"] == (
        "critical",
        "/etc/modprobe.d/blacklist.conf:1: modprobe does not load nf_conntrack: /bin/false",
    )
    assert {(value["kind"], value["source"]) for value in facts["outcome"]["boot"].values()} == {
        ("fails", "the load fails: /etc/modprobe.d/blacklist.conf:1")
    }


GONE = "17-nf_conntrack_ipv4-gone"
DEBIANS = {"etc/modules-load.d/modules.conf": "../modules"}
DEP = "lib/modules/6.1.0-56-cloud-amd64/modules.dep"
ALIAS = "lib/modules/6.1.0-56-cloud-amd64/modules.alias"


def test_a_module_that_this_kernel_has_not_loads_nothing(told):
    """kmod 30 over Debian's 6.1.0-56-cloud-amd64: modprobe -n nf_conntrack_ipv4: not found."""
    facts, found = told(GONE, links=DEBIANS)
    assert facts["outcome"]["boot"] == facts["outcome"]["reload"]
    assert will_be(facts, "boot", "max", "tcp_timeout_established") == [
        (401408, "8 x hashsize from /etc/modprobe.d/nf_conntrak.conf:1"),
        (432000, "kernel default"),
    ]
    assert found["lost-at-boot"][0] == "critical"
    assert found["persistence-broken"] == (
        "warning",
        "/etc/modules-load.d/modules.conf:1: this kernel has no module nf_conntrack_ipv4, so that nothing is loaded by that name; "
        "/etc/modules-load.d/modules.conf:2: this kernel has no module nf_conntrack_ipv6, so that nothing is loaded by that name",
    )


FTP = "kernel/net/netfilter/nf_conntrack_ftp.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz\n"
EARLY = [
    ("the module", "nf_conntrack\n", {}, True),
    ("one that depends on it", "nf-conntrack-ftp\n", {}, True),
    ("its alias", "ip_conntrack_ftp\n", {}, True),
    ("an alias of the module", "ip_conntrack\n", {}, True),
    ("a pattern", "net-pf-16-proto-12-type-1\n", {}, True),
    ("one that does not", "nf_defrag_ipv4\n", {}, False),
    ("blacklisted", "nf_conntrack_ftp\n", {"etc/modprobe.d/b.conf": "blacklist nf-conntrack-ftp\n"}, False),
    (
        "the alias of one blacklisted",
        "ip_conntrack_ftp\n",
        {"proc/cmdline": "modprobe.blacklist=nf_conntrack_ftp\n"},
        False,
    ),
    ("an alias of somebody's", "tracking\n", {"etc/modprobe.d/b.conf": "alias track* nf_conntrack_ftp\n"}, True),
    ("another in its place", "nf_conntrack\n", {"etc/modprobe.d/b.conf": "alias nf_conntrack off\n"}, False),
    (
        "one that has it in its place",
        "nf_conntrack\n",
        {"etc/modprobe.d/b.conf": "alias nf_conntrack nf_conntrack_ftp\n"},
        True,
    ),
    (
        "a soft dependency",
        "nf_defrag_ipv4\n",
        {"etc/modprobe.d/b.conf": "softdep nf_defrag_ipv4 post: ip_conntrack\n"},
        True,
    ),
    (
        "a soft dependency of the kernel's own",
        "nf_defrag_ipv4\n",
        {DEP.replace("dep", "softdep"): "# c\nsoftdep nf_defrag_ipv4 post: nf_conntrack_ftp\n"},
        True,
    ),
]


@pytest.mark.parametrize(("named", "files", "is_early"), [case[1:] for case in EARLY], ids=[case[0] for case in EARLY])
def test_what_brings_it_at_boot(told, named, files, is_early):
    """sysctl.d, whose limit is 800000, is applied to a module that is there by then."""
    with open(os.path.join(HERE, GONE, DEP), encoding="utf-8") as dep:
        own = {DEP: dep.read().replace(".ko", ".ko.xz") + FTP + "kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko.xz:\n"}
    with open(os.path.join(HERE, GONE, ALIAS), encoding="utf-8") as alias:
        own[ALIAS] = (
            alias.read() + "alias ip_conntrack_ftp nf_conntrack_ftp\nalias net-pf-16-proto-12-type-* nf_conntrack_ftp\n"
        )
    facts, _found = told(GONE, dict(own, **dict(files, **{"etc/modules": named})), DEBIANS)
    assert (will_be(facts, "boot", "max")[0][0] == 800000) is is_early


def test_a_word_of_the_command_line_brings_it(told):
    facts, _found = told(GONE, {"proc/cmdline": "ro modules_load=nf_conntrack_ipv4,ip_conntrack\n"}, {})
    assert facts["assignments"]["early"] == [
        {"path": "kernel command line", "line": 0, "module": "nf_conntrack_ipv4", "brings": False},
        {"path": "kernel command line", "line": 0, "module": "nf_conntrack", "brings": True},
    ]
    assert will_be(facts, "boot", "max")[0][0] == 800000


def test_etc_modules_alone_is_read_by_nobody_of_systemds(told):
    facts, found = told(GONE, {"etc/modules": "nf_conntrack\n"})
    assert facts["assignments"]["early"] == []
    assert found["lost-at-boot"][0] == "critical"


def test_where_no_index_is_there_the_list_of_names_decides(told):
    facts, found = told(GONE, {"proc/sys/kernel/osrelease": "4.18.0-1\n"}, DEBIANS)
    assert will_be(facts, "boot", "max")[0][0] == 800000
    assert "lost-at-boot" not in found
