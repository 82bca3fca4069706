# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrack_expire on the kernel: which entries get how much time, and that no flow that is alive suffers."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import entries
import pytest
import traffic
from census_oracle import parsed
from conftest import Machine, Private, until

COUNT, SEED = 1500, 11
# Entries of entries.py have 9000, 40000 or 400000 seconds, and up to 500 more. A timeout between two of these has both kinds.
TIMEOUTS = {
    "tcp_established": 6000,
    "tcp_unacknowledged": 3000,
    "tcp_time_wait": 600,
    "tcp_close": 500000,
    "tcp_fin_wait": 10000,
    "udp": 10000,
    "udp_stream": 1000,
    "icmp": 2000,
    "sctp_established": 10000,
    "gre_stream": 500,
    "generic": 1200,
}
# Seconds: less than an entry loses that is shortened to one of these, and more than passes meanwhile.
MORE = 2500
# What conntrack does not print is told by a mark.
PERMANENT = 0xF1
FILL = f"""
import sys
import entries
flows = entries.mixed({COUNT}, {SEED})
entries.make(flow._replace(mark={PERMANENT}) if flow.status & entries.FIXED_TIMEOUT else flow for flow in flows)
"""


class Entry(NamedTuple):
    fields: dict[str, Any]
    left: int


def table(private: Private) -> dict[str, Entry]:
    """Entries by their numbers."""
    lines = private.conntrack()
    return {line.rpartition(" id=")[2]: Entry(*parsed(line)) for line in lines}


class Changed(NamedTuple):
    """How two looks at a table differ; times are those that pass by themselves."""

    shortened: dict[str, Entry]  # as they were before
    odd: list[tuple[Entry, Entry | None]]  # that have ended, or have more time than before


@contextmanager
def watched(private: Private) -> Iterator[Callable[[], Changed]]:
    before, begun = table(private), time.monotonic()

    def changed() -> Changed:
        after = table(private)
        passed = time.monotonic() - begun + 2
        pairs = {number: (entry, after.get(number)) for number, entry in before.items()}
        return Changed(
            {number: was for number, (was, now) in pairs.items() if now and was.left - now.left > passed},
            [(was, now) for was, now in pairs.values() if now is None or now.left > was.left],
        )

    yield changed


@pytest.fixture
def filled(private: Private) -> Private:
    private.run("env", f"PYTHONPATH={Path(entries.__file__).parent}", sys.executable, "-c", FILL)
    return private


def beyond(entry: Entry) -> bool:
    """Whether an entry has more time than TIMEOUTS give it."""
    limit = TIMEOUTS.get(entry.fields["timeout_class"], entry.left)
    return entry.left > limit and entry.fields["mark"] != PERMANENT


def test_just_those_that_have_more_get_just_what_is_wanted(filled: Private) -> None:
    before = table(filled)
    expected = {number for number, entry in before.items() if beyond(entry)}
    permanent = [entry for entry in before.values() if entry.fields["mark"] == PERMANENT]
    assert len(before) > 0.9 * COUNT
    assert 500 < len(expected) < len(before) - 250
    assert len(permanent) > 10
    with watched(filled) as changed:
        checked = filled.expire(timeouts=TIMEOUTS, check=True)
        assert changed() == Changed({}, [])
        begun = time.monotonic()
        found = filled.expire(timeouts=TIMEOUTS)
        found_now = changed()
        passed = time.monotonic() - begun + 2
    assert set(found_now.shortened) == expected
    assert found_now.odd == []
    assert checked == found
    assert found["corrected"] == 0
    assert (found["examined"], found["shortened"], found["gone"], found["busy"]) == (len(before), len(expected), 0, 0)
    after = table(filled)
    for number in expected:
        limit = TIMEOUTS[before[number].fields["timeout_class"]]
        assert limit - passed <= after[number].left <= limit
    # Nothing is left to do.
    assert filled.expire(timeouts=TIMEOUTS)["shortened"] == 0


