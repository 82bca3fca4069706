# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure what each cure leaves of the same traffic, and write docs/choosing.md.

usage: python -m tests.bench.cures [--rounds 5] [--seconds 35] [--rate 10000]

Needs root, ip, nft, and some 2 GiB of memory. Packets go between network namespaces of their own; the limit, which all namespaces
share, is put back.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench import entries, live, page
from tests.bench.crowd import REPO, collection

HERE, THERE = "10.79.0.1", "10.79.0.2"
HERES, THERES = "02:00:00:00:00:01", "02:00:00:00:00:02"
# Of the askers; each address has so many ports.
ASKERS, PORTS = "10.80.0.0/12", 50000
# Bytes behind the head of a question: a name of some twenty letters.
QUESTION = 29
DNS, WEB = 53, 80

# A firewall as most hosts have it: what makes the kernel track.
TRACK = """
table inet filter {
    chain input { type filter hook input priority 0; ct state established,related accept; ct state new accept; }
    chain output { type filter hook output priority 0; ct state new,established,related accept; }
}
"""
SYNPROXY = f"""
table inet proxied {{
    chain early {{ type filter hook prerouting priority raw; tcp dport {WEB} tcp flags & (fin | syn | rst | ack) == syn notrack; }}
    chain input {{
        type filter hook input priority -10;
        tcp dport {WEB} ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm;
        tcp dport {WEB} ct state invalid drop;
    }}
}}
"""
FLOWS = 50000  # that are there before packets are counted
PACKETS = 100000
OTHERS = 500000  # entries of others in a table that was grown
SYNS, CONNECTIONS = 20000, 500
GROWN, GROWN_BUCKETS = 2 * 1048576, 1048576
SHORT = 5  # seconds


class Case(NamedTuple):
    name: str
    is_tracked: bool = True
    is_exempt: bool = False
    is_grown: bool = False
    udp_timeout: int = 30


AS_IT_COMES, NO_HOOKS = Case("as it comes"), Case("unload: no hooks", is_tracked=False)
GROW, SHORTEN = Case("grow", is_grown=True), Case("shorten", udp_timeout=SHORT)
EXEMPT = Case("exempt", is_exempt=True)
CASES = (AS_IT_COMES, GROW, SHORTEN, EXEMPT, NO_HOOKS)
# Those that differ in what a packet takes; what is shortened takes what is tracked does.
PACED = (NO_HOOKS, EXEMPT, AS_IT_COMES, GROW)


def main(arguments: argparse.Namespace) -> int:
    if obstacle := live.missing() or missing():
        print(obstacle, file=sys.stderr)
        return 2
    # So that the kernel's values are put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    setting = page.machine()
    found: dict[str, Any] = {"lasting": {}, "pace": {case.name: [] for case in PACED}}
    with live.kept():
        for case in CASES:
            found["lasting"][case.name] = shown(case.name, in_private("lasting", case, arguments))
        for number in range(arguments.rounds):
            for case in PACED:
                found["pace"][case.name].append(
                    shown(f"round {number + 1}, {case.name}", in_private("pace", case, arguments))
                )
        found["syns"] = {
            kind: shown(kind, in_private(kind, AS_IT_COMES, arguments)) for kind in ("syns", "syns, synproxy")
        }
    wrong = untrue(found, arguments.rate)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    # The page says more than figures: what does not hold is not written.
    if not wrong and arguments.rounds >= 5 and arguments.seconds >= 35 and arguments.rate >= 10000:
        (REPO / "docs/choosing.md").write_text(render(found, setting, arguments), encoding="utf-8")
        print("written: docs/choosing.md")
    return 1 if wrong else 0


def missing() -> str:
    absent = [name for name in ("ip", "nft", "unshare") if not shutil.which(name)]
    return f"{' and '.join(absent)} is needed." if absent else ""


def shown(what: str, found: dict[str, Any]) -> dict[str, Any]:
    print(f"{what}: {found}", flush=True)
    return found


