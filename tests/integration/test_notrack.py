# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Flows that are left untracked, with real packets between network namespaces, under this kernel and its nft."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import booted
import pytest
from notrack_wire import CLIENT, CLIENT6, DNS, HOST, HOST6, SERVER, SERVER6, UPSTREAM, WEB, Place, wired

# What the kernel makes of rules does not depend on the core of Ansible.
pytestmark = pytest.mark.on_one_core

# What conntrack_notrack does but for the units, which there is no systemd for: refusals, or the files in force.
RUN = """
import json, os, sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import converge, flows, obstacles, seen, units
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.counting import counted
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset.reading import programs

host = WritableHost()
wanted = flows.read(json.loads(sys.argv[1]))
there = programs(host)
verdict = obstacles.judged(wanted, seen.seen(host, there))
found = {"refusals": verdict.refusals, "flows": counted(host, wanted.flows)}
if not verdict.refusals and sys.argv[2] == "load" and not wanted.is_empty:
    backend = converge.Backend("nftables", ())
    os.makedirs(units.HOME, exist_ok=True)
    for path, text in converge.files(host, wanted, backend, units.accepts(verdict)).items():
        if text is not None and path.startswith(units.HOME):
            with open(path, "w") as file:
                file.write(text)
    host.command(["/bin/sh", units.SCRIPT, "load"])
    after = seen.seen(host, there, ours="")
    found["left"] = obstacles.judged(wanted._replace(accept=False), after).refusals
print(json.dumps(found))
"""

THROUGH = {
    "name": "through",
    "protocol": "tcp",
    "ports": [80],
    "role": "forward",
    "networks": ["10.78.0.0/24", "fd78::/64"],
}
SCRIPT = "/etc/headroom/notrack.sh"

Wire = tuple[Place, Place, Place]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as places:
        yield places


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--target-python"))