def test_by_default_to_the_timeouts_of_the_kernel(filled: Private) -> None:
    most = {
        "tcp_established": 3000,
        "udp": 770,
        "generic": 5000,
        "tcp_time_wait": 1120,
        "tcp_close": 1010,
        "icmp": 1030,
    }
    for name, seconds in most.items():
        stem, _underscore, state = name.partition("_")
        key = f"{stem}_timeout_{state}" if state else f"{stem}_timeout"
        filled.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{key}={seconds}")
    filled.expire()
    after = [entry for entry in table(filled).values() if entry.fields["mark"] != PERMANENT]
    for name, seconds in most.items():
        left = [entry.left for entry in after if entry.fields["timeout_class"] == name]
        assert left
        assert max(left) <= seconds


@pytest.mark.parametrize(
    ("match", "means"),
    [
        ({"protocol": ["udp", "icmp"]}, lambda fields: fields["protocol"] in ("udp", "icmp")),
        ({"state": ["TIME_WAIT", "UNREPLIED"]}, lambda fields: fields["state"] in ("TIME_WAIT", "UNREPLIED")),
        ({"source_network": ["10.1.0.0/30"]}, lambda fields: fields["source"] in ("10.1.0.1", "10.1.0.2", "10.1.0.3")),
        (
            {"destination_network": ["fd00::2:0/112", "172.16.0.1/32"]},
            lambda fields: fields["destination"].startswith("fd00::2:") or fields["destination"] == "172.16.0.1",
        ),
        ({"destination_port": [53, 443]}, lambda fields: fields["destination_port"] in (53, 443)),
        (
            {
                "protocol": ["tcp"],
                "state": ["ESTABLISHED"],
                "source_network": ["fd00::1:0/112"],
                "destination_port": [443],
            },
            lambda fields: (
                (fields["protocol"], fields["state"], fields["destination_port"]) == ("tcp", "ESTABLISHED", 443)
                and ":" in fields["source"]
            ),
        ),
        ({"destination_port": [1], "protocol": ["icmp"]}, lambda fields: False),
    ],
    ids=["protocol", "state", "source", "destination", "port", "all of them", "none"],
)
def test_only_what_matches(filled: Private, match: dict[str, Any], means: Callable[[dict[str, Any]], bool]) -> None:
    with watched(filled) as changed:
        expected = {number for number, entry in table(filled).items() if beyond(entry) and means(entry.fields)}
        checked = filled.expire(timeouts=TIMEOUTS, match=match, check=True)
        found = filled.expire(timeouts=TIMEOUTS, match=match)
        found_now = changed()
    assert (set(found_now.shortened), found_now.odd) == (expected, [])
    assert checked["shortened"] == found["shortened"] == len(expected)


@pytest.mark.parametrize(("limit", "more"), [(1, 0), (300, 0), (0, 500)])
def test_no_more_than_the_limit(filled: Private, limit: int, more: int) -> None:
    with watched(filled) as changed:
        checked = filled.expire(timeouts=TIMEOUTS, limit=limit, check=True)
        found = filled.expire(timeouts=TIMEOUTS, limit=limit)
        assert len(changed().shortened) == found["shortened"] == checked["shortened"]
    assert found["shortened"] == limit if limit else found["shortened"] > more


def test_no_faster_than_the_rate(filled: Private) -> None:
    """Never is there more done than had its time; how much less depends on the machine."""
    rate, limit = 60, 300
    process = filled.expiring(timeouts=TIMEOUTS, rate=rate, limit=limit)
    begun = time.monotonic()
    before = table(filled)
    seen = []
    while process.poll() is None:
        after, now = table(filled), time.monotonic()
        short = sum(entry.left < before[number].left - MORE for number, entry in after.items() if number in before)
        seen.append((now - begun, short))
    output, errors = process.communicate()
    assert json.loads(output)[0]["shortened"] == limit, errors
    # A twentieth of a second is sent at once.
    assert all(short <= rate * (passed + 0.05) + 1 for passed, short in seen), seen
    assert [short for _passed, short in seen if 0 < short < limit - rate / 2]


