# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Count the same tables by the collection and by what conntrack and /proc print of them: equal for every group.

usage: PYTHONPATH=/above/ansible_collections unshare --net python census_oracle.py [SEED:SIZE...]

Needs root, conntrack and, for flows that only real packets make, ip and nft. Besides the collection's module_utils and the
standard library it needs traffic.py, and entries.py of tests/bench. It says what it compared; with a disagreement it fails.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import entries
import traffic

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import FIELDS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

TABLES = ["1:5000", "2:300", "3:300", "4:300"]
PROC = Path("/proc/net/nf_conntrack")
PREFIXES = {4: 20, 6: 77}
# entries.py leaves no entry near to either.
LIMITS = {name: (10000, 200000)[number % 2] for number, name in enumerate(sorted(kernel.TIMEOUTS))}
# The longer of them for what is established, and the shorter for what was picked up in its midst.
LIMITS.update(tcp_established=200000, tcp_unacknowledged=10000)
GROUPINGS = [
    *FIELDS,
    *("+".join(pair) for pair in itertools.combinations(FIELDS, 2)),
    "protocol+state+zone+mark+assured",
    "source_network+destination_network+destination_port+timeout_class",
    "+".join(FIELDS),
]
STATELESS = {1: "icmp", 17: "udp", 47: "gre", 58: "icmpv6", 136: "udplite"}
STATEFUL = {6: "tcp", 33: "dccp", 132: "sctp"}

# conntrack before 1.4.7 has names for seven states of SCTP, and calls those of DCCP by the same names.
OLD_STATE = re.compile(r"^(?P<head>\S+ +\d+ (?P<protocol>sctp|dccp) +\d+ \d+ )(?P<state>[A-Z_]+)", re.MULTILINE)
OLD_STATES = {
    "sctp": {"NONE": "HEARTBEAT_SENT"},
    "dccp": {
        "CLOSED": "REQUEST",
        "COOKIE_WAIT": "RESPOND",
        "COOKIE_ECHOED": "PARTOPEN",
        "ESTABLISHED": "OPEN",
        "SHUTDOWN_SENT": "CLOSEREQ",
        "SHUTDOWN_RECD": "CLOSING",
        "SHUTDOWN_ACK_SENT": "TIMEWAIT",
        "NONE": "IGNORE",
    },
}

Groups = dict[str, Counter[tuple[Any, ...]]]


class NoCtnetlink(Host):
    """A kernel that was built without."""

    def netfilter(self) -> Any:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))


def counted(host: Host) -> tuple[Groups, int, dict[str, int], str] | None:
    """By the collection: the groups, how many entries there are, the stale ones by timeout, and what was read. None where not
    all readings have as many: a reader of /proc comes back to where it was by the number of entries before, those of all
    network namespaces, and misses one when one of them ends."""
    groups: Groups = {}
    totals = set()
    # So few at a time that no group has to be dropped.
    for first in range(0, len(GROUPINGS), 10):
        options = {
            "sample": 0,
            "group_by": GROUPINGS[first : first + 10],
            "top": 10000,
            "prefix_lengths": {"ipv4": PREFIXES[4], "ipv6": PREFIXES[6]},
            "anonymise": False,
            "timeout_profile": "kernel",
            "timeouts": LIMITS,
        }
        found = examine(host, read_options(options), None)
        whole = {"exact": True, "unread": {"entries": 0, "attributes": 0}, "examined": found["total"]}
        for name, expected in whole.items():
            if found[name] != expected:
                raise SystemExit(f"{name} is {found[name]}, expected {expected}")
        for grouping in found["groupings"]:
            if grouping["others"] or grouping["missed"]:
                raise SystemExit(f"{grouping['group_by']}: {grouping['others']} others, {grouping['missed']} missed")
            fields = grouping["group_by"].split("+")
            groups[grouping["group_by"]] = Counter(
                {tuple(group[field] for field in fields): group["entries"] for group in grouping["top"]}
            )
        totals.add(found["total"])
    stale = {name: told["entries"] for name, told in found["stale"]["timeouts"].items()}
    return (groups, found["total"], stale, found["source"]) if len(totals) == 1 else None


