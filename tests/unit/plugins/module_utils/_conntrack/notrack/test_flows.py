# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What is asked for of traffic that is not tracked, read strictly: each refusal names variable, value and what would do."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.flows import Flow, overlap, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError

DNS = {"name": "dns", "protocol": "udp", "ports": [53], "role": "server"}


def flow(**more):
    return dict(DNS, **more)


def test_a_flow_is_read():
    (found,) = read(
        {
            "flows": [
                flow(
                    ports=["8000-8100", 53],
                    networks=["10.0.0.0/8", "2001:db8::/32"],
                    interfaces=["eth0"],
                    comment="queries of ours",
                )
            ]
        }
    ).flows
    assert found.ports == ((53, 53), (8000, 8100))
    assert [str(network) for network in found.networks] == ["10.0.0.0/8", "2001:db8::/32"]
    assert found[5:] == (("eth0",), "server", "queries of ours", {}) or found.interfaces == ("eth0",)


@pytest.mark.parametrize(
    ("ports", "read_as"),
    [(53, ((53, 53),)), ("53", ((53, 53),)), ("[53, 54]", ((53, 53), (54, 54))), ([1, "2-3"], ((1, 1), (2, 3)))],
    ids=repr,
)
def test_ports_in_every_way_that_they_are_written(ports, read_as):
    assert read({"flows": [flow(ports=ports)]}).flows[0].ports == read_as


@pytest.mark.parametrize(
    "options",
    [{}, {"flows": None}, {"flows": ""}, {"flows": []}, {"flows": "[]"}, {"flows": [], "lifeline": [], "timeouts": []}],
    ids=repr,
)
def test_nothing_is_nothing(options):
    assert read(options).is_empty


def test_the_lifeline_is_a_flow_of_ssh():
    (found,) = read({"lifeline": ["192.0.2.0/24"], "lifeline_ports": [22, 2222]}).flows
    assert (found.name, found.protocol, found.ports, found.role) == (
        "lifeline",
        "tcp",
        ((22, 22), (2222, 2222)),
        "server",
    )
    assert [str(network) for network in found.networks] == ["192.0.2.0/24"]