def test_entries_that_end_meanwhile_are_counted(filled: Private) -> None:
    process = filled.expiring(timeouts=TIMEOUTS, rate=100)
    # It has begun when one has less than any was made with.
    while min(entry.left for entry in table(filled).values()) > 9000 - MORE:
        assert process.poll() is None
    filled.run("conntrack", "-F")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    (found,) = json.loads(output)
    assert found["shortened"] > 0
    assert found["gone"] > 0
    assert found["busy"] == 0


# States of TCP, and a range of seconds left, each: those that are named by a test, and others that have as much as is wanted of these.
ENDING = """
import entries, socket
here, there = socket.inet_aton("10.7.0.1"), socket.inet_aton("10.7.0.2")
states = [(3, range(9000, 9500)), (7, range(600, 620)), (5, range(600, 620))]
entries.make(
    entries.Flow(entries.TCP, here, there, 1000 * state + number, 443, state, entries.CONFIRMED | 6, left[number % len(left)])
    for state, left in states
    for number in range(400)
)
"""


def made(private: Private, script: str, *arguments: str) -> str:
    path = f"PYTHONPATH={Path(entries.__file__).parent}"
    return private.run("env", path, sys.executable, "-c", script, *arguments)


def test_a_second_look_is_for_those_that_the_first_has_shortened(private: Private) -> None:
    """However long the first one takes, what nobody named and no limit left room for stays."""
    made(private, ENDING)
    with watched(private) as changed:
        found = private.expire(timeouts={"tcp_established": 600}, match={"state": ["ESTABLISHED"]}, rate=50, limit=300)
        found_now = changed()
    assert {entry.fields["state"] for entry in found_now.shortened.values()} == {"ESTABLISHED"}
    assert (len(found_now.shortened), found_now.odd, found["corrected"]) == (300, [], 0)


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"most": None}, "600 that one run may shorten without a second word (half of the table)"),
        ({"most": 300}, "300 "),
    ],
    ids=["half", "so many"],
)
def test_more_than_the_bound_is_refused_before_anything_is_shortened(
    private: Private, options: dict[str, Any], bound: str, check: bool
) -> None:
    made(private, ENDING)
    wanted = {"timeouts": {"tcp_established": 500, "tcp_close_wait": 500}}
    with watched(private) as changed:
        process = private.expiring(**wanted, **options, check=check)
        _output, errors = process.communicate()
        assert changed() == Changed({}, [])
    assert process.returncode != 0
    assert f"800 of 1200 entries would be shortened, more than the {bound}" in errors
    assert private.expire(**wanted, most=800, check=check)["shortened"] == 800
    assert private.expire(**wanted, limit=300, most=300, check=check)["shortened"] == (300 if check else 0)


SMALL = """
import socket
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.expire import expire
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.wanted import read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

class Small(Host):
    def netfilter(self):
        conversation = super().netfilter()
        # The least there is.
        conversation._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return conversation

options = {"timeouts": {"tcp_established": 600}, "timeout_profile": None, "match": None}
expire(Small(), read_options({**options, "limit": 0, "rate": 0, "most": 0, "under_policies": False}), None, False)
"""


def test_requests_that_the_kernel_does_not_take_are_an_error_with_a_name(private: Private) -> None:
    made(private, ENDING)
    process = private.start(private.python, "-c", SMALL)
    _output, errors = process.communicate()
    assert process.returncode != 0
    assert "TableError: the kernel does not take requests to change entries (EMSGSIZE, Message too long)" in errors


