# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What speaks against flows on a host, and what is added to its rules for them. What the kernel really loses is asked in
tests/integration/test_notrack.py."""

import ipaddress

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import units
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.flows import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.obstacles import (
    Connection,
    Seen,
    Service,
    judged,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset import iptables

WEB = {"name": "web", "protocol": "tcp", "ports": [80], "role": "server"}
SSH = dict(WEB, name="ssh", ports=["20-30"])
DNS = {"name": "dns", "protocol": "udp", "ports": [53], "role": "server"}
UP = dict(DNS, name="up", role="client", networks=["192.0.2.0/24"])
VIA = dict(WEB, name="via", role="forward", networks=["192.0.2.0/24"])

# As ufw and docker have them, shortened.
UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-reject - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-user-input
-A INPUT -j ufw-reject
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-input -p udp -m udp --dport 53 -j ACCEPT
-A ufw-reject -m addrtype --dst-type BROADCAST -j DROP
COMMIT
"""
DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""
RAW = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP
COMMIT
"""


def seen(*texts, **more):
    rules = {}
    for text in texts:
        rules.update(iptables.read(text, 4, "/usr/sbin/iptables"))
    return Seen(rules, **more)


def asked(*flows, **more):
    return read(dict(more, flows=list(flows)))


CASES = [
    ("nothing in the way", asked(WEB, UP), seen(), None),
    ("a service that ufw lets in", asked(DNS), seen(UFW), None),
    (
        "answers that ufw lets in by their state",
        asked(UP),
        seen(UFW),
        "up: its replies would be lost: what is not tracked does not meet [table /usr/sbin/iptables filter: "
        "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT]",
    ),
    ("a port that ufw drops anyway", asked(WEB), seen(UFW), None),
    ("rules before tracking begins", asked(WEB), seen(RAW), None),
    (
        "a port that docker publishes",
        asked(dict(WEB, ports=[8080])),
        seen(DOCKER),
        "web: [table /usr/sbin/iptables nat: -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80] translates addresses",
    ),
    ("another port", asked(WEB), seen(DOCKER, forwarding=(4,)), None),
    (
        "ports from which containers may ask",
        asked(dict(WEB, ports=["40000-50000"])),
        seen(DOCKER, forwarding=(4,)),
        "web: this host forwards packets of others, containers among them",
    ),
    ("the same where nothing is forwarded", asked(dict(WEB, ports=["40000-50000"])), seen(DOCKER), None),
    (
        "what containers ask as well",
        asked(UP),
        seen(DOCKER, forwarding=(4,)),
        "up: this host forwards packets of others, containers among them",
    ),
    ("what containers ask where nothing is forwarded", asked(UP), seen(DOCKER), None),
    (
        "what goes through",
        asked(VIA),
        seen(DOCKER, forwarding=(4,)),
        "via: [table /usr/sbin/iptables nat: -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE] translates addresses",
    ),
    (
        "IPVS",
        asked(WEB),
        seen(services=(Service("tcp", 80, "TCP C0000201:0050 rr"),)),
        "web: IPVS hands it on to other hosts [TCP C0000201:0050 rr]",
    ),
    ("IPVS of another port", asked(WEB), seen(services=(Service("tcp", 81, "x"), Service("udp", 80, "x"))), None),
    (
        "rules that cannot be read",
        asked(WEB),
        seen(untold=("table ip filter has rules of iptables",)),
        "table ip filter has rules of iptables; nothing is left untracked",
    ),
    (
        "the connection that asks",
        asked(SSH),
        seen(connection=Connection("198.51.100.7", 40000, 22)),
        "ssh: it takes in the connection by which this was asked for, tcp port 22 from 198.51.100.7; only notrack_lifeline",
    ),
    (
        "the connection that asks, by its client's port",
        asked(dict(SSH, role="client", ports=["39999-40001"])),
        seen(connection=Connection("198.51.100.7", 40000, 22)),
        "ssh: it takes in the connection",
    ),
    (
        "another network",
        asked(dict(SSH, networks=["203.0.113.0/24", "2001:db8::/32"])),
        seen(connection=Connection("198.51.100.7", 40000, 22)),
        None,
    ),
    (
        "its network",
        asked(dict(SSH, networks=["198.51.100.0/24"])),
        seen(connection=Connection("198.51.100.7", 40000, 22)),
        "ssh: it takes in",
    ),
    ("a connection from here", asked(SSH), seen(connection=Connection("127.0.0.1", 40000, 22)), None),
    (
        "a connection from here, over the loopback",
        asked(dict(SSH, interfaces=["lo"])),
        seen(connection=Connection("::1", 40000, 22)),
        "ssh: it takes in",
    ),
    (
        "the lifeline",
        read({"lifeline": ["198.51.100.0/24"]}),
        seen(UFW, connection=Connection("198.51.100.7", 40000, 22)),
        None,
    ),
    (
        "a set of rules that is too large",
        asked(dict(DNS, ports=[str(port) for port in range(1, 60)])),
        seen(UFW.replace("COMMIT", "-A ufw-before-input -p icmp -j ACCEPT\n" * 4000 + "COMMIT")),
        "too many to be followed",
    ),
]


@pytest.mark.parametrize(("wanted", "there", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refusals(wanted, there, said):
    refusals = judged(wanted, there).refusals
    if said is None:
        assert refusals == []
    else:
        assert said in refusals[0]


def test_addresses_of_this_host_tell_what_is_sent_to_others():
    address = int(ipaddress.ip_address("198.51.100.1"))
    rule = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.10/32 -p udp --dport 53 -j DNAT --to-destination 10.1.1.1\n"
    assert "translates" in judged(asked(DNS), seen(rule)).refusals[0]
    assert judged(asked(DNS), seen(rule, addresses=((4, address, address),))).refusals == []


def test_what_is_let_through_where_it_would_be_lost():
    verdict = judged(asked(UP, accept=True), seen(UFW))
    assert verdict.refusals == []
    accept, about = units.accepts(verdict)
    assert (accept.table, accept.chain, accept.program) == ("/usr/sbin/iptables filter", "INPUT", "/usr/sbin/iptables")
    assert accept.rule == (
        '! -i lo -s 192.0.2.0/24 -p udp -m udp --sport 53 -m comment --comment "headroom_notrack up" '
        "-m conntrack --ctstate UNTRACKED -j ACCEPT"
    )
    assert "accept_iptables /usr/sbin/iptables filter INPUT 'headroom_notrack up " in units.script(
        "nftables", (), [accept]
    )

    assert (about.direction, about.chain) == ("error", "INPUT")
    assert about.rule == (
        "! -i lo -p icmp -m icmp --icmp-type 3 -m conntrack --ctstate INVALID,UNTRACKED "
        '-m comment --comment "headroom_notrack up" -j ACCEPT'
    )


LETS_ERRORS_IN = UFW.replace("-A INPUT", "-A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT\n-A INPUT", 1)
SSH_ALONE = dict(WEB, ports=[22])


@pytest.mark.parametrize(
    ("wanted", "there", "told"),
    [
        (asked(SSH_ALONE), seen(UFW), True),
        (asked(SSH_ALONE, accept=True), seen(UFW), False),
        (asked(SSH_ALONE, accept=True), seen(UFW, owned=("/usr/sbin/iptables filter",)), True),
        (asked(SSH_ALONE), seen(LETS_ERRORS_IN), False),
        (asked(DNS), seen(UFW), False),
        (asked(SSH_ALONE), seen(), False),
    ],
    ids=["TCP", "let through", "not to be let through", "let in anyway", "UDP", "no rules"],
)
def test_tcp_that_is_told_no_more_how_long_packets_may_be(wanted, there, told):
    verdict = judged(wanted, there)
    assert verdict.refusals == []
    assert len(verdict.warnings) == told
    assert all("ufw-before-input -m conntrack --ctstate INVALID -j DROP" in one for one in verdict.warnings)


@pytest.mark.parametrize(
    ("flow", "there", "said"),
    [
        (dict(UP, networks=None), seen(UFW), "would open every port of this host to whoever sends from port 53"),
        (UP, seen(UFW, owned=("/usr/sbin/iptables filter",)), "firewall-cmd --permanent --add-source-port=53/udp"),
    ],
    ids=["replies from anywhere", "a table that is another's"],
)
def test_what_cannot_be_let_through(flow, there, said):
    assert said in judged(asked(flow, accept=True), there).refusals[0]


@pytest.mark.parametrize("name", ["in'put", "in put;", "$(reboot)", "a`b`"])
def test_a_name_that_could_be_more_than_one_is_not_written_into_a_script(name):
    verdict = judged(asked(UP, accept=True), seen(UFW))
    bad = verdict.lost[0]._replace(chain=verdict.lost[0].chain._replace(name=name))
    with pytest.raises(units.Unwritable):
        units.accepts(verdict._replace(lost=[bad]))
