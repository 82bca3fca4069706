# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Rules as nft and iptables-save tell them: the conditions that are understood, and whatever is not met by none or all."""

import json

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset import iptables, nft
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset.rules import (
    ALL,
    NONE,
    SOME,
    Packets,
    matched,
)

# A query from 10.0.0.5, port 4000 to 10.9.9.9, port 53, that comes in by eth0.
QUERY = Packets(
    4,
    "udp",
    [(4000, 4000)],
    [(53, 53)],
    [(0x0A000005, 0x0A000005)],
    [(0x0A090909, 0x0A090909)],
    ("eth0",),
    (),
    True,
    "untracked",
    None,
)
SYN = QUERY._replace(protocol="tcp", opens=True)
ERROR = QUERY._replace(protocol="icmp", sport=None, dport=None, state="invalid")
ERROR6 = ERROR._replace(version=6, protocol="icmpv6", saddr=None, daddr=None)


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key):
    return {"meta": {"key": key}}


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


def prefix(address, length):
    return {"prefix": {"addr": address, "len": length}}


STATE = {"ct": {"key": "state"}}
FLAGS = {"&": [payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}
SETS = [
    {
        "set": {
            "family": "inet",
            "table": "f",
            "name": "near",
            "type": "ipv4_addr",
            "elem": [prefix("10.0.0.0", 8), "192.0.2.1"],
        }
    },
    {"set": {"family": "inet", "table": "f", "name": "seen", "type": "ipv4_addr", "flags": ["dynamic"], "elem": []}},
]

# As the kernel's rules are told by nft 1.0.6 (-j), but for what is written as a comment.
NFT = [
    ("a port", [match(payload("udp", "dport"), 53)], ALL),
    ("another port", [match(payload("udp", "dport"), 54)], NONE),
    ("a set of ports", [match(payload("udp", "dport"), {"set": [22, {"range": [50, 60]}]})], ALL),
    ("a port of another protocol", [match(payload("tcp", "dport"), 53)], NONE),
    ("not a port of another protocol", [match(payload("tcp", "dport"), 54, "!=")], NONE),
    ("a port of any protocol", [match(payload("th", "dport"), 53)], ALL),
    ("greater ports", [match(payload("udp", "sport"), 1023, ">")], ALL),
    ("smaller ports", [match(payload("udp", "sport"), 1024, "<")], NONE),
    ("a network", [match(payload("ip", "saddr"), prefix("10.0.0.0", 8))], ALL),
    ("not a network", [match(payload("ip", "saddr"), prefix("10.0.0.0", 8), "!=")], NONE),
    ("a part of a network", [match(payload("ip", "daddr"), {"range": ["10.9.0.0", "10.9.255.255"]})], ALL),
    ("IPv6", [match(payload("ip6", "saddr"), prefix("2001:db8::", 32), "!=")], NONE),
    ("a set by its name", [match(payload("ip", "saddr"), "@near")], ALL),
    ("a set that changes", [match(payload("ip", "saddr"), "@seen")], SOME),
    ("a set that is not there", [match(payload("ip", "saddr"), "@none")], SOME),
    ("a protocol by its number", [match(payload("ip", "protocol"), 17)], ALL),
    ("protocols", [match(meta("l4proto"), {"set": ["tcp", "udp"]})], ALL),
    ("a version", [match(meta("nfproto"), "ipv6")], NONE),
    ("an interface", [match(meta("iifname"), "eth0")], ALL),
    ("interfaces like it", [match(meta("iifname"), {"set": ["docker*", "et*"]})], ALL),
    ("another interface", [match(meta("iif"), "lo")], NONE),
    ("where it goes out", [match(meta("oifname"), "eth0")], NONE),
    ("a state", [match(STATE, ["established", "related"], "in")], NONE),
    ("another state", [match(STATE, {"set": ["established", "related"]}, "!=")], ALL),
    ("no state of some", [match(STATE, ["new", "invalid"], "!")], ALL),
    ("untracked", [match(STATE, "untracked", "in")], ALL),
    ("a mark of an entry", [match({"ct": {"key": "mark"}}, 3)], NONE),
    ("another mark of an entry", [match({"ct": {"key": "mark"}}, 3, "!=")], NONE),
    ("a status", [match({"ct": {"key": "status"}}, "dnat", "in")], NONE),
    ("another status", [match({"ct": {"key": "status"}}, "dnat", "!=")], NONE),
    ("a mark of a packet", [match(meta("mark"), 3)], SOME),
    ("how many entries", [{"ct count": {"val": 3, "inv": True}}], SOME),
    ("a rate", [{"limit": {"rate": 3, "burst": 5, "per": "second"}}], SOME),
    ("a counter", [{"counter": {"packets": 1, "bytes": 2}}], ALL),
    ("to this host", [match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")], ALL),
    (
        "several at once",
        [match({"concat": [meta("iifname"), payload("udp", "dport")]}, {"set": [{"concat": ["eth0", 53]}]})],
        ALL,
    ),
    (
        "several, of which one is not",
        [match({"concat": [meta("iifname"), payload("udp", "dport")]}, {"set": [{"concat": ["eth1", 53]}]})],
        NONE,
    ),
    ("what nobody knows", [match({"osf": {"key": "name"}}, "Linux")], SOME),
    ("something of iptables", [{"xt": {"type": "match", "name": "conntrack"}}], SOME),
    ("a length", [match(payload("ip", "length"), 100)], SOME),
]


def listed(expressions, more=()):
    head = {"family": "inet", "table": "f"}
    items = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "f"}},
        *SETS,
        {"chain": dict(head, name="c", type="filter", hook="input", prio=0, policy="drop")},
        {"rule": dict(head, chain="c", handle=4, expr=expressions, **dict(more))},
    ]
    return nft.read(json.dumps({"nftables": items}), "headroom")