RULES = """
table inet headroom {
    ct timeout longer { protocol tcp; l3proto ip; policy = { established : 5000, close_wait : 70 }; }
    ct timeout calls { protocol udp; l3proto ip; policy = { unreplied : 4000, replied : 4500 }; }
    chain output {
        type filter hook output priority -150;
        tcp dport 5432 ct timeout set "longer"
        udp dport 5060 ct timeout set "calls"
    }
}
"""
# Connections to two ports that stay until a line comes.
TALK = """
import socket, sys
socket.setdefaulttimeout(60)
kept = []
for port in (5432, 8080):
    listening = socket.create_server(("127.0.0.1", port))
    kept += [listening, socket.create_connection(("127.0.0.1", port)), listening.accept()[0]]
for port in (5060, 5061):
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.sendto(b"?", ("127.0.0.1", port))
    kept.append(asking)
print("ready", flush=True)
sys.stdin.readline()
"""
WANTED = {"tcp_established": 600, "udp": 20}


def left(private: Private) -> dict[int, int]:
    """Seconds that entries have, by the port of their destination."""
    found = [Entry(*parsed(line)) for line in private.conntrack("-f", "ipv4")]
    return {entry.fields["destination_port"]: entry.left for entry in found}


@pytest.fixture
def talking(private: Private) -> Iterator[Private]:
    """A network namespace with a connection and a flow under timeout policies of rules, and with one of each that are not."""
    private.run("ip", "link", "set", "lo", "up")
    private.run("nft", RULES)
    # So long are those of the kernel, as the policies' rest would else be known by it.
    private.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=9000")
    process = private.start(sys.executable, "-c", TALK)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield private
    process.communicate("\n")


def test_what_a_rule_gave_is_left_alone_until_it_is_asked_for(talking: Private) -> None:
    before = left(talking)
    assert 4000 < before[5432] <= 5000 < 400000 < before[8080]
    assert 3000 < before[5060] <= 4000 < 8000 < before[5061]
    checked = talking.expire(timeouts=WANTED, check=True)
    found = talking.expire(timeouts=WANTED)
    after = left(talking)
    assert (after[8080] <= 600, after[5061] <= 20) == (True, True)
    assert (after[5432] > 4000, after[5060] > 3000) == (True, True)
    assert (checked["shortened"], checked["spared"]) == (found["shortened"], found["spared"]) == (2, 2)
    assert {state["timeout_class"]: state["spared"] for state in found["states"]} == {"tcp_established": 1, "udp": 1}
    assert talking.expire(timeouts=WANTED, match={"destination_port": [5432]})["spared"] == 1
    assert talking.expire(timeouts=WANTED, match={"destination_port": [8080]})["spared"] == 0
    asked = talking.expire(timeouts=WANTED, under_policies=True)
    assert (asked["shortened"], asked["spared"]) == (2, 0)
    after = left(talking)
    assert (after[5432] <= 600, after[5060] <= 20) == (True, True)


def test_a_policy_that_is_deleted_holds_no_more(talking: Private) -> None:
    """The kernel takes it from the entries that were under it."""
    talking.run("nft", "delete table inet headroom")
    found = talking.expire(timeouts=WANTED)
    assert (found["shortened"], found["spared"]) == (4, 0)


def test_policies_of_iptables_are_for_one_family(private: Private) -> None:
    """What CT --timeout and Open vSwitch name is kept by another part of the kernel."""
    made(private, CTTIMEOUT)
    made(
        private,
        """
import entries, socket
for family, one, other in ((socket.AF_INET, "10.7.0.1", "10.7.0.2"), (socket.AF_INET6, "fd00::1", "fd00::2")):
    ends = [socket.inet_pton(family, address) for address in (one, other)]
    entries.make(entries.Flow(17, *ends, port, 53, 0, entries.CONFIRMED, left) for port, left in ((1, 2900), (2, 3300)))
""",
    )
    found = private.expire(timeouts=WANTED)
    assert (found["shortened"], found["spared"]) == (3, 1)
    assert private.expire(timeouts=WANTED, under_policies=True)["shortened"] == 1


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