def notrack(host: Place, python: str, how: str = "load", **options: Any) -> dict[str, Any]:
    path = {"PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    command = host.command(python, "-c", RUN, json.dumps(options), how)
    done = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def loaded(host: Place, python: str, **options: Any) -> None:
    found = notrack(host, python, **options)
    assert (found["refusals"], found["left"]) == ([], [])


@pytest.mark.parametrize("address", [HOST, HOST6])
@pytest.mark.parametrize(("flow", "protocol", "port"), [(DNS, "udp", 53), (WEB, "tcp", 80)], ids=["udp", "tcp"])
def test_a_service_is_answered_and_takes_no_entry(
    wire: Wire, python: str, address: str, flow: dict[str, Any], protocol: str, port: int
) -> None:
    client, host, _server = wire
    assert client.asks(protocol, address, port)
    assert len(host.entries()) == 1
    assert notrack(host, python, "judge", flows=[flow])["flows"][0]["entries"] == 1
    host.run("conntrack", "-F")
    loaded(host, python, flows=[flow])
    assert client.asks(protocol, address, port)
    assert host.entries() == []
    # Another port, and what the host says to itself, as before.
    assert client.asks(protocol, address, 8080)
    assert host.asks(protocol, address, port)
    assert len(host.entries()) == 2


@pytest.mark.parametrize("address", [SERVER, SERVER6])
def test_what_the_host_asks_of_others(wire: Wire, python: str, address: str) -> None:
    client, host, _server = wire
    loaded(host, python, flows=[UPSTREAM])
    assert host.asks("udp", address, 53)
    assert host.entries() == []
    # What it forwards is no flow of its own.
    assert client.asks("udp", address, 53)
    assert host.asks("udp", CLIENT if address == SERVER else CLIENT6, 53)
    assert len(host.entries()) == 2


@pytest.mark.parametrize("address", [SERVER, SERVER6])
def test_what_goes_through(wire: Wire, python: str, address: str) -> None:
    client, host, _server = wire
    loaded(host, python, flows=[THROUGH])
    assert client.asks("tcp", address, 80)
    assert host.entries() == []
    assert client.asks("tcp", address, 8080)
    assert client.asks("tcp", HOST, 80)
    assert len(host.entries()) == 2


def test_the_loopback_only_where_it_is_named(wire: Wire, python: str) -> None:
    _client, host, _server = wire
    loaded(host, python, flows=[dict(WEB, interfaces=["lo"])])
    for address in ("127.0.0.1", HOST, "::1"):
        assert host.asks("tcp", address, 80)
    assert host.entries() == []


def test_no_flow_is_nothing(wire: Wire, python: str) -> None:
    client, host, _server = wire
    assert notrack(host, python, flows=[])["refusals"] == []
    assert "headroom" not in host.run("nft", "list", "ruleset")
    assert client.asks("udp", HOST, 53)
    assert len(host.entries()) == 1


# A rule set, what is asked for, and of what refusal there has to be. None stands for none.
FILTER = """
table inet filter {{
 chain output {{
  type filter hook output priority 0; policy {out};
  icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  ct state established,related accept
 }}
 chain forward {{
  type filter hook forward priority 0; policy {forward};
  ct state established,related accept
  ct state new tcp flags & (fin|syn|rst|ack) == syn accept
 }}
 chain input {{
  type filter hook input priority 0; policy drop;
  ct state vmap {{ established : accept, related : accept, invalid : drop }}
  iifname "lo" accept
  icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  {rule}
 }}
}}
"""


def rules(rule: str = "", out: str = "accept", forward: str = "accept") -> str:
    return FILTER.format(rule=rule, out=out, forward=forward)


LOST = [
    ("a service by a rule without state", rules("udp dport 53 accept"), DNS, True),
    ("a service by new", rules("udp dport 53 ct state new accept"), DNS, False),
    ("a service by a set", rules("udp dport { 53, 5353 } accept"), DNS, True),
    ("a service by a map", rules("meta l4proto . th dport vmap { udp . 53 : accept }"), DNS, True),
    ("a service by first packets", rules("tcp dport 80 tcp flags & (fin|syn|rst|ack) == syn accept"), WEB, False),
    ("a service by what is untracked", rules("ct state new,untracked udp dport 53 accept"), DNS, True),
    ("a service beside what is translated", rules("ct status dnat accept\n udp dport 53 accept"), DNS, True),
    ("a service whose replies go out by state", rules("udp dport 53 accept", "drop"), DNS, False),
    (
        "a service of which some may not be answered",
        rules(
            "udp dport 53 accept\n }\n chain some {\n type filter hook output priority 1\n ct state established accept\n ip6 daddr 2001:db8::/32 reject"
        ),
        DNS,
        True,
    ),
    (
        "a service of some who may not be answered",
        rules(
            "udp dport 53 accept\n }\n chain some {\n type filter hook output priority 1\n ct state established accept\n "
            "ip daddr 10.77.0.0/24 reject\n ip6 daddr fd77::/16 reject"
        ),
        dict(DNS, networks=["10.0.0.0/8", "fd00::/8"]),
        False,
    ),
    ("what the host asks", rules(), UPSTREAM, False),
    ("what the host asks, let in by its port", rules("udp sport 53 accept"), UPSTREAM, True),
    ("what goes through", rules(forward="drop"), THROUGH, False),
    ("what goes through an open chain", rules(), THROUGH, True),
]


def use(wire: Wire, flow: dict[str, Any]) -> list[bool]:
    """Whether a flow works, by both versions of IP."""
    client, host, _server = wire
    asking, four, six = {
        "server": (client, HOST, HOST6),
        "client": (host, SERVER, SERVER6),
        "forward": (client, SERVER, SERVER6),
    }[flow["role"]]
    return [asking.asks(flow["protocol"], address, flow["ports"][0]) for address in (four, six)]


@pytest.mark.parametrize(("ruleset", "flow", "passes"), [case[1:] for case in LOST], ids=[case[0] for case in LOST])
def test_what_is_told_to_be_lost_is_lost_and_nothing_else(
    wire: Wire, python: str, ruleset: str, flow: dict[str, Any], passes: bool
) -> None:
    """The kernel is asked: with the rules in force all the same, and with those that let the flow through."""
    _client, host, _server = wire
    host.nft(ruleset)
    assert use(wire, flow) == [True, True]
    refusals = notrack(host, python, "judge", flows=[flow])["refusals"]
    assert (not refusals) == passes, refusals
    if passes:
        loaded(host, python, flows=[flow])
    else:
        assert "would be lost" in refusals[0]
        assert "table inet filter, chain " in refusals[0]
        # By force.
        before = host.run("nft", "list", "ruleset")
        host.run("nft", "-f", "-", given=notrack_table(flow))
        host.run("conntrack", "-F")
        assert use(wire, flow) == [False, False]
        host.run("nft", "delete table inet headroom_notrack")
        assert host.run("nft", "list", "ruleset") == before
        loaded(host, python, flows=[flow], accept=True)
    host.run("conntrack", "-F")
    assert use(wire, flow) == [True, True]
    assert host.entries("-p", flow["protocol"]) == []


def notrack_table(flow: dict[str, Any]) -> str:
    sys.path.insert(0, os.environ["ANSIBLE_COLLECTIONS_PATH"])
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import flows, nftables

    return str(nftables.table(flows.read({"flows": [flow]}), {}))


def test_what_is_let_through_opens_nothing_else(wire: Wire, python: str) -> None:
    """A reply of TCP opens no connection, and no port but those of the flow."""
    _client, host, server = wire
    host.nft(rules())
    loaded(host, python, flows=[dict(UPSTREAM, protocol="tcp", ports=[80])], accept=True)
    assert host.asks("tcp", SERVER, 80)
    assert not server.asks("tcp", "10.78.0.1", 22, own=80)
    assert not server.asks("tcp", "10.78.0.1", 22)
    assert not server.asks("udp", "10.78.0.1", 53, own=80)


# Who asks: from what port, and how long a datagram that is not to be cut; what the kernel tells of it in time.
TOLD = """
import errno, socket, sys
far, port, own, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
family, level, discover = (socket.AF_INET6, 41, 23) if ":" in far else (socket.AF_INET, 0, 10)
asking = socket.socket(family, socket.SOCK_DGRAM)
asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
asking.setsockopt(level, discover, 2)
asking.settimeout(1)
asking.bind(("", own))
asking.connect((far, port))
try:
    asking.send(bytes(length))
    asking.recv(9)
except OSError as error:
    print(errno.errorcode.get(error.errno, "nothing"))
"""
CLOSED = 9953
ERRORS = [
    ("to a client", dict(UPSTREAM, ports=[CLOSED]), "host", (SERVER, SERVER6), CLOSED, 0, 9, "ECONNREFUSED"),
    ("to a server", DNS, "host", ("10.99.0.5", "fd99::5"), 4000, 53, 1400, "EMSGSIZE"),
    (
        "that go through",
        dict(THROUGH, protocol="udp", ports=[CLOSED]),
        "client",
        (SERVER, SERVER6),
        CLOSED,
        0,
        9,
        "ECONNREFUSED",
    ),
]
# Beyond the client a wire that takes less.
BEYOND = """
ip link add d0 mtu 1280 type veth peer name d1
ip link set d0 up; ip link set d1 up
ip address add 10.99.0.1/24 dev d0; ip address add fd99::1/64 dev d0 nodad
"""


@pytest.mark.parametrize(
    ("flow", "who", "far", "port", "own", "length", "said"), [case[1:] for case in ERRORS], ids=[c[0] for c in ERRORS]
)
def test_errors_about_what_is_not_tracked_arrive(
    wire: Wire,
    python: str,
    flow: dict[str, Any],
    who: str,
    far: tuple[str, str],
    port: int,
    own: int,
    length: int,
    said: str,
) -> None:
    """Port unreachable, fragmentation needed, packet too big: with tracking they are let in as related, without by rules of their own."""
    client, host, _server = wire
    client.run("sh", "-ec", BEYOND)
    host.run("ip", "route", "add", "10.99.0.0/24", "via", CLIENT)
    host.run("ip", "route", "add", "fd99::/64", "via", CLIENT6)
    host.nft(rules("udp dport 53 accept", forward="drop"))
    host.nft(f"add rule inet filter forward udp dport {CLOSED} accept")
    asking = {"client": client, "host": host}[who]

    def told() -> list[str]:
        for family in ("-4", "-6"):
            asking.run("ip", family, "route", "flush", "cache")
        words = (str(port), str(own), str(length))
        return [asking.run(sys.executable, "-c", TOLD, address, *words).strip() for address in far]

    assert told() == [said, said]
    # By force: nothing is told.
    host.run("nft", "-f", "-", given=notrack_table(flow))
    host.run("conntrack", "-F")
    assert told() == ["nothing", "nothing"]
    host.run("nft", "delete table inet headroom_notrack")
    loaded(host, python, flows=[flow], accept=True)
    host.run("conntrack", "-F")
    assert told() == [said, said]
    assert host.entries("-p", "udp") == []


def test_errors_about_others_are_let_in_no_more_than_before(wire: Wire, python: str) -> None:
    """Of the ports of the flow alone."""
    _client, host, _server = wire
    host.nft(rules())
    loaded(host, python, flows=[dict(UPSTREAM, ports=[CLOSED])], accept=True)
    host.nft("add table inet more { chain c { type filter hook output priority -300; meta l4proto udp notrack; }; }")
    for port, said in ((CLOSED, "ECONNREFUSED"), (CLOSED + 1, "nothing")):
        assert host.run(sys.executable, "-c", TOLD, SERVER, str(port), "0", "9").strip() == said


WAYS = [
    (DNS, "chain pre { type nat hook prerouting priority -100; udp dport 53 redirect to :5353; }", "translates"),
    (WEB, "chain pre { type nat hook prerouting priority -100; tcp dport 80 dnat ip to 10.78.0.2:80; }", "translates"),
    (THROUGH, 'chain post { type nat hook postrouting priority 100; oifname "h1" masquerade; }', "translates"),
    (
        UPSTREAM,
        'chain post { type nat hook postrouting priority 100; oifname "h1" masquerade; }',
        "under its own address",
    ),
    (
        WEB,
        "chain in { type filter hook input priority -1; tcp dport 80 ct state invalid,untracked synproxy mss 1460; }",
        "proxy",
    ),
    (DNS, "chain pre { type nat hook prerouting priority -100; udp dport 5353 redirect to :53; }", None),
    (DNS, 'chain post { type nat hook postrouting priority 100; oifname "h1" masquerade; }', None),
    (
        WEB,
        "chain pre { type nat hook prerouting priority -100; ip daddr 192.0.2.1 tcp dport 80 dnat ip to 10.78.0.2:80; }",
        None,
    ),
]


@pytest.mark.parametrize(
    ("flow", "chain", "said"), WAYS, ids=[f"{way[0]['name']} {way[2]} {way[1][6:10]}" for way in WAYS]
)
def test_what_stands_in_the_way(wire: Wire, python: str, flow: dict[str, Any], chain: str, said: str | None) -> None:
    _client, host, _server = wire
    host.nft("table inet way {\n" + chain.replace("; }", ";\n}\n").replace("; ", ";\n") + "\n}\n")
    refusals = notrack(host, python, "judge", flows=[flow])["refusals"]
    if said is None:
        assert refusals == []
    else:
        assert said in refusals[0]
        assert "table inet way, chain " in refusals[0]


def test_replies_to_others_are_what_a_client_of_the_same_would_take(wire: Wire, python: str) -> None:
    """The trap that is refused above, sprung: pods behind the host do not reach the service any more."""
    client, host, _server = wire
    host.nft('table ip nat {\nchain post {\ntype nat hook postrouting priority 100;\noifname "h1" masquerade\n}\n}\n')
    assert client.asks("udp", SERVER, 53)
    host.run("nft", "-f", "-", given=notrack_table(UPSTREAM))
    host.run("conntrack", "-F")
    assert not client.asks("udp", SERVER, 53)


# Tables of others, each with one of the faults that are met, and what of the flow still takes an entry.
TRAPS = [
    ("a priority after tracking", "chain p { type filter hook prerouting priority -150; udp dport 53 notrack; }", HOST),
    ("one direction only", "chain p { type filter hook prerouting priority -300; udp dport 53 notrack; }", HOST),
    (
        "IPv4 alone",
        "chain p { type filter hook prerouting priority -300; meta nfproto ipv4 udp dport 53 notrack; }",
        HOST6,
    ),
]


@pytest.mark.parametrize(("chain", "address"), [trap[1:] for trap in TRAPS], ids=[trap[0] for trap in TRAPS])
def test_traps_of_others_take_entries_still_and_ours_do_not(wire: Wire, python: str, chain: str, address: str) -> None:
    client, host, _server = wire
    host.nft("table inet trap {\n" + chain.replace("; ", ";\n").replace("; }", ";\n}\n") + "\n}\n")
    assert client.asks("udp", address, 53)
    assert len(host.entries()) == 1
    host.run("conntrack", "-F")
    host.run("nft", "delete table inet trap")
    loaded(host, python, flows=[DNS])
    assert client.asks("udp", address, 53)
    assert host.entries() == []


def test_more_networks_than_a_set_holds_by_default(wire: Wire, python: str) -> None:
    client, host, _server = wire
    networks = [f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}/32" for number in range(0, 140000, 2)]
    assert len(networks) == 70000
    Path("/etc/headroom").mkdir(parents=True, exist_ok=True)
    many = dict(DNS, networks=[*networks, f"{CLIENT}/32"])
    host.run("nft", "-f", "-", given=notrack_table(many))
    client.run("ip", "address", "add", "172.18.34.222/32", "dev", "c0")
    host.run("ip", "route", "add", "172.16.0.0/12", "dev", "h0")
    assert networks[-1] == "172.18.34.222/32"
    assert client.asks("udp", HOST, 53)
    asked = client.command(
        sys.executable,
        "-c",
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2); s.bind(('172.18.34.222', 0)); "
        f"s.sendto(b'x', ('{HOST}', 53)); s.recv(9)",
    )
    subprocess.run(asked, check=True)
    assert host.entries() == []


