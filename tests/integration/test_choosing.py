# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The playbook audit on hosts with real traffic: which cure it names, and that this cure works."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Machine
from notrack_wire import CLIENT, HOST, SERVER, Place, wired
from test_hostile_answers import ANSWERS, FACTS, Fleet
from test_notrack import loaded

# What the kernel makes of packets does not depend on the core of Ansible.
on_one_core = pytest.mark.on_one_core
# Some more than a proposal needs.
COUNT = 1200

# From a port of its own each.
ASK = """
import socket, sys
protocol, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
for number in range(count):
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.settimeout(10)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.bind(("", 20000 + number))
        asking.connect((address, port))
        asking.sendall(b"hello")
        if protocol == "tcp":
            # Who closes first has it in TIME_WAIT.
            asking.shutdown(socket.SHUT_WR)
        assert asking.recv(100) == b"hello"
"""

# The kernel refuses ctnetlink then, and there is the file.
WITHOUT_CTNETLINK = ("setpriv", "--bounding-set", "-net_admin")

Wire = tuple[Place, Place, Place]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as places:
        yield places


def ask(place: Place, protocol: str, address: str, port: int, count: int = COUNT) -> None:
    subprocess.run(
        place.command(sys.executable, "-c", ASK, protocol, address, str(port), str(count)), check=True, timeout=120
    )