# IPCTNL_MSG_TIMEOUT_NEW of NFNL_SUBSYS_CTNETLINK_TIMEOUT, as nfct add timeout calls inet udp unreplied 3000 replied 3000 says it.
_BODY = (
    bytes([socket.AF_INET, 0, 0, 0])
    + attribute(1, b"calls\0")
    + attribute(2, struct.pack(">H", socket.AF_INET))
    + attribute(3, bytes([socket.IPPROTO_UDP]))
    + attribute(4 | 0x8000, attribute(1, struct.pack(">I", 3000)) + attribute(2, struct.pack(">I", 3000)))
)
CTTIMEOUT = f"""
import socket, struct
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:
    kernel.bind((0, 0))
    kernel.send({struct.pack("=IHHII", 16 + len(_BODY), 0x800, 0x1 | 0x4 | 0x200 | 0x400, 1, 0) + _BODY!r})
    assert struct.unpack_from("=i", kernel.recv(4096), 16) == (0,)
"""


@contextmanager
def connections(machine: Machine, *role: str) -> Iterator[tuple[Private, subprocess.Popen[str]]]:
    """Real ones, in a network namespace of their own."""
    command = ["unshare", "--net", "--kill-child", sys.executable, traffic.__file__, *role]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Private(int(process.stdout.readline()), machine.python), process
        finally:
            process.kill()


def by_port(private: Private) -> dict[int, str]:
    """The numbers of the entries of TCP, by the ports of this side."""
    lines = private.conntrack("-p", "tcp")
    return {int(line.partition("sport=")[2].split()[0]): line.rpartition(" id=")[2] for line in lines}


# Seconds: so long no connection waits that is alive.
SHORT = 8


@pytest.mark.on_one_core
def test_live_connections_live_on_and_idle_ones_end(machine: Machine) -> None:
    active, idle = 50, 10
    with connections(machine, "live", str(active), str(idle)) as (private, process):
        before = by_port(private)
        assert len(before) == active + idle
        alive = set(range(10000, 10000 + active))
        expiring = private.expiring(timeouts={"tcp_established": SHORT}, times=100000, pause=0.15)
        until(lambda: not by_port(private).keys() - alive)
        output, errors = expiring.communicate("\n")
        assert expiring.returncode == 0, errors
        runs = json.loads(output)
        after = by_port(private)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
    assert said["wrong"] == 0
    assert said["rounds"] >= traffic.ROUNDS
    # Nothing is said for as long as an entry has only where the machine stands still.
    assert said["longest"] > SHORT - 1 or after == {port: before[port] for port in alive}
    assert sum(run["shortened"] for run in runs) > 5 * active
    assert sum(run["busy"] for run in runs) == 0


# Longer than the kernel's own, so that none that has ended is gone before it is looked at; shorter than what is wanted of those that live.
KERNEL = {
    "SYN_SENT": 2120,
    "SYN_RECV": 2060,
    "FIN_WAIT": 2121,
    "CLOSE_WAIT": 2061,
    "LAST_ACK": 2030,
    "TIME_WAIT": 2122,
    "CLOSE": 2010,
}


@pytest.mark.on_one_core
def test_a_flow_that_ends_while_it_is_shortened_has_the_time_of_its_end(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 4000
    with connections(machine, "short", str(count), *(f"{state}={seconds}" for state, seconds in KERNEL.items())) as (
        private,
        process,
    ):
        assert process.stdout is not None
        expiring = private.expiring(timeouts={"tcp_established": 36000}, times=100000)
        said = json.loads(process.stdout.readline())
        output, errors = expiring.communicate("\n")
        assert expiring.returncode == 0, errors
        ended = [Entry(*parsed(line)) for line in private.conntrack("-p", "tcp")]
    assert said == {"right": count}
    runs = json.loads(output)
    assert sum(run["shortened"] for run in runs) > 100
    figures = {name: sum(run[name] for run in runs) for name in ("shortened", "corrected", "gone", "busy")}
    with capsys.disabled():
        print(f"\n{count} connections in {len(runs)} runs: {figures}")
    ended = [entry for entry in ended if entry.fields["state"] != "ESTABLISHED"]
    assert len(ended) > 1000
    assert [entry for entry in ended if entry.left > KERNEL[entry.fields["state"]]] == []
