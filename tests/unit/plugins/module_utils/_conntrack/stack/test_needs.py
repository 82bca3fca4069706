# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Who needs connection tracking: each is named, with where it is and what to do."""

import os

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.stack import order
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.stack.needs import MOST, needs

RULESET = "table inet f {\n\tchain i {\n\t\tct state new accept\n\t}\n}\n"
SAVED = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
BARE = "nf_conntrack 1 0 - Live 0x0\n"


class Tree(WritableHost):
    def inside(self, files, look, longest=0):
        return {}


def laid_out(root, files):
    for path, text in files.items():
        at = str(root) + path
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w", encoding="utf-8") as target:
            target.write(text)
        os.chmod(at, 0o755)
    return Tree(str(root))


def found(root, files, modules=BARE, is_builtin=False):
    host = laid_out(root, files)
    stack = order.order(order.loaded(modules), "nf_conntrack")
    return [(one.kind, one.where, one.text) for one in needs(host, stack, is_builtin)]


@pytest.mark.parametrize(
    ("files", "need"),
    [
        ({}, None),
        (
            {"/usr/sbin/nft": RULESET},
            ("rule", "nftables, table inet f, chain i", "ct state new accept"),
        ),
        (
            {"/usr/sbin/iptables-legacy-save": SAVED, "/proc/net/ip_tables_names": "nat\n"},
            ("rule", "iptables, table nat, chain POSTROUTING", "-A POSTROUTING -o eth0 -j MASQUERADE"),
        ),
        (
            {"/sbin/ip6tables-save": SAVED, "/proc/net/ip6_tables_names": "nat\n"},
            ("rule", "ip6tables, table nat, chain POSTROUTING", "-A POSTROUTING -o eth0 -j MASQUERADE"),
        ),
        ({"/usr/sbin/iptables-save": SAVED, "/proc/net/ip_tables_names": ""}, None),
        (
            {"/proc/net/ip_tables_names": "nat\n"},
            ("untold", "iptables", "there are tables nat, and no iptables-save to list them"),
        ),
        ({"/proc/9/comm": "dockerd\n"}, ("service", "docker", "process dockerd")),
        ({"/proc/9/comm": "kube-proxy\n"}, ("service", "kube-proxy", "process kube-proxy")),
        ({"/proc/9/comm": "libvirtd\n"}, ("service", "libvirtd", "process libvirtd")),
        ({"/proc/9/comm": "conmon\n"}, ("service", "podman", "process conmon")),
        ({"/run/systemd/units/invocation:firewalld.service": ""}, ("service", "firewalld", "active")),
        (
            {"/etc/systemd/system/multi-user.target.wants/docker.service": ""},
            ("service", "docker", "enabled: the next boot starts it"),
        ),
        ({"/etc/runlevels/default/docker": ""}, ("service", "docker", "enabled: the next boot starts it")),
        ({"/etc/ufw/ufw.conf": "ENABLED=yes\n"}, ("service", "ufw", "/etc/ufw/ufw.conf: ENABLED=yes")),
        ({"/etc/ufw/ufw.conf": "ENABLED=no\n"}, None),
        (
            {
                "/etc/systemd/system/sysinit.target.wants/nftables.service": "",
                "/etc/nftables.conf": RULESET,
            },
            ("file", "/etc/nftables.conf, table inet f, chain i", "ct state new accept"),
        ),
        ({"/etc/nftables.conf": RULESET}, None),
        (
            {"/etc/rc2.d/S02netfilter-persistent": "", "/etc/iptables/rules.v4": SAVED},
            (
                "file",
                "/etc/iptables/rules.v4, table nat, chain POSTROUTING",
                "-A POSTROUTING -o eth0 -j MASQUERADE",
            ),
        ),
    ],
)
def test_each_is_named(tmp_path, files, need):
    assert found(tmp_path, files) == ([need] if need else [])


@pytest.mark.parametrize(
    ("modules", "need"),
    [
        ("nf_nat 1 0 - Live 0x0\nnf_conntrack 1 1 nf_nat, Live 0x0\n", None),
        (
            "nft_ct 1 3 - Live 0x0\nnf_conntrack 1 1 nft_ct, Live 0x0\n",
            ("module", "nft_ct", "held 3 times by others than modules"),
        ),
        (
            "openvswitch 1 0 - Live 0x0\nnf_conntrack 1 1 openvswitch, Live 0x0\n",
            ("module", "openvswitch", "it stands on conntrack"),
        ),
        (
            "ip_vs_rr 1 0 - Live\nip_vs 1 1 ip_vs_rr, Live 0x0\nnf_conntrack 1 1 ip_vs, Live 0x0\n",
            ("module", "ip_vs", "it stands on conntrack"),
        ),
        (BARE.replace(" 0 -", " 2 -"), ("module", "nf_conntrack", "held 2 times by others than modules")),
    ],
)
def test_modules_that_hold_it(tmp_path, modules, need):
    told = found(tmp_path, {}, modules)
    assert told[-1:] == ([need] if need else [])


def test_another_namespace_that_cannot_be_entered_is_told(tmp_path):
    for number, inode in ((1, 1), (9, 2)):
        os.makedirs(str(tmp_path) + "/proc/{0}/ns".format(number))
        os.symlink("net:[{0}]".format(inode), str(tmp_path) + "/proc/{0}/ns/net".format(number))
    os.symlink("1", str(tmp_path) + "/proc/self")
    told = found(tmp_path, {"/proc/9/comm": "sleep\n"})
    assert [kind for kind, _where, _text in told] == ["untold"]
    assert "/proc/9/ns/net" in told[0][1]


def test_where_nothing_is_loaded_rules_are_not_asked_for(tmp_path):
    host = laid_out(tmp_path, {"/usr/sbin/nft": RULESET})
    assert needs(host, [], False) == []
    assert [one.kind for one in needs(host, [], True)] == ["rule"]


def test_of_very_many_some_are_told_and_each_place_before_the_second_of_any(tmp_path):
    chain = "\tchain {0} {{\n" + "\t\tct state new accept\n" * 40 + "\t}}\n"
    rules = "table inet f {\n" + "".join(chain.format(name) for name in "abc") + "}\n"
    told = found(tmp_path, {"/usr/sbin/nft": rules})
    assert [where[-1] for _kind, where, _text in told[:6]] == ["a", "b", "c", "a", "b", "c"]
    assert (len(told), told[-1]) == (MOST + 1, ("rule", "elsewhere", "70 more"))


def test_modules_that_rules_hold_are_told_by_the_rules_and_others_all_the_same(tmp_path):
    modules = "nft_ct 1 3 - Live 0x0\nip_vs 1 1 - Live 0x0\nnf_conntrack 1 2 nft_ct,ip_vs, Live 0x0\n"
    told = found(tmp_path, {"/usr/sbin/nft": RULESET}, modules)
    assert [(kind, where) for kind, where, _text in told] == [
        ("rule", "nftables, table inet f, chain i"),
        ("module", "ip_vs"),
    ]