# Options, and of what is said: the variable, the value, what would do.
BAD = [
    ({"flows": 7}, ["notrack_flows: 7", "expected a list"]),
    ({"flows": "dns"}, ["notrack_flows: 'dns'", "expected a list"]),
    ({"flows": {"name": "dns"}}, ["notrack_flows: {'name': 'dns'}", "expected a list"]),
    ({"flows": ["dns"]}, ["notrack_flows[0]: 'dns'", "expected a mapping such as"]),
    ({"flows": [{}]}, ["notrack_flows[0].name: it is missing", "notrack_flows[0].ports: it is missing"]),
    ({"flows": [flow(), "x"]}, ["notrack_flows[1]: 'x'", "expected a mapping"]),
    ({"flows": [flow(name="DNS!")]}, ["notrack_flows[0].name: 'DNS!'", "lower-case letters"]),
    ({"flows": [flow(name='a" accept #')]}, ["notrack_flows[0].name", "lower-case letters"]),
    ({"flows": [flow(name="lifeline")]}, ["notrack_flows[0].name: 'lifeline'", "choose another"]),
    ({"flows": [flow(protocol="icmp")]}, ["notrack_flows[0].protocol: 'icmp'", "expected one of tcp, udp, sctp"]),
    ({"flows": [flow(protocol="udpp")]}, ["notrack_flows[0].protocol: 'udpp'", "did you mean udp?"]),
    ({"flows": [flow(role="both")]}, ["notrack_flows[0].role: 'both'", "expected one of server, client, forward"]),
    ({"flows": [flow(ports=[])]}, ["notrack_flows[0].ports: []", "no port is not any port"]),
    ({"flows": [flow(ports=[0])]}, ["notrack_flows[0].ports: [0]", "ports from 1 to 65535"]),
    ({"flows": [flow(ports=[65536])]}, ["notrack_flows[0].ports: [65536]", "ports from 1 to 65535"]),
    ({"flows": [flow(ports=["90-80"])]}, ["notrack_flows[0].ports: ['90-80']", "ports from 1 to 65535"]),
    ({"flows": [flow(ports=[True])]}, ["notrack_flows[0].ports: [True]", "ports from 1 to 65535"]),
    ({"flows": [flow(ports=["domain"])]}, ["notrack_flows[0].ports: ['domain']", "such as [53, 8000-8100]"]),
    ({"flows": [flow(ports=["50-60", 55])]}, ["notrack_flows[0].ports", "port 55 is given twice"]),
    ({"flows": [flow(networks=[])]}, ["notrack_flows[0].networks: []", "no network is not any network"]),
    ({"flows": [flow(networks="10.0.0.0/8")]}, ["notrack_flows[0].networks: '10.0.0.0/8'", "expected a list"]),
    ({"flows": [flow(networks=["10.0.0.1/8"])]}, ["notrack_flows[0].networks", "did you mean 10.0.0.0/8?"]),
    ({"flows": [flow(networks=["10.0.0/8"])]}, ["notrack_flows[0].networks: ['10.0.0/8']", "expected a network"]),
    ({"flows": [flow(networks=["any"])]}, ["notrack_flows[0].networks: ['any']", "expected a network"]),
    ({"flows": [flow(networks=[10])]}, ["notrack_flows[0].networks: [10]", "expected a network as text"]),
    (
        {"flows": [flow(networks=["10.0.0.0/8", "10.1.0.0/16"])]},
        ["notrack_flows[0].networks", "10.1.0.0 is in it twice"],
    ),
    ({"flows": [flow(interfaces=[])]}, ["notrack_flows[0].interfaces: []", "no interface is not any interface"]),
    (
        {"flows": [flow(interfaces=["eth0; drop"])]},
        ["notrack_flows[0].interfaces", "expected the name of an interface"],
    ),
    ({"flows": [flow(interfaces=["eth*"])]}, ["notrack_flows[0].interfaces", "expected the name of an interface"]),
    ({"flows": [flow(interfaces=["a", "a"])]}, ["notrack_flows[0].interfaces", "a is in it twice"]),
    ({"flows": [flow(comment="two\nlines")]}, ["notrack_flows[0].comment", "expected one line"]),
    ({"flows": [flow(port=53)]}, ["notrack_flows[0]: 'port'", "it has name, protocol, ports"]),
    ({"flows": [flow(timeouts={"udp": 5})]}, ["notrack_flows[0]: 'timeouts'", "a flow has no such key"]),
    ({"flows": [flow(role="forward")]}, ["notrack_flows[0].networks: it is missing"]),
    (
        {"flows": [flow(role="forward", networks=["10.0.0.0/8"], interfaces=["lo"])]},
        ["notrack_flows[0].interfaces: 'lo'", "nothing goes through this host over the loopback"],
    ),
    ({"flows": [flow(), flow(ports=[54])]}, ["dns: this name is given twice"]),
    ({"flows": [flow(), flow(name="more", ports=["50-60"])]}, ["dns and more overlap", "keep them apart"]),
    (
        {"flows": [flow(protocol="tcp", ports=[22])], "lifeline": ["192.0.2.0/24"]},
        ["lifeline and dns overlap"],
    ),
    ({"lifeline": ["everywhere"]}, ["notrack_lifeline: ['everywhere']", "expected a network"]),
    ({"lifeline": True}, ["notrack_lifeline: True", "expected a list"]),
    ({"lifeline": ["10.0.0.0/8"], "lifeline_ports": []}, ["notrack_lifeline_ports: []", "no port is not any port"]),
    ({"accept": "perhaps"}, ["notrack_accept: 'perhaps'", "expected true or false"]),
    ({"backend": "pf"}, ["notrack_backend: 'pf'", "expected one of auto, nftables, iptables"]),
    ({"timeouts": [flow()]}, ["notrack_timeouts[0].timeouts: it is missing"]),
    ({"timeouts": [flow(timeouts={})]}, ["notrack_timeouts[0].timeouts: {}", "such as {udp: 10, udp_stream: 30}"]),
    (
        {"timeouts": [flow(timeouts={"tcp_close": 5})]},
        ["notrack_timeouts[0].timeouts: 'tcp_close'", "expected timeouts of udp"],
    ),
    ({"timeouts": [flow(timeouts={"udp": 0})]}, ["notrack_timeouts[0].timeouts", "whole number of seconds"]),
    (
        {"timeouts": [flow(protocol="sctp", timeouts={"sctp_established": 5})]},
        ["notrack_timeouts[0].protocol: 'sctp'", "tcp and udp alone"],
    ),
    ({"flows": [flow()], "timeouts": [flow(name="x", timeouts={"udp": 5})]}, ["dns and x overlap"]),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=[str(case[1][0]) for case in BAD])
def test_what_will_not_do(options, said):
    with pytest.raises(PolicyError) as refused:
        read(options)
    for part in said:
        assert part in str(refused.value)


def test_what_is_wrong_is_told_all_at_once_and_in_bounds():
    with pytest.raises(PolicyError) as refused:
        read({"flows": [flow(ports=[number], name="x" * 9000) for number in range(1, 150)]})
    assert len(refused.value.problems) == 20
    assert len(str(refused.value)) < 10000


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        ({}, {}, True),
        ({"protocol": "tcp"}, {}, False),
        ({"role": "client"}, {}, False),
        ({"ports": [54]}, {}, False),
        ({"ports": ["50-60"]}, {}, True),
        ({"networks": ["10.0.0.0/8"]}, {}, True),
        ({"networks": ["10.0.0.0/8"]}, {"networks": ["10.9.0.0/16"]}, True),
        ({"networks": ["10.0.0.0/8"]}, {"networks": ["11.0.0.0/8", "9.0.0.0/8"]}, False),
        ({"networks": ["::/0"]}, {"networks": ["0.0.0.0/0"]}, False),
        ({"interfaces": ["eth0"]}, {"interfaces": ["eth1"]}, False),
        ({"interfaces": ["eth0", "eth1"]}, {"interfaces": ["eth1"]}, True),
        ({"interfaces": ["lo"]}, {}, False),
        ({"interfaces": ["lo", "eth0"]}, {}, True),
    ],
    ids=repr,
)
def test_overlap(one, other, is_so):
    flows = [read({"flows": [flow(**more)]}).flows[0] for more in (one, other)]
    assert overlap(*flows) is is_so
    assert overlap(*reversed(flows)) is is_so


def test_fields_are_those_that_are_read():
    assert set(DNS) < set(Flow._fields)
