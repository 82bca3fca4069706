# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Flows as rules of nftables and of iptables: the same packets of both directions, at the hook at which each is met first."""

import re

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import iptables, nftables
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.flows import Wanted, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.matches import errors

BOTH = ["10.0.0.0/8", "fd00::/8"]
FLOWS = [
    {"name": "dns", "protocol": "udp", "ports": [53, "8000-8100"], "role": "server", "comment": "queries"},
    {"name": "up", "protocol": "udp", "ports": [53], "role": "client", "networks": BOTH},
    {"name": "near", "protocol": "tcp", "ports": [80], "role": "server", "interfaces": ["lo", "eth0"]},
    {"name": "via", "protocol": "sctp", "ports": [80], "role": "forward", "networks": ["10.0.0.0/8"]},
]
LOCAL = "fib daddr type { local, broadcast, multicast } "
OTHERS = "fib daddr type != { local, broadcast, multicast } "


def chain(text, name):
    return re.search(r"chain {0} {{\n(.*?)\n\t}}".format(name), text, re.S).group(1).replace("\t", "").split("\n")


def test_nftables():
    text = nftables.table(read({"flows": FLOWS}), {})
    assert text.startswith("# Made by the role headroom.netfilter.notrack;")
    assert "#   dns: queries\n" in text
    assert chain(text, "prerouting") == [
        "type filter hook prerouting priority -300; policy accept;",
        'iifname != "lo" ' + LOCAL + 'udp dport { 53, 8000-8100 } notrack comment "dns"',
        'iifname != "lo" ' + LOCAL + 'udp sport { 53 } ip saddr { 10.0.0.0/8 } notrack comment "up"',
        'iifname != "lo" ' + LOCAL + 'udp sport { 53 } ip6 saddr { fd00::/8 } notrack comment "up"',
        'iifname { "eth0" } ' + LOCAL + 'tcp dport { 80 } notrack comment "near"',
        'iifname != "lo" ' + OTHERS + 'sctp dport { 80 } ip daddr { 10.0.0.0/8 } notrack comment "via"',
        'iifname != "lo" ' + OTHERS + 'sctp sport { 80 } ip saddr { 10.0.0.0/8 } notrack comment "via"',
    ]
    assert chain(text, "output") == [
        "type filter hook output priority -300; policy accept;",
        'oifname != "lo" udp sport { 53, 8000-8100 } notrack comment "dns"',
        'oifname != "lo" udp dport { 53 } ip daddr { 10.0.0.0/8 } notrack comment "up"',
        'oifname != "lo" udp dport { 53 } ip6 daddr { fd00::/8 } notrack comment "up"',
        'oifname { "eth0" } tcp sport { 80 } notrack comment "near"',
        'oifname { "lo" } tcp dport { 80 } notrack comment "near"',
        'oifname { "lo" } tcp sport { 80 } notrack comment "near"',
    ]


def test_no_rule_is_without_a_port_and_a_name():
    """An empty policy untracks nothing."""
    text = nftables.table(read({"flows": FLOWS, "lifeline": ["192.0.2.0/24"]}), {})
    rules = [line for line in text.split("\n") if "notrack" in line and "\t\t" in line]
    assert len(rules) == 14
    assert all(re.search(r"(tcp|udp|sctp) [sd]port \{ \d", rule) and 'comment "' in rule for rule in rules)
    assert "notrack comment" not in nftables.table(Wanted(), {})
    assert iptables.restored((), 4).count("-A ") == iptables.restored((), 6).count("-A ") == 0


ERRORS = {
    4: "icmp type { destination-unreachable } @th,136,8 ",
    6: "icmpv6 type { destination-unreachable, packet-too-big } @th,112,8 ",
}
UNTOLD = " ct state { invalid, untracked } accept"


@pytest.mark.parametrize(
    ("flow", "family", "rules"),
    [
        (
            FLOWS[0],
            "ip",
            [f'iifname != "lo" {ERRORS[4]}17 @th,224,16 {ports}{UNTOLD}' for ports in ("53", "8000-8100")],
        ),
        (
            FLOWS[1],
            "inet",
            [
                f'iifname != "lo" {ERRORS[4]}17 @th,240,16 53{UNTOLD}',
                f'iifname != "lo" {ERRORS[6]}17 @th,400,16 53{UNTOLD}',
            ],
        ),
        (FLOWS[2], "ip6", [f'iifname {{ "eth0" }} {ERRORS[6]}6 @th,384,16 80{UNTOLD}']),
        (FLOWS[3], "inet", [f'iifname != "lo" {ERRORS[4]}132 @th,{at},16 80{UNTOLD}' for at in (240, 224)]),
        (dict(FLOWS[2], interfaces=["lo"]), "inet", []),
    ],
    ids=["of a server", "of a client", "of a server that lo belongs to", "that go through", "over lo alone"],
)
def test_errors_are_known_by_what_they_are_about(flow, family, rules):
    (read_flow,) = read({"flows": [flow]}).flows
    assert [rule for match in errors(read_flow) for rule in nftables.accepts(match, "input", family)] == rules


@pytest.mark.parametrize("version", [4, 6])
def test_iptables(version):
    text = iptables.restored(read({"flows": FLOWS}).flows, version)
    rules = [line for line in text.split("\n") if line.startswith("-A")]
    network, other = ("10.0.0.0/8", "fd00::/8") if version == 4 else ("fd00::/8", "10.0.0.0/8")
    assert other not in text
    kinds = ["LOCAL,BROADCAST,MULTICAST"] if version == 4 else ["LOCAL", "MULTICAST"]
    for kind in kinds:
        assert (
            "-A headroom_notrack_in ! -i lo -s {0} -p udp -m udp --sport 53 -m addrtype --dst-type {1} "
            '-m comment --comment "headroom_notrack up" -j CT --notrack'.format(network, kind)
            in rules
        )
    assert (
        "-A headroom_notrack_out ! -o lo -d {0} -p udp -m udp --dport 53 "
        '-m comment --comment "headroom_notrack up" -j CT --notrack'.format(network)
        in rules
    )
    assert ("sctp" in text) == (version == 4)
    assert all(rule.endswith("-j CT --notrack") and "port " in rule for rule in rules)
    assert text.startswith("# Made by the role")
    assert "\nCOMMIT\n" in text


def test_many_networks_stand_in_one_set_without_a_size():
    networks = ["10.{0}.{1}.{2}/32".format(n // 65536, n // 256 % 256, n % 256) for n in range(0, 140000, 2)]
    text = nftables.table(read({"flows": [dict(FLOWS[0], networks=networks)]}), {})
    assert text.count("10.2.34.222/32") == 2
    assert "size" not in text
    assert iptables.rules_of(read({"flows": [dict(FLOWS[0], networks=networks[:500])]}).flows) == 2000


def test_timeouts_that_are_not_named_are_the_hosts_own():
    timed = [dict(FLOWS[0], timeouts={"udp": 5})]
    text = nftables.table(read({"timeouts": timed}), {"udp": 40, "udp_stream": 77})
    assert "policy = { unreplied : 5, replied : 77 }" in text
    assert "policy = { unreplied : 5, replied : 120 }" in nftables.table(read({"timeouts": timed}), {})
    assert chain(text, "timed_prerouting") == [
        "type filter hook prerouting priority -150; policy accept;",
        'iifname != "lo" ' + LOCAL + 'udp dport { 53, 8000-8100 } ct timeout set "dns" comment "dns"',
    ]
    assert "notrack comment" not in text
