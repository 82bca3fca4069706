# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Flows left untracked on hosts that have no nft: by chains of iptables' tables raw, of both its kinds, with real packets, and the
units that load and watch them run by a real systemd.

Needs what booted.py needs; iptables is unpacked where this machine has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from booted import Booted, booted
from notrack_wire import CLIENT, CLIENT6, DNS, HOST, HOST6, SERVER, SERVER6, UPSTREAM, WEB, Place, wired
from programs import program

pytestmark = pytest.mark.on_one_core

COLLECTION = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections/headroom/netfilter"
STEPWISE = Path(__file__).parents[1] / "survival/stepwise.py"
NAMES = [f"{name}{what}" for name in ("iptables", "ip6tables") for what in ("", "-save", "-restore")]
# Seconds between two looks of the unit that watches, and what a busy machine may take for them.
PAUSE, SLACK = 5, 15
ENDS = {4: (CLIENT, HOST, SERVER), 6: (CLIENT6, HOST6, SERVER6)}
# As of a firewall that lets replies in by their state, and a rule in raw that is somebody else's.
THEIRS = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp --dport 9999 -j DROP
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
{own}
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p udp -m multiport --dports 53,5353 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,8080 -j ACCEPT
COMMIT
"""


NEIGHBOURS = "\n".join(f"-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type {number} -j ACCEPT" for number in (135, 136))
OWN = {"iptables": "-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT", "ip6tables": NEIGHBOURS}
CLOSED = 9953
# What the kernel tells of a datagram to a port where nobody listens.
TOLD = """
import errno, socket, sys
asking = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(2)
asking.connect((sys.argv[1], int(sys.argv[2])))
try:
    asking.send(b"x")
    asking.recv(9)
except OSError as error:
    print(errno.errorcode.get(error.errno, "nothing"))
"""


class Wire:
    def __init__(self, client: Place, place: Place, host: Booted) -> None:
        self.client, self.place, self.host = client, place, host

    def theirs(self) -> None:
        """What others load at a start of theirs."""
        for name, own in OWN.items():
            self.host.run(f"{name}-restore", given=THEIRS.format(own=own))

    def rules(self) -> list[str]:
        """Without the counts, and what tells when they were shown."""
        saved = "".join(self.host.run(name) for name in ("iptables-save", "ip6tables-save"))
        return [line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")]

    def notrack(self, **options: Any) -> dict[str, Any]:
        words = ("python3", "-B", str(STEPWISE), "none", "0")
        done = self.host.attempt(*words, given=json.dumps({"notrack": options}), PYTHONPATH=str(COLLECTION))
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def entries(self, version: int, *options: str) -> list[str]:
        return self.place.entries("-f", f"ipv{version}", *options)


@pytest.fixture(scope="module", params=["nft", "legacy"])
def up(request: pytest.FixtureRequest, _left: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A host with one kind of iptables, and no nft."""
    kind, folder = request.param, tmp_path_factory.mktemp("host")
    unpacked = program(f"xtables-{kind}-multi", "iptables")
    (over := folder / "over" / "sbin").mkdir(parents=True)
    for name in NAMES:
        (over / name).symlink_to(f"/usr/sbin/xtables-{kind}-multi")
    # To an overlay: it is not there.
    os.mknod(over / "nft", stat.S_IFCHR, os.makedev(0, 0))
    layers = [over.parent] if unpacked.root == Path("/") else [over.parent, unpacked.root / "usr"]
    with contextlib.ExitStack() as kept:
        client, place, _server = kept.enter_context(wired())
        host = kept.enter_context(booted(place, folder, layers))
        assert host.attempt("nft", "--version").returncode == 127
        if host.attempt("iptables", "-t", "raw", "-S").returncode:
            pytest.skip(f"this kernel has no table raw of iptables-{kind}")
        yield Wire(client, place, host)


@pytest.fixture
def wire(up: Wire) -> Iterator[Wire]:
    """With rules of others alone."""
    up.theirs()
    before = up.rules()
    yield up
    up.notrack(state="absent")
    assert up.rules() == before
    assert up.host.run("systemctl", "list-units", "--plain", "--no-legend", "headroom*") == ""


@pytest.mark.parametrize("version", [4, 6])
def test_the_flows_take_no_entries_and_others_do(wire: Wire, version: int) -> None:
    client, host, server = ENDS[version]
    said = wire.notrack(flows=[DNS, WEB, UPSTREAM], accept=True)
    assert (said["state"], said["backend"]) == ("kept", "iptables")
    replies = [one for one in said["accepted"] if one["direction"] == "reply"]
    assert {one["flow"] for one in replies} == {"upstream"}
    wire.place.run("conntrack", "-F")
    assert wire.client.asks("udp", host, 53)
    assert wire.client.asks("tcp", host, 80)
    assert wire.place.asks("udp", server, 53)
    assert wire.entries(version) == []
    # Other ports, another one's server, and what the host says to itself.
    assert wire.client.asks("udp", host, 5353)
    assert wire.client.asks("tcp", host, 8080)
    assert wire.place.asks("udp", client, 53)
    assert wire.place.asks("tcp", host, 80)
    assert len(wire.entries(version)) == 4


def test_errors_about_what_is_not_tracked_arrive(wire: Wire) -> None:
    wire.notrack(flows=[dict(UPSTREAM, ports=[CLOSED])], accept=True)
    wire.place.run("conntrack", "-F")
    for _client, _host, server in ENDS.values():
        assert wire.host.run("python3", "-c", TOLD, server, str(CLOSED)) == "ECONNREFUSED\n"
    assert wire.entries(4) + wire.entries(6) == []


def test_refused_where_replies_would_be_lost(wire: Wire) -> None:
    said = wire.notrack(flows=[UPSTREAM])
    assert "would be lost" in said["failed"]
    assert "iptables filter" in said["failed"]


def test_what_others_load_takes_them_away_for_some_seconds(wire: Wire) -> None:
    """iptables-restore makes the whole of a table: raw is made anew, and our chains are gone until the next look."""
    wire.notrack(flows=[DNS, UPSTREAM], accept=True)
    wire.theirs()
    assert not any("headroom" in line for line in wire.rules())
    gone = time.monotonic()
    while wire.host.attempt("sh", "/etc/headroom/notrack.sh", "check").returncode:
        assert time.monotonic() < gone + PAUSE + SLACK
        time.sleep(0.2)
    wire.place.run("conntrack", "-F")
    for _client, host, server in ENDS.values():
        assert wire.client.asks("udp", host, 53)
        assert wire.place.asks("udp", server, 53)
    assert wire.entries(4) + wire.entries(6) == []


def test_what_others_add_stays(wire: Wire) -> None:
    """iptables-restore --noflush, as docker and kube-proxy run it, leaves our chains alone, and we its."""
    wire.notrack(flows=[DNS])
    before = wire.rules()
    rule = "POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    wire.host.run("iptables-restore", "--noflush", given=f"*nat\n:DOCKER - [0:0]\n-A {rule}\nCOMMIT\n")
    try:
        assert wire.host.attempt("sh", "/etc/headroom/notrack.sh", "check").returncode == 0
        assert set(before) < set(wire.rules())
        wire.place.run("conntrack", "-F")
        assert wire.client.asks("udp", HOST, 53)
        assert wire.entries(4) == []
    finally:
        wire.host.run("iptables-restore", "--noflush", given=f"*nat\n-D {rule}\n-X DOCKER\nCOMMIT\n")