FULL = """
import socket, sys
sys.path.insert(0, sys.argv[1])
import entries
limit = int(open("/proc/sys/net/netfilter/nf_conntrack_max").read())
status = entries.CONFIRMED | entries.SEEN_REPLY | entries.ASSURED
for start in range(0, limit + 60000, 60000):
    there = socket.inet_aton("10.255.{0}.2".format(start // 60000))
    flows = (entries.Flow(entries.UDP, socket.inet_aton("10.255.0.1"), there, 1024 + number, 53, status=status) for number in range(60000))
    entries.make(flows)
print(open("/proc/sys/net/netfilter/nf_conntrack_count").read(), limit)
"""


def test_through_the_lifeline_ssh_opens_though_the_table_is_full(wire: Wire, python: str, tmp_path: Path) -> None:
    """By a real sshd, a log-in and a command."""
    client, host, _server = wire
    loaded(host, python, lifeline=["10.77.0.0/24"], lifeline_ports=[booted.PORT])
    bench = str(Path(__file__).parents[1] / "bench")
    key = booted.sshd_files(tmp_path)
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen(host.command(booted.SSHD, "-D", "-f", str(tmp_path / "own_config"))) as sshd:
        try:
            # Whom the lifeline is not for comes in as well, as long as there is room.
            for address in (HOST, HOST6):
                comes_in(client, booted.ssh(key, address))
            # What is left of them ends before long, and would leave room for another one.
            host.run("conntrack", "-F")
            count, limit = map(int, host.run(sys.executable, "-c", FULL, bench).split())
            assert count >= limit
            assert not client.asks("tcp", HOST, 80)
            comes_in(client, booted.ssh(key, HOST))
            assert said_by(client, booted.ssh(key, HOST6)) == ""
        finally:
            sshd.kill()


