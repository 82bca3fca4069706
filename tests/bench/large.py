# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure the census and the shortening of a table with a million entries, and write docs/large-tables.md.

usage: python -m tests.bench.large [--entries 1000000] [--rounds 5]

Needs root, the program conntrack, and some 2 GiB of memory. The entries live in network namespaces of their own, and end with
them; the limit, which all namespaces share, is put back.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from tests.bench import entries, live, page
from tests.bench.crowd import REPO, collection

SEEDS = (1, 2)  # of the mixed tables; the first is gone through, all are sampled
ALIKE, SOURCES = 0, 500  # another table: so many sources that have the same share
SAMPLE, TOP = 20000, 10
BOTH = ("state", "destination_port")
# The modules run on the system's Python, as they do on a fleet.
PYTHON = shutil.which("python3", path="/usr/bin") or sys.executable

# What a module does, apart from what every module does; it tells seconds and MiB of a process that does nothing else.
ALONE = """
import json, re, sys, time
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import examine, expire, wanted
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
options, begun = json.loads(sys.argv[2]), time.perf_counter()
if sys.argv[1] == "census":
    found = examine.examine(Host(), examine.read_options(options), None)
else:
    found = expire.expire(Host(), wanted.read_options(options), None, False)
took = time.perf_counter() - begun
kib = int(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read()).group(1))
print(json.dumps([took, kib / 1024, found]))
"""
CENSUS = {"prefix_lengths": {}, "anonymise": False, "top": TOP, "timeout_profile": "server", "timeouts": {}}
EXPIRE = {"timeout_profile": None, "match": None, "limit": 0, "rate": 0, "most": 0, "under_policies": False}

# Beside conntrack -L of the same table in the same round: 200,000 entries a second (4.90 s for 980,000) on a machine on which
# conntrack -L took 3.06 s. Both are work of one processor on the same entries, and slow down alike: 1.37 there, and 1.40 where
# conntrack -L took 4.25 s and 165,000 a second were all.
EXPIRE_RATIO = 1.6
# By name: what is held, how, and the bound.
LIMITS = (
    ("exact", "ratio", 0.6),
    ("exact", "memory", 64),
    ("sources", "memory", 64),
    ("sample", "ratio", 0.03),
    ("trials", "inside", 0.93),
    ("expire", "ratio", EXPIRE_RATIO),
)


def main(arguments: argparse.Namespace) -> int:
    if obstacle := live.missing() or ("" if shutil.which("conntrack") else "install conntrack, to compare with."):
        print(obstacle, file=sys.stderr)
        return 2
    setting = page.machine()
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    setting |= {"modules on": version, "compared with": conntrack_version()}
    with live.kept():
        # As the role would have it for so many.
        live.HASHSIZE.write_text(str(1 << 20))
        (live.SYSCTLS / "nf_conntrack_max").write_text(str(2 * max(arguments.entries, 1 << 20)))
        tables = [inside(arguments, seed) for seed in (*SEEDS, ALIKE)]
    found = summary(tables)
    for name, figure, bound in LIMITS:
        print(f"{name}: {figure} {found[name][figure]:.4g}, bound {bound}")
    if arguments.rounds >= 5 and arguments.entries >= 1000000:
        (REPO / "docs/large-tables.md").write_text(render(found, setting, arguments), encoding="utf-8")
        print("written: docs/large-tables.md")
    return 1 if any(beyond(found, *limit) for limit in LIMITS) else 0