def audited(machine: Machine, host: Place, *arguments: str, how: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """The cure of the host as programs get it, and what people see."""
    ran = machine.play(*arguments, name="audit", inside=(*host.command(), *how), ANSIBLE_SHOW_CUSTOM_STATS="true")
    assert ran.changed == 0
    (cure,) = handed_on(ran.output)
    return cure, ran.output


def handed_on(output: str) -> list[dict[str, Any]]:
    found = json.JSONDecoder().raw_decode(output.partition("RUN: ")[2].strip())[0]["conntrack_cures"]
    return list(found)


@on_one_core
def test_a_resolver_is_told_to_leave_questions_untracked(machine: Machine, wire: Wire) -> None:
    client, host, _server = wire
    ask(client, "udp", HOST, 53)
    ask(client, "tcp", HOST, 80, 50)
    before = len(host.entries())
    cure, seen = audited(machine, host)
    flow = {"name": "udp-53-server", "protocol": "udp", "ports": [53], "role": "server"}
    assert (cure["cure"], cure["variables"]) == ("exempt", {"notrack_flows": [flow]})
    assert cure["seen"].startswith("udp/53 to this host at least 9")
    assert cure["command"] in seen.replace('\\"', '"')
    assert len(host.entries()) == before
    loaded(host, machine.python, flows=cure["variables"]["notrack_flows"])
    host.run("conntrack", "-F")
    ask(client, "udp", HOST, 53)
    assert host.entries() == []
    assert audited(machine, host)[0]["cure"] != "exempt"


@on_one_core
def test_health_checks_are_told_to_end_sooner(machine: Machine, wire: Wire) -> None:
    _client, host, _server = wire
    ask(host, "tcp", SERVER, 80)
    cure, _seen = audited(machine, host)
    flow = {"name": "tcp-80-client", "protocol": "tcp", "ports": [80], "role": "client", "networks": [SERVER]}
    assert (cure["cure"], cure["variables"]) == (
        "shorten",
        {"notrack_timeouts": [{**flow, "timeouts": {"tcp_time_wait": 10}}]},
    )
    loaded(host, machine.python, timeouts=cure["variables"]["notrack_timeouts"])
    host.run("conntrack", "-F")
    ask(host, "tcp", SERVER, 80, 20)
    left = [int(line.split()[2]) for line in host.entries() if "TIME_WAIT" in line]
    assert len(left) == 20
    assert max(left) <= 10
    # With these timeouts in the inventory, what is left is not to be tracked at all.
    ask(host, "tcp", SERVER, 80)
    again, _seen = audited(machine, host, "-e", json.dumps(cure["variables"]))
    assert (again["cure"], again["variables"]) == ("exempt", {"notrack_flows": [flow], "notrack_timeouts": []})


@on_one_core
@pytest.mark.parametrize("how", [(), WITHOUT_CTNETLINK], ids=["ctnetlink", "proc"])
def test_what_is_translated_or_unanswered_is_not_to_be_exempt(
    machine: Machine, wire: Wire, how: tuple[str, ...]
) -> None:
    client, host, _server = wire
    ask(client, "udp", HOST, 53)
    assert audited(machine, host, how=how)[0]["cure"] == "exempt"
    host.run("conntrack", "-F")
    rules = "table ip nat {{ chain pre {{ type nat hook prerouting priority -100; udp dport 53 dnat to {0}; }}; }}"
    host.nft(rules.format(SERVER))
    ask(client, "udp", HOST, 53)
    assert len(host.entries("--dst-nat")) == COUNT
    assert audited(machine, host, how=how)[0]["cure"] not in ("exempt", "unload")
    host.run("nft", "delete", "table", "ip", "nat")
    host.run("conntrack", "-F")
    flood = "import socket\nfor number in range({0}):\n    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:\n"
    flood += "        asking.bind(('', 20000 + number))\n        asking.sendto(b'x', ('{1}', 9999))\n"
    client.run(sys.executable, "-c", flood.format(COUNT, HOST))
    assert len(host.entries("-s", CLIENT, "-p", "udp", "--orig-port-dst", "9999")) == COUNT
    assert audited(machine, host, how=how)[0]["cure"] != "exempt"


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(tmp_path, request.config.getoption("--ansible-playbook"))


BY = "role+protocol+destination_port+"
FLOW = {"role": "client", "protocol": "udp", "destination_port": 53, "entries": 9000, "share": 0.9, "margin": None}
TEMPLATE = "{{ lookup('pipe', 'touch $MARKS/asked') }}"
CENSUS = {
    **ANSWERS["conntrack_census_info"],
    "total": 10000,
    "examined": 10000,
    "groupings": [
        {"group_by": BY + name, "top": [{**FLOW, name: value}], "others": 0, "missed": 0}
        for name, value in (("state", "REPLIED"), ("destination", TEMPLATE))
    ],
}
FAILED = {"failed": True, "msg": "there is no table"}
NEED = {"kind": "rule", "where": "nftables, table inet t", "text": TEMPLATE, "remedy": "remove it"}
NEEDED = {"failed": True, "msg": "refused", "needed_by": [NEED]}
FREE = {
    "changed": True,
    "id": None,
    "state": "none",
    "kernel": "module",
    "modules": ["nf_conntrack"],
    "hooks": None,
    "restored": [],
    "not_restored": [],
}


def test_what_cannot_be_looked_at_is_left_out_and_no_text_is_a_template(fleet: Fleet) -> None:
    facts = {**FACTS, "kernel": {**FACTS["kernel"], "nat": False, "container": None}}
    read = {"conntrack_facts": {"changed": False, "ansible_facts": {"conntrack": facts}}}
    looks = {
        "needed": (CENSUS, NEEDED),
        "free": (CENSUS, FREE),
        "untold": (FAILED, FREE),
        "unclear": (CENSUS, FAILED),
    }
    for name, (census, needs) in looks.items():
        fleet.add(name, {**read, "conntrack_census_info": census, "conntrack_unload": needs})
    ran = fleet.play("headroom.netfilter.audit")
    assert ran.code == 0, ran.output
    assert fleet.marks() == []
    assert {name: fleet.ran(name) for name in fleet.hosts} == {
        name: ["conntrack_facts", "conntrack_census_info", "conntrack_unload"][: 2 if name == "untold" else 3]
        for name in fleet.hosts
    }
    cure = "{0}: exempt: udp/53 from this host at least 90 %"
    assert cure.format("needed, unclear") in ran.output
    assert "free: unload: no rule, service or module here needs connection tracking" in ran.output
    assert "untold: grow: " in ran.output
