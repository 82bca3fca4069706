# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""apply.sh and the plan agree about every machine: ten thousand of them, under each shell that is here.

A shell reckons all machines of a policy in one go, with the script's own functions. MACHINES and MACHINES_SEED ask for more, and for
others.
"""

from __future__ import annotations

import os
import random
import subprocess
from typing import Any, NamedTuple

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files, kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, PolicyError, read
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script
from ansible_collections.headroom.netfilter.tests.integration.programs import program
from ansible_collections.headroom.netfilter.tests.unit.examples import GIB, MIB, NOT_LOADED, assignments, facts

pytestmark = pytest.mark.on_one_python

MACHINES = int(os.environ.get("MACHINES", "10000"))
SEED = int(os.environ.get("MACHINES_SEED", "14"))
A_POLICY = 200
# By package, and of APT where it is not here.
SHELLS = {"dash": ["dash"], "busybox-static": ["busybox", "ash"], "bash": ["bash", "--posix"]}
MAIN = 'main "$@"\n'
# Each line is a machine; its numbers, or that it is refused.
RECKON = """
mode=apply root= image=0
while read -r state flavour systemd page pointer major minor memory seen count max buckets expect_max kept_max kept_expect \\
    kept_hashsize; do
    [ "$systemd" != - ] || systemd=
    [ "$expect_max" != - ] || expect_max=
    sizes
    said=taken
    [ -z "$refusals" ] || said=refused
    echo "$said $limit $raised $hashsize ${expectations:--}"