def conntrack_version() -> str:
    return subprocess.run(["conntrack", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def beyond(found: Mapping[str, Any], name: str, figure: str, bound: float) -> bool:
    value = found[name][figure]
    return bool(value < bound if figure == "inside" else value > bound)


def inside(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What this program finds in a network namespace of its own."""
    options = [f"--entries={arguments.entries}", f"--rounds={arguments.rounds}", f"--inside={seed}"]
    command = ["unshare", "--net", sys.executable, "-m", "tests.bench.large", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPO) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(last, end="", flush=True)
            last = line
    if process.returncode:
        raise SystemExit(process.returncode)
    return dict(json.loads(last))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """In a network namespace that has nothing yet."""
    begun = time.monotonic()
    seed = arguments.inside
    refused = entries.make(entries.mixed(arguments.entries, seed) if seed else alike(arguments.entries))
    if refused:
        raise SystemExit(f"the kernel refuses entries: {refused}")
    print(f"table {seed}: {arguments.entries} entries made in {time.monotonic() - begun:.0f} s", flush=True)
    found: dict[str, Any] = {"trials": trials((*BOTH, "source") if seed else ("source",))}
    if seed == SEEDS[0]:
        found["rounds"] = [round_(number) for number in range(arguments.rounds)]
        found["sources"] = alone("census", {**CENSUS, "sample": 0, "group_by": ["source", "source+destination_port"]})
        found["peer"] = peer()
    return found


def round_(number: int) -> dict[str, Any]:
    """All of them once; what is shortened gets less each time, so that everything is stale again. Open connections get more
    than those that close, so that there is a second look."""
    seconds = 8500 - 500 * number
    wanted = {**EXPIRE, "timeouts": {**dict.fromkeys(timeouts(), seconds - 10), "tcp_established": seconds}}
    found = {
        "conntrack": clocked("conntrack", "-L"),
        "exact": alone("census", {**CENSUS, "sample": 0, "group_by": list(BOTH)}),
        "sample": alone("census", {**CENSUS, "sample": SAMPLE, "group_by": list(BOTH)}),
        "expire": alone("expire", wanted),
    }
    said = ", ".join(
        f"{name} {seconds if name == 'conntrack' else seconds[0]:.3f} s" for name, seconds in found.items()
    )
    print(f"round {number + 1}: {said}", flush=True)
    return found


def timeouts() -> list[str]:
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel

    return list(kernel.TIMEOUTS)


def alone(what: str, options: Mapping[str, Any]) -> list[Any]:
    """Seconds, MiB and result of what a module does, in a process of its own."""
    command = [PYTHON, "-c", ALONE, what, json.dumps(options)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": sys.path[0]}, stdout=subprocess.PIPE, check=True)
    return list(json.loads(done.stdout))


def clocked(*command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def peer() -> dict[str, float]:
    """The nearest that the program conntrack has: it refuses to update all entries, and takes those of a network."""
    begun = time.perf_counter()
    command = ["conntrack", "-U", "-s", "10.0.0.0/8", "--timeout", "50"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    took = time.perf_counter() - begun
    listing = subprocess.run(["conntrack", "-L"], capture_output=True, text=True, check=True).stdout
    updated = sum(
        1 for line in listing.splitlines() if any(word.isdigit() and int(word) <= 50 for word in line.split()[2:3])
    )
    return {"seconds": took, "updated": updated, "said": done.stderr.strip().splitlines()[-1]}


def alike(count: int) -> Iterator[entries.Flow]:
    """Flows of sources that have as many each."""
    target = socket.inet_aton("10.255.0.2")
    for number in range(count):
        port, source = divmod(number, SOURCES)
        yield entries.Flow(entries.UDP, bytes([10, 0, *divmod(source, 250)]), target, 1024 + port, 53)


def trials(fields: tuple[str, ...]) -> dict[str, list[int]]:
    """The table in the order of a dump, so many entries each time: how often the true shares of all of the groups that would be
    told were within their margins, and of how many times."""
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import census, netlink
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

    messages = list(dumped(Host(), netlink))

    def counted(some: list[bytes], top: int) -> dict[str, dict[Any, Any]]:
        dump = netlink.Dump(netlink.HEADER.unpack_from(some[0])[3])
        taken = census.Census([(field,) for field in fields], census.Terms({}), {})
        for layout, block in dump.blocks([b"".join(some)]):
            taken.add(layout, block)
        told = taken.counted(dump.examined, len(messages), top)
        return {counts.grouping[0]: {group.values: group for group in counts.groups} for counts in told}

    true = counted(messages, len(messages))
    found = {field: [0, 0] for field in fields}
    for start in range(0, len(messages) - SAMPLE + 1, SAMPLE):
        for field, groups in counted(messages[start : start + SAMPLE], TOP).items():
            found[field][0] += all(
                abs(group.share - true[field][values].share) <= group.margin for values, group in groups.items()
            )
            found[field][1] += 1
    return found


def dumped(host: Any, netlink: Any) -> Iterator[bytes]:
    conversation = host.netfilter()
    conversation.send(netlink.dump_request(conversation.sequence))
    for answer in conversation.answers():
        start = 0
        while start < len(answer):
            length, kind = netlink.HEADER.unpack_from(answer, start)[:2]
            if kind == entries.CT_NEW:
                yield answer[start : start + length]
            start += length


def summary(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures, by name."""
    first, rounds = tables[0], tables[0]["rounds"]
    groups: dict[str, list[int]] = {}
    for number, table in enumerate(tables):
        for field, (inside, times) in table["trials"].items():
            known = groups.setdefault(f"{SOURCES} equal sources" if number == len(SEEDS) else field, [0, 0])
            known[0] += inside
            known[1] += times
    found: dict[str, Any] = {
        name: {
            "seconds": median(each[name][0] for each in rounds),
            "ratio": median(each[name][0] / each["conntrack"] for each in rounds),
            "memory": max(each[name][1] for each in rounds),
        }
        for name in ("exact", "sample", "expire")
    }
    shortened = [(each["expire"][2]["shortened"], each["expire"][0]) for each in rounds]
    found["expire"].update(shortened=shortened[0][0], rate=median(count / seconds for count, seconds in shortened))
    found["conntrack"] = {"seconds": median(each["conntrack"] for each in rounds)}
    found["sources"] = {"seconds": first["sources"][0], "memory": first["sources"][1]}
    found["sources"]["missed"] = max(grouping["missed"] for grouping in first["sources"][2]["groupings"])
    found["peer"] = first["peer"]
    found["trials"] = {
        "groups": groups,
        "inside": min(inside / times for inside, times in groups.values()),
    }
    return found


PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Large tables

Written by `{command}`, and only by it: run that again rather than edit this page.

A table of {entries} entries, mixed as those of a busy gateway (TCP in all states, UDP, ICMP, SCTP, GRE and others, IPv4 and
IPv6, zones and marks), in a network namespace of its own. Medians of {rounds} rounds, in which all of them alternate.

| | seconds | beside `conntrack -L >/dev/null` | bound | memory |
|---|---:|---:|---:|---:|
| `conntrack -L >/dev/null` | {conntrack:.2f} | 1 | | |
| exact census, by state and by destination port | {exact[seconds]:.2f} | {exact[ratio]:.2f} | 0.6 | {exact[memory]:.0f} MiB |
| sample of {sample_size}, the same | {sample[seconds]:.3f} | {sample[ratio]:.3f} | 0.03 | {sample[memory]:.0f} MiB |
| exact census, by source and by source and port | {sources[seconds]:.2f} | | | {sources[memory]:.0f} MiB (bound 64) |
| {shortened} entries shortened | {expire[seconds]:.2f} | {expire[ratio]:.2f} | {expire_bound} | {expire[memory]:.0f} MiB |

Seconds are those of the module's own work, without the start of Python that every module has.

**Shortening:** {rate:.0f} entries a second, with the second look that finds flows which changed their state meanwhile. How many
that are is the machine's affair, so the bound is on the time beside that of `conntrack -L`, which goes through the same table in the
same round, and on a run with `most: 0`: a bound costs one more look, which only counts.
{expire_bound} is 200,000 a second on a machine on which `conntrack -L` takes 3.06 s. `conntrack -U` refuses to update
all entries at once. For those of a network, `conntrack -U -s 10.0.0.0/8 --timeout 50`, it updated {peer[updated]} in
{peer[seconds]:.3f} s and ended with "{peer[said]}": {times:.0f} times fewer a second.

## Whether the first entries of a dump are a random sample

The kernel tells entries bucket by bucket. Which bucket an entry is in is decided by a hash of its addresses, ports, protocol and
zone with a key that the kernel makes at random when it starts, and by nothing else: not by its age, state or use. To see whether
shares of a sample keep their margins, each of two such tables was cut, in the order of its dump, into samples of {sample_size}, and so
was one of {sources_alike} sources that have as many entries each. Of each sample the {top} largest groups were told, as the module does,
and their shares compared with the true ones. As often as this all of them were within their margins at once, which is to be so in
95 of 100 cases (bound 93):

{shares}

The rows told are chosen by what the sample has of them, so the first has rather more there than is its due. A margin of one group
by itself does not say that: of {sources_alike} equal sources the first one was within it in 2.5 of 100 samples. So the margins are those of all
groups that could have been chosen: a share is taken to be possible unless it gives so few, or so many, in less than 2.5 of 100 cases
times the share itself. Shares add up to 1, so however many groups there are, met or not, any of them is beyond in 5 of 100 cases at
most. For a group of half of all that is 2.24 standard deviations in place of 1.96, for one of {sources_alike} equal ones 3.9.

What can break it:

- The table is resized while it is read: entries move. The module sees it, reads anew, and says `exact: false` if it goes on.
- Somebody who knows the key could choose ports so that all of their entries are in the first buckets. Nobody outside the
  kernel knows it.
- A table with few buckets and very long chains: entries of a bucket are told together, newest first. They still have nothing in
  common but their bucket.
- What is rare: a group with a share below one in {sample_size} may not be met at all. `sample: 0` counts everything.

## Where

| | |
|---|---|
{setting}
| command | `{command}` |
"""


def render(found: Mapping[str, Any], setting: Mapping[str, str], arguments: argparse.Namespace) -> str:
    groups = found["trials"]["groups"]
    rows = ["| rows by | all within their margins |", "|---|---:|"]
    rows += [f"| {group} | {inside} of {times} |" for group, (inside, times) in groups.items()]
    peer = found["peer"]
    return PAGE.format(
        command="python -m tests.bench.large",
        entries=f"{arguments.entries:,}",
        rounds=arguments.rounds,
        conntrack=found["conntrack"]["seconds"],
        sample_size=SAMPLE,
        shortened=f"{found['expire']['shortened']:,}",
        expire_bound=EXPIRE_RATIO,
        rate=found["expire"]["rate"],
        times=found["expire"]["rate"] / max(peer["updated"] / peer["seconds"], 1),
        sources_alike=SOURCES,
        top=TOP,
        shares="\n".join(rows),
        setting="\n".join(f"| {name} | {value} |" for name, value in setting.items()),
        **{name: found[name] for name in ("exact", "sample", "sources", "expire", "peer")},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the census and the shortening of a large table.")
    parser.add_argument("--entries", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with collection():
        if given.inside is None:
            sys.exit(main(given))
        print(json.dumps(measure(given)))
