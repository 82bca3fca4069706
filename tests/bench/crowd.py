# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Measure the facts on a crowded host: 10,000 processes in 500 network namespaces, a hundred of them with entries. With
these numbers it writes docs/crowded-hosts.md.

usage: python -m tests.bench.crowd [--processes 10000] [--namespaces 500] [--busy 100] [--rounds 5]

Needs root, some 2 GiB of memory and two minutes. Everybody lives in a PID namespace, and ends with its first process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import page

PROCESSES, NAMESPACES, BUSY = 10000, 500, 100
REPO = Path(__file__).resolve().parent.parent.parent
# A process that only sleeps; so small an interpreter that ten thousand fit.
PYTHON = (sys.executable, "-ISB", "-c")
CROWD = """
import ctypes, os, sys, time
processes, namespaces, busy = map(int, sys.argv[1:4])
sys.path.insert(0, sys.argv[4])
import entries
for number in range(namespaces):
    if os.fork() == 0:
        if ctypes.CDLL(None).unshare(0x40000000):
            raise SystemExit("no network namespace for number {0}".format(number))
        if number < busy:
            entries.add(10 + number)
        for more in range(processes // namespaces - 1):
            if os.fork() == 0:
                break
        os.write(1, b".")
        time.sleep(86400)
time.sleep(86400)
"""
DOOR = ("list", "link", "read", "tail", "namespace", "inside", "kernel_log")


PAGE = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Crowded hosts

Written by `python -m tests.bench.crowd`, and only by it: run that again rather than edit this page.

What the facts cost on a host with {processes:,} processes in {namespaces} network namespaces, {busy} of them with entries of their own.
Seconds, medians of {rounds} rounds; *processor* counts the child that looks inside namespaces, too.

| what | wall | processor |
|---|---:|---:|
{parts}

At most {memory} MiB of memory. {told} of {total} namespaces are told.

What bounds it, however crowded the host:

- {most_processes:,} processes are looked at, those with the lowest numbers. Where there are more, `unreadable` has `/proc/*/ns/net`.
- {most_told} namespaces besides the own one are told, those that have dropped most, then the fullest. `netns_total` counts all.
- A namespace is entered only where no process shows its counters, and the looks inside take {longest:.0f} seconds together at most.
- Of each log the last MiB is read; the journal is asked for whole messages, of which it has an index, and only when packets
  were dropped that no other log explains.

## Where

| | |
|---|---|
{setting}
"""


def main(arguments: argparse.Namespace) -> None:
    setting = page.machine()
    with collection(), crowd(arguments.processes, arguments.namespaces, arguments.busy) as seconds:
        print(f"{arguments.processes} processes in {arguments.namespaces} network namespaces made in {seconds:.0f} s")
        figures = measure(arguments.rounds)
    if (arguments.processes, arguments.namespaces, arguments.busy) == (PROCESSES, NAMESPACES, BUSY):
        text = PAGE.format(
            **{**vars(arguments), **figures},
            setting="\n".join(f"| {name} | {value} |" for name, value in setting.items()),
        )
        (REPO / "docs/crowded-hosts.md").write_text(text, encoding="utf-8")
        print("written: docs/crowded-hosts.md")


@contextlib.contextmanager
def collection() -> Iterator[None]:
    """This checkout, where Python finds a collection."""
    with tempfile.TemporaryDirectory() as above:
        place = Path(above, "ansible_collections/headroom")
        place.mkdir(parents=True)
        (place / "netfilter").symlink_to(REPO)
        sys.path.insert(0, above)
        yield


@contextlib.contextmanager
def crowd(processes: int, namespaces: int, busy: int) -> Iterator[float]:
    """That many processes; how many seconds it took to make them."""
    begun = time.monotonic()
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--kill-child", *PYTHON, CROWD]
    numbers = [str(number) for number in (processes, namespaces, busy)]
    everybody = subprocess.Popen([*command, *numbers, str(REPO / "tests/bench")], stdout=subprocess.PIPE)
    assert everybody.stdout is not None
    try:
        expected = processes // namespaces * namespaces
        while expected > 0:
            ready = os.read(everybody.stdout.fileno(), 65536)
            if not ready:
                raise SystemExit("the crowd has ended")
            expected -= len(ready)
        yield time.monotonic() - begun
    finally:
        everybody.kill()
        everybody.wait()


def measure(rounds: int) -> dict[str, Any]:
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts import gather as facts
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts import log
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host import door
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import namespaces

    class Timed(Host):
        """How long each kind of look took, and how many there were."""

        def __init__(self) -> None:
            super().__init__()
            self.took = {name: [0.0, 0] for name in DOOR}
            for name in DOOR:
                setattr(self, name, self.timed(name, getattr(self, name)))

        def timed(self, name: str, look: Callable[..., Any]) -> Callable[..., Any]:
            def looked(*arguments: Any) -> Any:
                begun = time.perf_counter()
                try:
                    return look(*arguments)
                finally:
                    self.took[name][0] += time.perf_counter() - begun
                    self.took[name][1] += 1

            return looked

    names = kernel.FLAVOURS["nf_conntrack"]
    ends = {os.readlink(path): str(path) for path in Path("/proc").glob("[0-9]*/ns/net") if os.access(path, os.R_OK)}
    doors = sorted(ends.values())
    parts: dict[str, Callable[[Host], Any]] = {
        "namespaces": lambda host: namespaces.namespaces(host, names, 262144),
        "every namespace entered, to count": lambda host: host.inside(
            doors, lambda: host.read("/proc/net/stat/nf_conntrack")
        ),
        "log": lambda host: log.log(host, dropped=True),
        "facts, all of them": lambda host: facts.gather(host, ["all"]),
    }
    found = namespaces.namespaces(Host(), names, 262144)
    print(f"{found.netns_total} network namespaces, {len(found.namespaces)} told")
    print(f"first: {found.namespaces[0]}")
    rows = []
    for name, part in parts.items():
        wall, cpu = zip(*(clocked(part, Host()) for _round in range(rounds)))
        rows.append(f"| {name} | {median(wall):.3f} | {median(cpu):.3f} |")
        print(f"{name}: median of {rounds} rounds {median(wall):.3f} s, of the processor {median(cpu):.3f} s")
    host = Timed()
    parts["namespaces"](host)
    for name, (seconds, times) in sorted(host.took.items(), key=lambda item: -item[1][0]):
        if times:
            print(f"    {name}: {times} times, {seconds:.3f} s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"memory: {memory} MiB at most")
    return {
        "parts": "\n".join(rows),
        "memory": memory,
        "total": found.netns_total,
        "told": len(found.namespaces),
        "most_processes": namespaces.MOST_PROCESSES,
        "most_told": namespaces.MOST_TOLD,
        "longest": door.LONGEST_LOOK,
    }


def clocked(part: Callable[[Any], Any], host: Any) -> tuple[float, float]:
    """Seconds on the wall, and of the processor with those of the child that looks inside."""
    begun, worked = time.perf_counter(), os.times()[:4]
    part(host)
    return time.perf_counter() - begun, sum(os.times()[:4]) - sum(worked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the facts on a crowded host.")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--namespaces", type=int, default=NAMESPACES)
    parser.add_argument("--busy", type=int, default=BUSY, help="namespaces with entries")
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