def untrue(found: Mapping[str, Any], rate: int) -> list[str]:
    """What the page says of these figures beyond the figures, and does not hold."""
    lasting, syns = found["lasting"], found["syns"]
    exempt, tracked = (
        {kind: median(one[kind] for one in found["pace"][case.name]) for kind in ("known", "new")}
        for case in (EXEMPT, AS_IT_COMES)
    )
    claims = {
        "questions come at the rate": all(row["rate"] > 0.97 * rate for row in lasting.values()),
        "what is exempt spares little of the time of a lookup": 0.9 < exempt["known"] / tracked["known"] < 1.25,
        "what is exempt spares that of a new entry": exempt["new"] > tracked["new"],
        "what is exempt takes no entries": lasting[EXEMPT.name]["entries"] == 0,
        "without hooks there are no entries": lasting[NO_HOOKS.name]["entries"] == 0,
        "a table that was grown holds all": lasting[GROW.name]["early_drop"] == 0,
        "shorter entries are fewer": lasting[SHORTEN.name]["entries"] < lasting[GROW.name]["entries"],
        "SYNPROXY keeps entries for connections": syns["syns, synproxy"]["connections"] >= CONNECTIONS,
        "SYNPROXY keeps off SYNs": syns["syns, synproxy"]["syns"] < syns["syns"]["syns"],
    }
    return [f"not so here: {claim}" for claim, holds in claims.items() if not holds]