@pytest.mark.parametrize(("expressions", "met"), [case[1:] for case in NFT], ids=[case[0] for case in NFT])
def test_nft(expressions, met):
    found = listed([*expressions, {"accept": None}])
    (rule,) = found.rules["inet f", "c"].rules
    assert (rule.verdict, matched(rule, QUERY)) == ("accept", met)


@pytest.mark.parametrize(
    "flags",
    [FLAGS["&"][1], {"|": ["fin", "syn", "rst", "ack"]}, {"|": [{"|": [{"|": ["fin", "syn"]}, "rst"]}, "ack"]}],
    ids=["1.0.6", "1.1.3", "0.9.8"],
)
@pytest.mark.parametrize(("packets", "met"), [(SYN, NONE), (SYN._replace(opens=False), ALL), (QUERY, NONE)])
def test_what_opens_a_connection(flags, packets, met):
    left = {"&": [FLAGS["&"][0], flags]}
    (rule,) = listed([match(left, "syn", "!="), {"accept": None}]).rules["inet f", "c"].rules
    assert matched(rule, packets) == met


def test_a_map_of_verdicts_is_a_rule_for_each_element():
    said = {
        "key": STATE,
        "data": {"set": [["established", {"accept": None}], ["untracked", {"jump": {"target": "x"}}]]},
    }
    rules = listed([match(payload("udp", "dport"), 53), {"vmap": said}]).rules["inet f", "c"].rules
    assert [(rule.verdict, rule.target, matched(rule, QUERY)) for rule in rules] == [
        ("accept", "", NONE),
        ("jump", "x", ALL),
    ]


def test_rules_of_ours_are_left_out_and_those_of_iptables_are_told():
    assert listed([{"accept": None}], {"comment": "headroom_notrack dns 1"}.items()).rules["inet f", "c"].rules == []
    assert listed([{"accept": None}], {"comment": "headway"}.items()).rules["inet f", "c"].rules != []
    assert listed([{"xt": {"type": "target", "name": "DNAT"}}]).foreign == ["inet f"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"nftables": 5}', '{"nftables": [{"rule": 5}]}', "[" * 100000, '{"nftables": [{']
)
def test_what_is_no_listing(text):
    assert nft.read(text) is None


SAVED = """# Generated by iptables-save v1.8.9
*raw
:PREROUTING ACCEPT [0:0]
:headroom_notrack_in - [0:0]
-A PREROUTING -j headroom_notrack_in
COMMIT
*filter
:INPUT DROP [0:0]
:allowed - [0:0]
[12:340] -A INPUT {0} -j ACCEPT
-A INPUT -m comment --comment "headroom_notrack dns 1" -j ACCEPT
-A INPUT -g allowed
-A allowed -j LOG --log-prefix "it's -j DROP "
COMMIT
"""
IPTABLES = [
    ("-p udp -m udp --dport 53", ALL),
    ("-p 17", ALL),
    ("-p tcp -m tcp --dport 53", NONE),
    ("-p udp -m udp ! --dport 53", NONE),
    ("-p udp -m multiport --dports 22,50:60", ALL),
    ("-p udp -m multiport --ports 22,53", ALL),
    ("-p udp -m udp --sport 1024:65535", ALL),
    ("-p udp -m udp --sport 1024:", ALL),
    ("-s 10.0.0.0/8", ALL),
    ("! -s 10.0.0.0/8", NONE),
    ("-d 192.0.2.1/32", NONE),
    ("-i eth+", ALL),
    ("! -i eth0", NONE),
    ("-o eth0", NONE),
    ("-m conntrack --ctstate RELATED,ESTABLISHED", NONE),
    ("-m conntrack --ctstate NEW,UNTRACKED", ALL),
    ("-m conntrack ! --ctstate NEW", ALL),
    ("-m state --state NEW", NONE),
    ("-m conntrack --ctstate DNAT", NONE),
    ("-m conntrack --ctstatus ASSURED", NONE),
    ("-m connmark --mark 0x1", NONE),
    ("-m mark --mark 0x1", SOME),
    ("-m addrtype --dst-type LOCAL", ALL),
    ("-m addrtype ! --dst-type LOCAL", NONE),
    ("-m set --match-set blocked src", SOME),
    ("-m limit --limit 3/sec", SOME),
    ('-p udp -m udp --dport 53 -m comment --comment "! -p tcp -j DROP"', ALL),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", NONE),
]


@pytest.mark.parametrize(("said", "met"), IPTABLES, ids=[case[0] for case in IPTABLES])
def test_iptables(said, met):
    found = iptables.read(SAVED.replace("{0}", said), 4, "/usr/sbin/iptables", "headroom")
    chain = found["/usr/sbin/iptables filter", "INPUT"]
    assert (chain.hook, chain.kind, chain.policy, chain.priority) == ("input", "filter", "drop", 0)
    assert [rule.verdict for rule in chain.rules] == ["accept", "goto"]
    assert matched(chain.rules[0], QUERY) == met
    assert [rule.verdict for rule in found["/usr/sbin/iptables filter", "allowed"].rules] == ["continue"]


def test_a_flag_of_tcp():
    found = iptables.read(SAVED.replace("{0}", "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"), 4, "i")
    rule = found["i filter", "INPUT"].rules[0]
    assert [matched(rule, packets) for packets in (SYN, SYN._replace(opens=False), QUERY)] == [NONE, ALL, NONE]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        ":",
        "*filter\n:INPUT\n-A\n-A INPUT\n-A INPUT -j\n-A INPUT ! -s\n-A INPUT --dport\n",
        "*filter\n:INPUT DROP\n-A INPUT -s x/y -p --dport a:b '\n",
    ],
)
def test_whatever_is_said_is_read(text):
    iptables.read(text, 6, "ip6tables", "headroom")