def comes_in(client: Place, ssh: list[str]) -> None:
    """As soon as sshd is there, and has the time."""
    deadline = time.monotonic() + booted.PATIENCE
    while said_by(client, ssh) != "well\n":
        assert time.monotonic() < deadline


def said_by(client: Place, ssh: list[str]) -> str:
    """By a command over a connection that is opened anew."""
    return subprocess.run(client.command(*ssh, "echo well"), capture_output=True, text=True, check=False).stdout


def test_rules_that_are_gone_come_back_in_time(wire: Wire, python: str) -> None:
    client, host, _server = wire
    host.nft(rules())
    loaded(host, python, flows=[UPSTREAM], accept=True)
    with subprocess.Popen(host.command("sh", SCRIPT, "watch"), stdout=subprocess.PIPE, text=True) as watching:
        try:
            for _round in range(2):
                host.run("nft", "flush ruleset")
                host.nft(rules())
                gone = time.monotonic()
                while subprocess.run(host.command("sh", SCRIPT, "check"), check=False).returncode:
                    assert time.monotonic() < gone + 5 + 3
                    time.sleep(0.1)
                assert host.asks("udp", SERVER, 53)
                assert host.entries("-p", "udp") == []
        finally:
            watching.kill()
    assert client is not None


def test_unloaded_the_rules_are_what_they_were(wire: Wire, python: str) -> None:
    _client, host, _server = wire
    host.nft(rules())
    before = host.run("nft", "list", "ruleset")
    loaded(host, python, flows=[UPSTREAM, DNS], accept=True)
    assert host.run("nft", "list", "ruleset") != before
    # What is no more asked for goes at the next load.
    loaded(host, python, flows=[DNS])
    assert host.run("nft", "list", "table", "inet", "filter") in before
    host.run("sh", SCRIPT, "unload")
    assert host.run("nft", "list", "ruleset") == before


def test_timeouts_of_single_flows(wire: Wire, python: str) -> None:
    client, host, _server = wire
    timed = [
        dict(DNS, timeouts={"udp": 7, "udp_stream": 9}),
        dict(WEB, timeouts={"tcp_time_wait": 3, "tcp_established": 77, "tcp_close": 4, "tcp_last_ack": 5}),
    ]
    loaded(host, python, timeouts=timed)
    for address in (HOST, HOST6):
        assert client.asks("udp", address, 53)
        assert client.asks("udp", address, 5353)
        assert client.asks("tcp", address, 80)
    left = [
        (
            line.split()[0] if "=" not in line.split()[0] else "",
            int(line.split()[2]),
            "dport=53 " in line or "dport=80 " in line,
        )
        for family in ("ipv4", "ipv6")
        for line in host.entries("-f", family)
    ]
    assert len(left) == 6
    for _protocol, seconds, timed_one in left:
        assert (seconds <= 9) == timed_one
