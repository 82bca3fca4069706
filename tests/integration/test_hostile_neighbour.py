# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Somebody else with CAP_NET_ADMIN in the network namespace sends what looks like the kernel's answers, as much as can be sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import entries
import neighbour
import pytest
from conftest import EXPIRE_OPTIONS, PATIENCE, Machine, Private, until

# No ansible-core takes part in it.
pytestmark = pytest.mark.on_one_core

COUNT = 20000
# Seconds of a processor, and MiB. Without a neighbour it takes 0.1, and 20.
LONGEST, MEMORY = 30.0, 64
# Times that the neighbours get to be met: where there is no processor for them, they have nothing sent in one.
CHANCES = 200
NOBODY = (
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    # The second lets it read Python and itself, wherever these are.
    "--inh-caps=+net_admin,+dac_read_search",
    "--ambient-caps=+net_admin,+dac_read_search",
)
# Both modules' work without Ansible, and what it takes.
RUN = """
import json, os, re, sys, threading, time
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import examine, expire, wanted
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

what, options, namespace = json.loads(sys.argv[1])
begun, here = time.process_time(), os.readlink("/proc/self/ns/net")
if what == "census":
    found = examine.examine(Host(), examine.read_options(options), namespace)
else:
    found = expire.expire(Host(), wanted.read_options(options), namespace, False)
assert (os.readlink("/proc/self/ns/net"), threading.active_count()) == (here, 1)
kib = int(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read()).group(1))
print(json.dumps([time.process_time() - begun, kib / 1024, found]))
"""
CENSUS: dict[str, Any] = {
    "sample": 0,
    "group_by": ["source"],
    "prefix_lengths": {},
    "anonymise": False,
    "top": 10,
    "timeout_profile": "server",
    "timeouts": {},
}


@contextmanager
def flooded(private: Private, *kinds: str) -> Iterator[None]:
    """Two of them, who get what processors there are."""
    crowd = [private.start(*NOBODY, sys.executable, neighbour.__file__, *kinds) for _number in range(2)]
    try:
        for each in crowd:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        yield
        said = [each.communicate("\n", timeout=PATIENCE) for each in crowd]
        assert all(int(output) > 0 for output, _errors in said), said
    finally:
        for each in crowd:
            each.kill()
            each.wait()


def work(private: Private, what: str, namespace: str | None = None, **options: Any) -> dict[str, Any]:
    """What comes of a module's work there, which must not take long, or much."""
    job = (what, {**(CENSUS if what == "census" else EXPIRE_OPTIONS), **options}, namespace)
    command = [private.python, "-c", RUN, json.dumps(job)]
    if namespace is None:
        process = private.start(*command)
    else:
        environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    seconds, memory, found = json.loads(output)
    assert seconds < LONGEST
    assert memory < MEMORY
    return dict(found)


@pytest.fixture
def filled(private: Private) -> Private:
    private.run(sys.executable, entries.__file__, str(COUNT))
    return private


EVERYTHING = tuple(neighbour.KINDS)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in neighbour.KINDS), EVERYTHING], ids="+".join)
def test_a_census_counts_what_is_there(filled: Private, kinds: tuple[str, ...]) -> None:
    met: list[int] = []
    with flooded(filled, *kinds):
        while len(met) < 4 or (not any(met) and len(met) < CHANCES):
            found = work(filled, "census")
            assert (found["total"], found["examined"], found["exact"]) == (COUNT, COUNT, True)
            assert found["groupings"][0]["top"] == [
                {"source": "10.255.0.1", "entries": COUNT, "share": 1.0, "margin": None}
            ]
            assert found["unread"] == {"entries": 0, "attributes": 0}
            met.append(found["forged"])
    assert any(met)
    assert work(filled, "census")["forged"] == 0


def test_a_sample_is_one_of_what_is_there(filled: Private) -> None:
    with flooded(filled, *EVERYTHING):
        found = work(filled, "census", sample=500)
    assert (found["total"], found["examined"], found["exact"]) == (COUNT, 500, False)
    assert [group["source"] for group in found["groupings"][0]["top"]] == ["10.255.0.1"]


@pytest.mark.parametrize("kinds", [("refusals",), ("entries",), EVERYTHING], ids="+".join)
def test_what_should_be_shortened_is(filled: Private, kinds: tuple[str, ...]) -> None:
    runs: list[dict[str, Any]] = []
    with flooded(filled, *kinds):
        while len(runs) < 3 or (not any(found["forged"] for found in runs) and len(runs) < CHANCES):
            # Less each time, and by more than passes meanwhile: entries of entries.py have a day.
            seconds = 50000 - 200 * len(runs)
            runs.append(work(filled, "expire", timeouts={"udp": seconds}))
    for found in runs:
        assert (found["examined"], found["complete"]) == (COUNT, True)
        assert (found["shortened"], found["gone"], found["busy"]) == (COUNT, 0, 0)
    assert any(found["forged"] for found in runs)
    left = [int(line.split()[4]) for line in filled.conntrack("-p", "udp")]
    assert len(left) == COUNT
    assert max(left) <= seconds


def test_entered_from_elsewhere_it_is_the_same(machine: Machine, held: Callable[[int], int]) -> None:
    process = held(COUNT)
    there = Private(process, machine.python)
    quiet = work(there, "census", str(process))
    with flooded(there, *EVERYTHING):
        found = work(there, "census", str(process))
        shortened = work(there, "expire", str(process), timeouts={"udp": 30000})
    assert (quiet["total"], quiet["exact"], quiet["forged"]) == (COUNT, True, 0)
    assert {**found, "forged": 0} == quiet
    assert (shortened["shortened"], shortened["complete"]) == (COUNT, True)


def test_a_module_that_is_killed_leaves_nobody_in_the_namespace(machine: Machine, held: Callable[[int], int]) -> None:
    process = held(COUNT)
    before = inside(process)
    # At this rate it would take an hour.
    job = ("expire", {**EXPIRE_OPTIONS, "timeouts": {"udp": 60}, "rate": 5}, str(process))
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    slow = subprocess.Popen([machine.python, "-c", RUN, json.dumps(job)], env=environment)
    try:
        (child,) = until(lambda: inside(process) - before)
    finally:
        slow.kill()
        slow.wait()
    assert until(lambda: child not in inside(process))


def inside(process: int) -> set[int]:
    """The processes in its network namespace, by their number."""
    found = set()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{number}/ns/net") == os.readlink(f"/proc/{process}/ns/net"):
                found.add(int(number))
        except OSError:
            continue
    return found