def read(text: str) -> tuple[Groups, int, dict[str, int]]:
    """The same out of what conntrack -L -o extended prints, or /proc/net/nf_conntrack."""
    groups: Groups = {grouping: Counter() for grouping in GROUPINGS}
    stale: Counter[str] = Counter()
    lines = text.splitlines()
    for line in lines:
        entry, left = parsed(line)
        for grouping, counter in groups.items():
            counter[tuple(entry[field] for field in grouping.split("+"))] += 1
        if left > LIMITS.get(entry["timeout_class"], left):
            stale[entry["timeout_class"]] += 1
    return groups, len(lines), dict(stale)


def parsed(line: str) -> tuple[dict[str, Any], int]:
    """The fields of an entry, and the seconds that it has left."""
    words = line.split()
    protocol, left, state = int(words[3]), int(words[4]), words[5]
    state = "" if "=" in state else state
    first, second = line.split(" src=")[1:]
    answered = "[UNREPLIED]" not in line
    values: dict[str, str] = {"src": first.split()[0]}
    for word in first.split()[1:]:
        name, _equals, value = word.partition("=")
        values[name] = value
    if protocol == 33 and not state:
        # A kernel without DCCP tells no ports; conntrack prints them all the same, as 0.
        values.pop("dport", None)
    after = dict(word.split("=", 1) for word in second.split()[1:] if "=" in word)
    source, destination = (ipaddress.ip_address(values[name]) for name in ("src", "dst"))
    stem = {**STATELESS, **STATEFUL}.get(protocol, "generic")
    timeout: str | None = stem
    if protocol in STATEFUL:
        # To a kernel without DCCP it is any protocol.
        timeouts = {"": "generic", "NONE": None, "SYN_SENT2": "tcp_syn_sent"}
        timeout = timeouts.get(state, f"{stem}_{state.lower()}")
        if state == "ESTABLISHED" and not answered:
            state = "ESTABLISHED_UNREPLIED"
            timeout = "tcp_unacknowledged" if stem == "tcp" else timeout
    elif stem in ("udp", "udplite", "gre") and answered:
        timeout = f"{stem}_stream"
    return {
        "protocol": {**STATELESS, **STATEFUL}.get(protocol, str(protocol)),
        "state": state or ("REPLIED" if answered else "UNREPLIED"),
        "source": str(source),
        "destination": str(destination),
        "source_network": _network(source),
        "destination_network": _network(destination),
        "destination_port": int(values["dport"]) if "dport" in values else None,
        "zone": int(after.get("zone", values.get("zone-orig", 0))),
        "mark": int(after.get("mark", 0)),
        "assured": "[ASSURED]" in line,
        "timeout_class": timeout,
        "role": _role(values, after | {"src": second.split()[0]}),
    }, left


def _role(first: Mapping[str, str], second: Mapping[str, str]) -> str:
    """By the addresses that the program ip tells of this namespace, and by whether the answer goes back the same way."""
    back = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}
    if any(first[name] != second[other] for name, other in back.items() if name in first and other in second):
        return "translated"
    source, destination = (ipaddress.ip_address(first[name]) for name in ("src", "dst"))
    from_here, to_here = (str(one) in own() or (one.version == 4 and one.is_loopback) for one in (source, destination))
    if from_here:
        return "local" if to_here else "client"
    to_many = destination.is_multicast or (destination.version == 4 and int(destination) >> 28 == 15)
    return "server" if to_here or to_many else "forward"


@functools.cache
def own() -> frozenset[str]:
    told = _output("ip", "-oneline", "address") if shutil.which("ip") else ""
    return frozenset(re.findall(r" inet6? ([0-9a-f.:]+)", told))


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(ipaddress.ip_network((address, PREFIXES[address.version]), strict=False))


def conntrack() -> str:
    """Both families; before 1.4.7 one of them has to be asked for."""
    command = ["conntrack", "-L", "-o", "extended"]
    text = _output(*command)
    if not re.search("^ipv6", text, re.MULTILINE):
        text += _output(*command, "-f", "ipv6")
    version = re.search(r"v(\d+)\.(\d+)\.(\d+)", _output("conntrack", "--version"))
    return text if version and tuple(map(int, version.groups())) >= (1, 4, 7) else OLD_STATE.sub(_renamed, text)


def _renamed(found: re.Match[str]) -> str:
    return found["head"] + OLD_STATES[found["protocol"]].get(found["state"], found["state"])


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout


class Compared:
    """What has been compared, and found to differ."""

    def __init__(self) -> None:
        self.groups = self.groupings = 0
        self.differences: list[str] = []

    def table(self, name: str, least: int) -> None:
        """All ways to count the table of this network namespace, against one another."""
        ways: dict[str, Callable[[], str]] = {"conntrack": conntrack}
        if PROC.exists():
            ways[str(PROC)] = PROC.read_text
        else:
            print(f"{name}: not by {PROC}, which this kernel does not have")
        hosts = [Host(), NoCtnetlink()][: len(ways)]
        # Nothing is told twice in the same second: what ended meanwhile would be no disagreement.
        for _attempt in range(5):
            before = {way: read(listing()) for way, listing in ways.items()}
            by_us = [found for found in map(counted, hosts) if found]
            after = {way: read(listing()) for way, listing in ways.items()}
            if (
                len(by_us) == len(hosts)
                and after == before
                and len({lines for _groups, lines, _stale in after.values()}) == 1
            ):
                break
        else:
            raise SystemExit(f"{name}: the table does not hold still")
        if by_us[0][1] < least:
            raise SystemExit(f"{name}: {by_us[0][1]} entries, expected {least}")
        for (groups, total, stale, source), expected_source in zip(by_us, ("ctnetlink", str(PROC))):
            if source != expected_source:
                raise SystemExit(f"{name}: read {source}, expected {expected_source}")
            for way, (expected, lines, expected_stale) in before.items():
                where = f"{name}: {source} by us, {way} by the oracle"
                self._compare(f"{where}: entries", {(): total}, {(): lines})
                self._compare(f"{where}: stale", stale, expected_stale)
                for grouping in GROUPINGS:
                    self._compare(f"{where}: {grouping}", groups[grouping], expected[grouping])
        met = {field: len(before["conntrack"][0][field]) for field in ("protocol", "state", "zone", "mark")}
        print(f"{name}: {total} entries by {len(hosts) * len(ways)} pairs of ways; of each {met}", flush=True)

    def _compare(self, what: str, ours: Mapping[Any, int], theirs: Mapping[Any, int]) -> None:
        self.groupings += 1
        self.groups += len(theirs)
        self.differences += [
            f"{what}: {key} is {ours.get(key, 0)} by us, {theirs.get(key, 0)} by the oracle"
            for key in sorted(set(ours) | set(theirs), key=str)
            if ours.get(key, 0) != theirs.get(key, 0)
        ]


def random_tables(compared: Compared, tables: list[str]) -> None:
    for table in tables:
        seed, size = map(int, table.split(":"))
        subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)
        # That an entry is permanent neither of the two prints.
        flows = (flow._replace(status=flow.status & ~entries.FIXED_TIMEOUT) for flow in entries.mixed(size, seed))
        refused = entries.make(flows)
        for (protocol, error), count in refused.items():
            print(f"protocol {protocol}: the kernel refuses {count} ({os.strerror(error)})")
        compared.table(f"seed {seed}", size - sum(refused.values()))


def real_traffic(compared: Compared) -> None:
    lacking = [program for program in ("ip", "nft") if not shutil.which(program)]
    if lacking:
        print(f"no real packets: {' and '.join(lacking)} is not installed")
        return
    subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)
    with traffic.joined(), contextlib.ExitStack() as kept:
        own.cache_clear()
        for flow in traffic.every_kind():
            kept.enter_context(flow)
        text = conntrack()
        expected = (
            "helper=ftp",
            "zone=5",
            "zone-orig=6",
            "packets=",
            "delta-time=",
            "mark=2748",
            "CLOSE ",
            "dport=400",
        )
        lacking = [word for word in expected if word not in text]
        if lacking:
            raise SystemExit(f"real packets: no entry with {', '.join(lacking)}")
        compared.table("real packets", 200)


def main(tables: list[str]) -> None:
    print(f"kernel {platform.release()}, Python {platform.python_version()}")
    compared = Compared()
    random_tables(compared, tables)
    real_traffic(compared)
    print(f"{compared.groupings} groupings, {compared.groups} groups compared: {len(compared.differences)} differ")
    print(*compared.differences[:50], sep="\n", end="")
    sys.exit(bool(compared.differences))


if __name__ == "__main__":
    main(sys.argv[1:] or TABLES)
