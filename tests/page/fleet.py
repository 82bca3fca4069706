# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A fleet for reports: the facts of the golden hosts, each of which comes many times and never the same. For a seed it is always the same."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

GIB = 2**30
WHEN = "2026-06-15T12:00:00Z"
# What a fleet has most of.
KINDS = {
    "debian12": 30,
    "debian13": 20,
    "debian11": 15,
    "centos7_firewalld": 10,
    "aarch64_64k": 5,
    "builtin_618": 8,
    "centos6": 2,
}
KINDS |= {"ubuntu1604": 3, "container_readonly": 4, "debian11_loadable": 2, "no_conntrack": 1}
MEMORY = (2, 4, 8, 16, 32, 64)
ROLES = ("web", "db", "gw", "k8s", "cache", "ci")
# Shares of the limit in use, from which each host's is drawn.
USES = (0.002, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.97)
SITES = ("/etc/sysctl.d/10-site.conf", "/etc/sysctl.conf", "/etc/sysctl.d/90-tuning.conf")


def answers(count: int, seed: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names, and what reading each host's facts has answered."""
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
    from ansible_collections.headroom.netfilter.tests.unit import golden

    dice = random.Random(seed)
    known = {name: golden.load(name, "facts")["root"] for name in KINDS}
    read: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number in range(count):
        name = f"{dice.choice(ROLES)}{number:05}.example.net"
        if dice.random() < 0.02:
            yield name, {"unreachable": True, "msg": "Failed to connect to the host via ssh: Connection timed out"}
            continue
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        key = (kind, dice.choice(MEMORY), dice.choice((None, *SITES)), dice.choice((65536, 131072, 262144)))
        if key not in read:
            read[key] = FACTS(_kept(known[kind], *key[1:]))
        yield name, {"ansible_facts": {"conntrack": _varied(read[key], dice)}}


def _kept(facts: dict[str, Any], memory: int, site: str | None, limit: int) -> dict[str, Any]:
    """What a host is: its memory, and a limit that somebody has set by hand, and perhaps persisted."""
    facts = copy.deepcopy(facts)
    facts["memory"]["total_bytes"] = memory * GIB
    table = facts.get("table") or {}
    if table.get("max") is not None and facts["state"] != "absent":
        table["max"] = limit
        table["full_bytes"] = limit * table["entry_bytes"] + (table["buckets"] or 0) * facts["kernel"]["pointer_bytes"]
        if site:
            key = "net.netfilter.nf_conntrack_max"
            line = {"line": 7, "key": key, "value": str(limit // 2), "text": f"{key} = {limit // 2}"}
            facts["assignments"]["sysctl"].append({"path": site, "file": site, "lines": [line]})
    return facts


def _varied(facts: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """What moves: flows in use, and what was dropped."""
    table, counters = dict(facts.get("table") or {}), dict(facts.get("counters") or {})
    if table.get("max"):
        count = int(table["max"] * dice.choice(USES) * dice.uniform(0.8, 1.03))
        table.update(count=count, usage=round(count / table["max"], 6))
        if table["buckets"]:
            table["chain"] = round(2 * count / table["buckets"], 4)
        if "drop" in counters and dice.random() < 0.05:
            counters.update(drop=dice.randrange(1, 200000), early_drop=dice.randrange(1, 5000))
    moved = {"table": table, "counters": counters}
    unreadable = ["/proc/1/environ"] if dice.random() < 0.03 else []
    return {**facts, **{name: part for name, part in moved.items() if name in facts}, "unreadable": unreadable}


def report(count: int, seed: int = 1) -> dict[str, Any]:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model

    reader = model.Reader()
    return model.made((reader.host(name, answer, {}) for name, answer in answers(count, seed)), WHEN)
