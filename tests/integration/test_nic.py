# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What drivers of network cards count is what ethtool says of them: of this machine's own, and of veth, as many queues as it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest

NETNS = "headroom-nic-{0}".format(os.getpid())
ASK = """
import json, sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
host = Host()
print(json.dumps([host.card(sys.argv[1]), host.unreadable]))
"""


@pytest.fixture
def netns() -> Iterator[tuple[str, ...]]:
    """Words that run a command in a network namespace with a pair of interfaces."""
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    try:
        yield ("ip", "netns", "exec", NETNS)
    finally:
        subprocess.run(["ip", "netns", "delete", NETNS], check=True)


def counted(interface: str, inside: tuple[str, ...] = ()) -> tuple[dict[str, int], list[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[5])}
    words = (*inside, sys.executable, "-c", ASK, interface)
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    counters, unreadable = json.loads(done.stdout)
    return counters, unreadable


def of_ethtool(interface: str, inside: tuple[str, ...] = ()) -> dict[str, int]:
    ethtool = programs.program("ethtool", "ethtool")
    words = (*inside, ethtool.path, "-S", interface)
    done = subprocess.run(words, env=ethtool.environment, capture_output=True, text=True, check=False)
    pairs = (line.partition(":") for line in done.stdout.splitlines()[1:])
    return {name.strip(): int(value) for name, _sep, value in pairs}


@pytest.mark.parametrize("queues", [1, 7])
def test_the_counters_of_a_pair(netns: tuple[str, ...], queues: int) -> None:
    kind = ["type", "veth", "peer", "name", "there", "numrxqueues", str(queues), "numtxqueues", str(queues)]
    subprocess.run([*netns, "ip", "link", "add", "here", "numrxqueues", str(queues), *kind], check=True)
    for interface in ("here", "there"):
        subprocess.run([*netns, "ip", "link", "set", interface, "up"], check=True)
    found, unreadable = counted("here", netns)
    assert (found, unreadable) == (of_ethtool("here", netns), [])
    assert found["peer_ifindex"] > 0
    assert len(found) > queues


def test_the_counters_of_this_machines_own() -> None:
    cards = [path.name for path in Path("/sys/class/net").iterdir() if (path / "device").exists()]
    told = {name: of_ethtool(name) for name in cards}
    told = {name: counters for name, counters in told.items() if counters}
    if not told:
        pytest.skip("no network card here has a driver that counts")
    for name, counters in told.items():
        found, _unreadable = counted(name)
        assert list(found) == list(counters)
        # What is counted goes on meanwhile.
        assert all(found[key] >= 0 for key in counters)


@pytest.mark.parametrize(("interface", "unreadable"), [("lo", []), ("nothing", ["/sys/class/net/nothing"])])
def test_what_has_no_driver(netns: tuple[str, ...], interface: str, unreadable: list[str]) -> None:
    assert counted(interface, netns) == ({}, unreadable)