def in_private(job: str, case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """What this program finds in a network namespace of its own."""
    grown = case.is_grown or job == "pace"
    live.to_defaults()
    if grown:
        live.HASHSIZE.write_text(str(GROWN_BUCKETS))
        (live.SYSCTLS / "nf_conntrack_max").write_text(str(GROWN))
    options = [f"--seconds={arguments.seconds}", f"--rate={arguments.rate}"]
    inside = json.dumps([job, *case])
    command = ["unshare", "--net", sys.executable, "-m", "tests.bench.cures", *options, f"--inside={inside}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPO, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# In a network namespace that has nothing yet.


class Asker:
    """Another network namespace at the end of a wire, from which packets come."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "--kill-child", sys.executable, "-m", "tests.bench.cures", "--ask"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO)
        self._said()
        ip("link set lo up")
        ip(f"link add here address {HERES} type veth peer name there address {THERES} netns {self._process.pid}")
        ip(f"address add {HERE}/24 dev here")
        ip("link set here up")
        ip(f"neigh add {THERE} lladdr {THERES} dev here")
        ip(f"route add {ASKERS} via {THERE}")
        self.do("wire")

    def do(self, *job: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or "null")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(job: str, case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    asker = Asker()
    try:
        if case.is_tracked:
            nft(TRACK)
        if case.is_exempt:
            nft(exemption())
        # Of a namespace whose first rule is younger than this, the kernel has not set its values.
        (live.SYSCTLS / "nf_conntrack_udp_timeout").write_text(str(case.udp_timeout))
        if job.startswith("syns"):
            return syns(asker, with_proxy=job != "syns")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
            # There is hardly any room: what is counted is how many come as far as that.
            service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            service.bind(("", DNS))
            return lasting(asker, service, arguments) if job == "lasting" else pace(asker, case)
    finally:
        asker.end()


def exemption() -> str:
    """As the role notrack has it."""
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack import flows, nftables

    wanted = flows.read({"flows": [{"name": "dns", "protocol": "udp", "ports": [DNS], "role": "server"}]})
    return nftables.table(wanted, {})


def lasting(asker: Asker, service: socket.socket, arguments: argparse.Namespace) -> dict[str, Any]:
    """Questions at one rate, each from a port of its own, for longer than an entry lasts."""
    settle()
    before = slab()
    count = arguments.rate * arguments.seconds
    took = asker.do("ask", 0, count, count, arguments.rate)["seconds"]
    counters = statistics()
    return {
        "asked": count,
        "limit": int((live.SYSCTLS / "nf_conntrack_max").read_text()),
        "rate": count / took,
        "entries": entries_now(),
        "bytes": max(0, slab() - before),
        "early_drop": counters.get("early_drop", 0),
        "drop": counters.get("drop", 0),
        "found": counters.get("found", 0),
        "lost": count - heard(service),
    }


def pace(asker: Asker, case: Case) -> dict[str, Any]:
    """As many packets a second as there can be: of flows that are there, and of new ones."""
    if case.is_grown and entries.make(others()):
        raise SystemExit("the kernel refuses entries")
    asker.do("ask", 0, FLOWS, FLOWS, 0)
    known = PACKETS / asker.do("ask", 0, PACKETS, FLOWS, 0)["processor"]
    new = PACKETS / asker.do("ask", FLOWS, PACKETS, PACKETS, 0)["processor"]
    return {"known": known, "new": new, "entries": entries_now()}


def others() -> Any:
    target = socket.inet_aton("10.255.0.2")
    for number in range(OTHERS):
        port, source = divmod(number, 500)
        yield entries.Flow(entries.UDP, bytes([10, 0, *divmod(source, 250)]), target, 1024 + port, 53)


def syns(asker: Asker, with_proxy: bool) -> dict[str, Any]:
    """Entries of segments that open a connection and are never followed by another, and of real connections."""
    if with_proxy:
        nft(SYNPROXY)
        Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("0")
    with socket.create_server(("", WEB), backlog=4096) as listening:
        asker.do("syn", SYNS)
        flood = entries_now()
        # What answers to spoofed segments is nobody's; these are of connections alone.
        asker.do("connect", CONNECTIONS)
        kept = [listening.accept()[0] for _number in range(CONNECTIONS)]
        found = entries_now() - flood
        for connection in kept:
            connection.close()
    return {"syns": flood, "connections": found}


def entries_now() -> int:
    return int((live.SYSCTLS / "nf_conntrack_count").read_text())


def settle() -> None:
    """The kernel lets go of the entries of a network namespace after its end."""
    for _second in range(60):
        if slab() < 2**20:
            return
        time.sleep(1)


def slab() -> int:
    """Bytes that the kernel has taken for entries, of all network namespaces."""
    for line in Path("/proc/slabinfo").read_text().splitlines():
        words = line.split()
        if words[0] == "nf_conntrack":
            return int(words[14]) * int(words[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def heard(service: socket.socket) -> int:
    """Datagrams that came to a socket, whether it had room or not. Those that it had room for count when they are read."""
    service.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            service.recv(1)
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    counted = dict(zip(*lines, strict=True))
    return int(counted["InDatagrams"]) + int(counted["RcvbufErrors"])


def statistics() -> dict[str, int]:
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import ctnetlink
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

    return dict(ctnetlink.statistics(Host()))


def ip(text: str) -> None:
    subprocess.run(["ip", *text.split()], check=True)


def nft(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


# At the other end.


def answer() -> None:
    print("null", flush=True)
    kept: list[socket.socket] = []
    for line in sys.stdin:
        what, *words = json.loads(line)
        said: Any = None
        if what == "wire":
            ip("link set lo up")
            ip(f"address add {THERE}/24 dev there")
            ip("link set there up")
            ip(f"neigh add {HERE} lladdr {HERES} dev there")
            # So that the host's answers to anybody have somebody to go to, who says nothing.
            ip(f"route add blackhole {ASKERS}")
        elif what == "ask":
            said = ask(*words)
        elif what == "syn":
            flood(*words)
        else:
            for _number in range(words[0]):
                kept.append(socket.create_connection((HERE, WEB), 10))
        print(json.dumps(said), flush=True)


def number_of(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")


# struct mmsghdr of sendmmsg(2), on 64 bits: who it is for, what it is, and how much of it was sent.
_MESSAGE = struct.Struct("@PI4xPNPNi4xI4x")
_PART = struct.Struct("@PN")
_MOST_AT_ONCE = 1024


class Packets:
    """Questions of so many flows, made beforehand, for a socket that takes many in one go."""

    def __init__(self, first: int, flows: int) -> None:
        length = 28 + QUESTION
        head, tail = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0), bytes(QUESTION)
        base, target = number_of(ASKERS.partition("/")[0]), number_of(HERE)
        fields = struct.Struct("!IIHHHH")
        packets = bytearray()
        for number in range(first, first + flows):
            asker, port = divmod(number, PORTS)
            packets += head + fields.pack(base + asker, target, 1024 + port, DNS, 8 + QUESTION, 0) + tail
        name = bytearray(struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(HERE)))
        at, whom = self._address(packets), self._address(name)
        parts = bytearray(b"".join(_PART.pack(at + length * number, length) for number in range(flows)))
        part = self._address(parts)
        made = [_MESSAGE.pack(whom, 16, part + _PART.size * number, 1, 0, 0, 0, 0) for number in range(flows)]
        self._messages = bytearray(b"".join(made))
        self._kept = packets, name, parts
        self.flows = flows
        self._start = self._address(self._messages)
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg

    @staticmethod
    def _address(memory: bytearray) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def send(self, raw: socket.socket, first: int, count: int) -> int:
        """From a flow on; how many were sent."""
        start = ctypes.c_void_p(self._start + _MESSAGE.size * first)
        sent = self._send(raw.fileno(), start, min(count, self.flows - first, _MOST_AT_ONCE), 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(sent)


def ask(first: int, count: int, flows: int, rate: int) -> dict[str, float]:
    """So many packets, in turn of so many flows from the first on, at a rate or as fast as can be; how long it took."""
    packets = Packets(first, flows)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        begun, sent, spent = time.perf_counter(), 0, processor_seconds()
        while sent < count:
            if rate:
                time.sleep(max(0.0, begun + sent / rate - time.perf_counter()))
            sent += packets.send(raw, sent % flows, min(count - sent, rate // 100 if rate else count))
        return {"seconds": time.perf_counter() - begun, "processor": processor_seconds() - spent}


def processor_seconds() -> float:
    """What this process has taken, at both ends of the wire, and what the kernel does of it behind."""
    nanoseconds = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().startswith("ksoftirqd/"):
                nanoseconds += int((folder / "schedstat").read_text().split()[0])
    return time.process_time() + nanoseconds / 1e9


def flood(count: int) -> None:
    """Segments that open a connection, from addresses at which nobody knows of them."""
    base, target = number_of(ASKERS.partition("/")[0]), number_of(HERE)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(count):
            asker, port = divmod(number, PORTS)
            ends = struct.pack("!II", base + asker, target)
            segment = struct.pack("!HHIIHHHH", 1024 + port, WEB, number, 0, 0x5002, 64240, 0, 0)
            summed = checksum(ends + struct.pack("!HH", 6, len(segment)) + segment)
            segment = segment[:16] + struct.pack("!H", summed) + segment[18:]
            head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends
            raw.sendto(head + segment, (HERE, 0))


def checksum(text: bytes) -> int:
    total = sum(struct.unpack(f"!{len(text) // 2}H", text))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Grow, shorten, exempt or unload

Written by `{command}`, and only by it: run that again rather than edit this page.

| what fills the table | cure | how | what it asks for |
|---|---|---|---|
| connections in use, as of a gateway, NAT, or a busy server | **grow** | `headroom.netfilter.tune`, \
`conntrack_expected_connections` | {entry} bytes an entry, 8 a bucket |
| entries of what is over: health checks in TIME_WAIT, idle connections from before a timeout was lowered | \
**shorten** | role `notrack` with `notrack_timeouts` for one flow; `tune` with `conntrack_expire_existing` for all | \
a time after which a late packet is a new one |
| questions that are answered by a packet or two: DNS, NTP, syslog | **exempt** | role `notrack` with \
`notrack_flows`: [notrack.md](notrack.md) | rules without state for that flow, no NAT in its way |
| nothing that has to be tracked: no rule needs it | **unload** | role `conntrack_unload`: [unload.md](unload.md) | nobody who needs it |

They go together: what stays tracked needs a table that is large enough, so `tune` comes first. For an incident there is
[relieve](incident.md). `audit` names the cure for each host with its command, as told below.

## What each leaves of the same traffic

{rate:,} questions a second for {seconds} seconds by UDP, each from a port of its own, to a host whose firewall goes by state.
Each leaves an entry for {long} seconds.

| | entries after it | memory of entries | given up early | questions lost |
|---|---:|---:|---:|---:|
{lasting}

Entries are flows a second times seconds. That is all that can be told of a table's size beforehand, and why {short} seconds in place of
{long} do what {times} times the table does. Entries whose time is over count until somebody comes by, the kernel's collector within a
minute. Where the table is full, entries that are not assured, as those of single questions, are given up early for new ones;
connections are assured, and where they fill it a new one is dropped. Memory is that of the slab `nf_conntrack`; {buckets:,} buckets
of what was grown take {bucket_mib} MiB besides.

## What a packet takes

Packets a second of one processor, which sends and receives them, in units of those of a host that tracks nothing: medians of {rounds}
rounds in which all of them alternate.

| | of flows that are there | | of new flows | |
|---|---:|---:|---:|---:|
{pace}

*Exempt* are packets that meet the rules of the role `notrack` and those of the firewall: that spares the entry, its memory and the
time that a new one takes, and little of the time of a packet whose entry is there. Lookups are not counted by this kernel: after
{asked:,} packets that were tracked its counter `found` said {found}.

## What does not help

- **A flowtable** spares packets that are forwarded the way through the rules. Each of its flows has its entry, whose end the kernel puts
  off meanwhile (`nf_ct_offload_timeout`, nf_conntrack_core.c). Not measured: that is what the source says.
- **SYNPROXY** keeps off the table what never becomes a connection: of {syns:,} segments that asked for one from invented addresses
  {flood:,} entries were left, and {proxied:,} with SYNPROXY, here at the server itself. Of {connections} connections {kept} entries were
  left with it, and {plain} without. It is for a flood, and helps against none of the rows above.
- **More buckets alone**, or a higher limit alone: one shortens chains, the other makes them longer. `tune` sets both.
- **A lower timeout alone**: entries that are there keep the time that they have. `conntrack_expire_existing`, or `relieve`.

## What audit goes by

| cure | is named where |
|---|---|
| unload | a module is loaded, and no rule, service or module was found that needs it (root; where nothing is translated for others) |
| exempt | flows of UDP with a tenth of all entries each have surely half of them together: to a service of this host that answers, or from it |
| shorten | the same of TCP in TIME_WAIT; or half of the entries have more time left than the timeouts planned would give them |
| exempt, of TCP | the same, and its timeout is 10 seconds or less already |
| grow | none of these, and the host is not as planned |
| none | nothing of all that |

Of those that fit, the first is named. Shares are those of 20000 entries, less their margin, and a table of fewer than 1000 entries
says nothing. What is translated is left out, as what passes through without a few destinations by which it could be told. An
address stands in a command only if it is one.

Anybody who reaches a host can make entries there. So a cure is proposed, with what it was seen by, and never done; the roles look
again, refuse what would be lost, and take it back unless it is confirmed.

## Where

| | |
|---|---|
{setting}
| command | `{command}` |
"""


def render(found: Mapping[str, Any], setting: Mapping[str, str], arguments: argparse.Namespace) -> str:
    lasting, flood = found["lasting"], found["syns"]
    tracked = lasting[GROW.name]
    return PAGE.format(
        command="python -m tests.bench.cures",
        entry=round(tracked["bytes"] / tracked["entries"]),
        rate=arguments.rate,
        seconds=arguments.seconds,
        lasting="\n".join(kept_row(case, lasting[case.name]) for case in CASES),
        buckets=GROWN_BUCKETS,
        bucket_mib=GROWN_BUCKETS * 8 >> 20,
        short=SHORT,
        long=AS_IT_COMES.udp_timeout,
        times=AS_IT_COMES.udp_timeout // SHORT,
        rounds=arguments.rounds,
        pace="\n".join(pace_row(case, found["pace"]) for case in PACED),
        asked=tracked["asked"],
        found=tracked["found"],
        syns=SYNS,
        flood=flood["syns"]["syns"],
        proxied=flood["syns, synproxy"]["syns"],
        connections=CONNECTIONS,
        kept=flood["syns, synproxy"]["connections"],
        plain=flood["syns"]["connections"],
        setting="\n".join(f"| {name} | {value} |" for name, value in setting.items()),
    )


def kept_row(case: Case, figures: Mapping[str, Any]) -> str:
    what = {
        AS_IT_COMES: f"as it comes: limit {figures['limit']:,}",
        GROW: f"grow: limit {figures['limit']:,}",
        SHORTEN: f"shorten: `udp` {SHORT} s",
    }.get(case, case.name)
    memory = f"{figures['bytes'] / 2**20:.1f} MiB"
    return f"| {what} | {figures['entries']:,} | {memory} | {figures['early_drop']:,} | {figures['lost']:,} |"


def pace_row(case: Case, pace: Mapping[str, list[Mapping[str, float]]]) -> str:
    what = {AS_IT_COMES: "tracked", GROW: f"tracked, among {OTHERS:,} entries of others"}.get(case, case.name)
    cells = []
    for kind in ("known", "new"):
        rounds = list(zip(pace[case.name], pace[NO_HOOKS.name], strict=True))
        cells.append(f"{median(one[kind] for one, _base in rounds):,.0f}")
        cells.append(f"{median(one[kind] / base[kind] for one, base in rounds):.2f}")
    return f"| {what} | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what each cure leaves of the same traffic.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=35, help="of traffic; longer than an entry lasts")
    parser.add_argument("--rate", type=int, default=10000, help="questions a second")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        answer()
        sys.exit()
    with collection():
        if given.inside is None:
            sys.exit(main(given))
        job, *fields = json.loads(given.inside)
        print(json.dumps(measure(job, Case(*fields), given)))