@pytest.mark.parametrize(
    ("status", "met"),
    [(["dnat"], NONE), (["dnat", "snat"], NONE), (["assured"], SOME), (["dnat", "assured"], SOME)],
    ids=repr,
)
def test_what_is_tracked_and_asked_of_here_is_not_translated(status, met):
    (rule,) = listed([match({"ct": {"key": "status"}}, status, "in"), {"accept": None}]).rules["inet f", "c"].rules
    assert matched(rule, QUERY._replace(state="new")) == met


UNREACHABLE, TOO_BIG = "destination-unreachable", "packet-too-big"


@pytest.mark.parametrize(
    ("packets", "protocol", "types", "found"),
    [
        (ERROR, "icmp", UNREACHABLE, ALL),
        (ERROR, "icmp", {"set": ["echo-request", UNREACHABLE]}, ALL),
        (ERROR, "icmp", "echo-request", NONE),
        (ERROR, "icmpv6", UNREACHABLE, NONE),
        (ERROR6, "icmpv6", {"set": [UNREACHABLE, TOO_BIG]}, ALL),
        (ERROR6, "icmpv6", TOO_BIG, SOME),
        (QUERY, "icmp", UNREACHABLE, NONE),
    ],
)
def test_errors_of_icmp_in_nft(packets, protocol, types, found):
    (rule,) = listed([match(payload(protocol, "type"), types), {"accept": None}]).rules["inet f", "c"].rules
    assert matched(rule, packets) == found


@pytest.mark.parametrize(
    ("packets", "words", "found"),
    [
        (ERROR, "-p icmp -m icmp --icmp-type 3", ALL),
        (ERROR, "-p icmp -m icmp --icmp-type any", ALL),
        (ERROR, "-p icmp -m icmp --icmp-type 3/4", SOME),
        (ERROR, "-p icmp -m icmp --icmp-type 8", NONE),
        (ERROR, "-p icmp -m icmp ! --icmp-type 8", ALL),
        (ERROR, "-p icmp", ALL),
        (ERROR, "-m conntrack --ctstate RELATED,ESTABLISHED", NONE),
        (ERROR._replace(state="related"), "-m conntrack --ctstate RELATED,ESTABLISHED", ALL),
        (ERROR6, "-p ipv6-icmp -m icmp6 --icmpv6-type 2", SOME),
        (ERROR6, "-p ipv6-icmp -m icmp6 --icmpv6-type 128", NONE),
    ],
)
def test_errors_of_icmp_in_iptables(packets, words, found):
    text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {words} -j ACCEPT\nCOMMIT\n"
    (rule,) = iptables.read(text, packets.version, "iptables")["iptables filter", "INPUT"].rules
    assert matched(rule, packets) == found
