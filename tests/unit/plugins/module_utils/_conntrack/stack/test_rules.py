# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Rules that need connection tracking, and those that only look like it."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.stack.rules import of_iptables, of_nft

CHAIN = "table inet t {{\n\tchain c {{\n\t\t{0}\n\t}}\n}}\n"

NEEDED = [
    "ct state established,related accept",
    "ct state vmap { established : accept, invalid : drop }",
    "ip saddr 10.0.0.0/8 ct mark set 0x1",
    "meta mark set ct mark",
    "ct original ip saddr 10.0.0.1 drop",
    "ct count over 20 reject",
    "ct zone set 3",
    'oifname "eth0" masquerade',
    "tcp dport 80 redirect to :8080",
    "tcp dport 80 dnat to 10.0.0.2",
    "tcp dport 80 dnat ip to 10.0.0.2:80",
    "ip saddr 10.0.0.0/8 snat to 192.0.2.1",
    "tcp dport 80 synproxy mss 1460",
    "udp dport 53 notrack",
    "ip protocol tcp flow add @f",
    "type nat hook postrouting priority srcnat; policy accept;",
    'xt match "conntrack"',
    'meta l4proto tcp xt target "MASQUERADE"',
    'log prefix "seen: " ct state new accept',
]
NOT_NEEDED = [
    "tcp dport 22 accept",
    'iifname "ct state new" accept',
    'log prefix "masquerade " accept',
    'tcp dport 22 accept comment "ct state established"',
    "jump masquerade",
    "goto ct",
    "# ct state established accept",
    "ip saddr @dnat drop",
    "type filter hook input priority 0; policy drop;",
    'xt match "tcp"',
    "meta mark set 0x1",
]


@pytest.mark.parametrize("rule", NEEDED)
def test_a_rule_of_nft_that_needs_it(rule):
    assert [(found.where, found.text) for found in of_nft(CHAIN.format(rule))] == [("table inet t, chain c", rule)]


@pytest.mark.parametrize("rule", NOT_NEEDED)
def test_a_rule_of_nft_that_does_not(rule):
    assert of_nft(CHAIN.format(rule)) == []


def test_objects_of_nft_stand_in_a_table():
    text = "table ip x {\n\tct timeout long {\n\t\tprotocol tcp\n\t}\n\tflowtable f {\n\t\thook ingress priority 0\n\t}\n}\n"
    assert [(found.where, found.text) for found in of_nft(text)] == [
        ("table ip x", "ct timeout long {"),
        ("table ip x", "flowtable f {"),
    ]


def test_a_table_or_chain_of_that_name_needs_nothing():
    assert of_nft("table inet ct {\n\tchain masquerade {\n\t\ttcp dport 22 accept\n\t}\n}\n") == []


@pytest.mark.parametrize(
    ("rule", "is_needed"),
    [
        ("-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", True),
        ("-A INPUT -m state --state NEW -j ACCEPT", True),
        ("-A INPUT -p tcp -m connlimit --connlimit-above 20 -j DROP", True),
        ("-A PREROUTING -p udp -j CT --notrack", True),
        ("-A PREROUTING -p udp -j NOTRACK", True),
        ("-A PREROUTING -j CONNMARK --restore-mark", True),
        ("-A INPUT -p tcp -j ACCEPT", False),
        ('-A INPUT -m comment --comment "-m state -j CT" -j ACCEPT', False),
        ("-A INPUT -j state", False),
        (":INPUT ACCEPT [0:0]", False),
    ],
)
def test_rules_of_iptables(rule, is_needed):
    found = of_iptables("# Generated\n*raw\n:INPUT ACCEPT [0:0]\n{0}\nCOMMIT\n".format(rule))
    assert [one.text for one in found] == ([rule] if is_needed else [])


def test_in_the_table_nat_every_rule_needs_it():
    text = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j ACCEPT\nCOMMIT\n"
    assert [(found.where, found.text) for found in of_iptables(text)] == [
        ("table nat, chain POSTROUTING", "-A POSTROUTING -j ACCEPT")
    ]


@pytest.mark.parametrize("text", [None, "", "table", "chain {", "*", "-A", "\0", "table x {" * 1000], ids=repr)
def test_what_is_no_ruleset_needs_nothing(text):
    assert of_nft(text) == of_iptables(text) == []