done
"""
RELEASES = {
    "nf_conntrack": [
        "2.6.32-754.el6",
        "3.10.0-1160.el7",
        "3.18.1",
        "3.19.0",
        "4.4.0-87",
        "4.18.0",
        "5.14.0",
        "5.15.0",
        "6.1.0",
        "7.2",
    ],
    "ip_conntrack": ["2.6.18-164.el5xen"],
}
PAGES = [(4096, 8), (4096, 8), (16384, 8), (65536, 8), (4096, 4)]
SYSTEMD = "/usr/lib/systemd/systemd-sysctl"


class Machine(NamedTuple):
    line: str  # for the shell
    facts: dict[str, Any]  # for the plan


def a_machine(chance: random.Random) -> Machine:
    flavour = chance.choice(["nf_conntrack", "nf_conntrack", "nf_conntrack", "ip_conntrack"])
    release = chance.choice(RELEASES[flavour])
    state = chance.choice(
        ["loaded", "loaded", "builtin", "loadable"] if flavour == "nf_conntrack" else ["loaded", "loadable"]
    )
    page, pointer = chance.choice(PAGES)
    systemd = chance.choice([SYSTEMD, None])
    memory = int(2 ** chance.uniform(25, 43.6)) // 1024 * 1024
    if chance.random() < 0.3:
        memory = chance.choice(
            [32 * MIB, 64 * MIB, 128 * MIB, 512 * MIB, GIB, 4 * GIB, 16 * GIB, 1024 * GIB, 12288 * GIB]
        )
    seen = chance.choice([0, 0, 200, 256, 264, 320, 384, 448])
    live = state != "loadable"
    count = chance.choice([0, 0, int(2 ** chance.uniform(0, 22)), 2 ** chance.randrange(22)]) if live else 0
    buckets = chance.randrange(1, 4) * 2 ** chance.randrange(5, 20) if live else 0
    limit = chance.choice([int(2 ** chance.uniform(8, 23)), 8 * buckets, buckets]) if live else 0
    expect = None
    if live and flavour == "nf_conntrack":
        expect = chance.choice([kernel.expect_max(buckets), chance.randrange(1, 100000)])
    kept_hashsize = chance.choice([0, 0, buckets, 1000, 2 ** chance.randrange(8, 21)]) if state != "builtin" else 0
    if kept_hashsize and live and chance.random() < 0.5:
        limit = 8 * kernel.rounded_buckets(kept_hashsize, page, pointer)
    kept = {
        "max": chance.choice([0, 0, int(2 ** chance.uniform(8, 22))]),
        "expect_max": chance.choice([0, 0, chance.randrange(1, 100000)]) if flavour == "nf_conntrack" else 0,
    }
    names = kernel.FLAVOURS[flavour]
    lines = [
        {"key": names.prefix + name, "value": str(value), "line": number, "text": f"{names.prefix}{name} = {value}"}
        for number, (name, value) in enumerate(kept.items(), 1)
        if value
    ]
    options = f"hashsize={kept_hashsize}"
    changes = {
        "state": state,
        "flavour": flavour,
        "kernel.release": release,
        "kernel.page_size": page,
        "kernel.pointer_bytes": pointer,
        "memory.total_bytes": memory,
        "services.systemd_sysctl": systemd,
        "table.count": count,
        "table.max": limit,
        "table.buckets": buckets,
        "table.expect_max": expect,
        "table.entry_bytes": kernel.entry_bytes(seen or kernel.object_bytes(names, release, pointer)),
        "assignments": assignments(
            sysctl=[{"path": files.SYSCTL, "file": files.SYSCTL, "lines": lines}] if lines else [],
            modprobe=[
                {
                    "path": files.MODPROBE,
                    "line": 1,
                    "text": f"options {names.module} {options}",
                    "command": "options",
                    "name": names.module,
                    "rest": options,
                }
            ]
            if kept_hashsize
            else [],
        ),
    }
    if not live:
        changes.update(NOT_LOADED)
    found = foretold(facts(changes))
    major, minor = kernel.version(release)
    words = [state, flavour, systemd or "-", page, pointer, major, minor, memory, seen, count, limit, buckets]
    words += ["-" if expect is None else expect, kept["max"], kept["expect_max"], kept_hashsize]
    return Machine(" ".join(map(str, words)), found)


def a_policy(chance: random.Random) -> Policy:
    """One that is taken, each field unset as often as not."""
    while True:
        fields = {
            "max": int(2 ** chance.uniform(8, 31)),
            "expected_connections": int(2 ** chance.uniform(4, 22)),
            "headroom": chance.choice([1, 1.1, 1.25, 1.5, 3, 3.3, 7.7777, 100]),
            "memory_percent": chance.choice([0.01, 0.25, 0.3, 1, 1.7, 3.3, 5, 10, 33.3333, 50]),
            "max_floor": int(2 ** chance.uniform(0, 20)),
            "max_ceiling": int(2 ** chance.uniform(14, 31)),
            "entries_per_bucket": chance.randrange(1, 9),
            "hashsize": int(2 ** chance.uniform(6, 24)),
            "shrink": True,
        }
        seldom = {"max", "hashsize", "shrink"}
        chosen = {
            f"conntrack_{name}": value
            for name, value in fields.items()
            if chance.random() < (0.2 if name in seldom else 0.4)
        }
        try:
            return read(chosen)
        except PolicyError:
            continue


def policies() -> list[Policy]:
    chance = random.Random(SEED)
    return [Policy(), *(a_policy(chance) for _each in range(max(MACHINES // A_POLICY, 1) - 1))]


@pytest.fixture(scope="module")
def wanted() -> list[tuple[Policy, list[Machine], list[str]]]:
    """By policy, machines and what is planned for them."""
    chance = random.Random(SEED + 1)
    found = []
    for policy in policies():
        machines = [a_machine(chance) for _each in range(A_POLICY)]
        found.append((policy, machines, [planned(machine, policy) for machine in machines]))
    return found


def planned(machine: Machine, policy: Policy) -> str:
    made = plan.make(machine.facts, policy)
    if made.refusals:
        return "refused"
    return f"taken {made.max} {made.buckets} {made.hashsize} {'-' if made.expect_max is None else made.expect_max}"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_and_the_plan_agree(shell, wanted):
    name, *options = SHELLS[shell]
    words = [program(name, shell).path, *options]
    kinds = set()
    for policy, machines, plans in wanted:
        functions, main = script(policy).split(MAIN)
        assert main == ""
        done = subprocess.run(
            [*words, "-c", functions + RECKON],
            input="".join(machine.line + "\n" for machine in machines),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        reckoned = [line if line.startswith("taken") else "refused" for line in done.stdout.splitlines()]
        differing = [
            f"{machine.line}: {found}, {made} planned"
            for machine, found, made in zip(machines, reckoned, plans, strict=True)
            if found != made
        ]
        assert differing == [], policy
        kinds.update(line.split()[0] for line in reckoned)
    assert kinds == {"taken", "refused"}
