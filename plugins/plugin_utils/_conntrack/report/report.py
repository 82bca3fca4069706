# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report: what was read of each host of a fleet, what is wrong there, and what a plan would change. One model, for every form. Pure.

Texts of hosts are data in it. Each form escapes them as it has to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import risks
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.seen import Seen
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import (
    HASHSIZE,
    KERNEL,
    SEVERITIES,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.drift import with_drift
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.given import Given
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import short
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import proc
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import change
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.diff import diff

Report = dict[str, Any]
Host = dict[str, Any]

# Parts of the facts of which a whole set has all.
_PARTS = ("table", "timeouts", "counters", "services", "files", "assignments", "owners", "namespaces", "log")
# What moves from minute to minute, and no file, line or program decides.
_MOVES = ("counters", "log", "namespaces", "netns_total", "history", "unlisted", "cloud", "claims", "cpus")
# Keys of which it is always told what they will be.
_ALWAYS = ("conntrack_max", HASHSIZE, "conntrack_buckets")
_TABLE_MOVES = ("count", "usage", "chain", "full_bytes")


def made(hosts: Iterable[Host], when: str) -> Report:
    return {
        "format": shape.FORMAT,
        "version": shape.VERSION,
        "made": when,
        "why": shape.why(),
        "accepted": [],
        "since": None,
        "merged": [],
        "hosts": sorted(hosts, key=order),
    }


def order(host: Mapping[str, Any]) -> tuple[int, int, str]:
    """Worst first; what was not read at all stands before what is well."""
    if host["worst"]:
        return SEVERITIES.index(host["worst"]), -len(host["findings"]), host["name"]
    return len(SEVERITIES) + (host["state"] in shape.ARRIVED), 0, host["name"]


def worst(findings: Iterable[Mapping[str, Any]]) -> str | None:
    """Of those that nobody has accepted."""
    open_ones = (finding["severity"] for finding in findings if not finding["accepted"])
    return min(open_ones, key=SEVERITIES.index, default=None)


def not_read(name: str, state: str, said: str) -> Host:
    return {
        "name": name,
        "state": state,
        "said": said,
        **dict.fromkeys(("worst", "system", "table", "drops", "namespaces_total", "plan")),
        **{
            part: []
            for part in ("boot", "reload", "loses", "owners", "namespaces", "claims", "history", "missing", "findings")
        },
    }


class Reader:
    """Makes hosts of what a play knows of each. Hosts on which the same is written share what is foreseen of them: most of a fleet
    has few kinds."""

    def __init__(self) -> None:
        self._foreseen: dict[str, Plan] = {}

    def host(self, name: str, result: Mapping[str, Any] | None, variables: Mapping[str, Any]) -> Host:
        """``result`` is what reading its facts has answered, ``variables`` those that a plan is made by."""
        if not result or result.get("skipped"):
            return not_read(name, "not read", "the run ended before it was read")
        if result.get("unreachable") or result.get("failed"):
            state = "unreachable" if result.get("unreachable") else "failed"
            return not_read(name, state, short(str(result.get("msg") or "no reason was given")))
        # Of plain kinds, whatever ansible-core has made of it.
        facts = json.loads(json.dumps(result["ansible_facts"]["conntrack"]))
        return self._read(name, facts, variables)

    def _read(self, name: str, facts: Facts, variables: Mapping[str, Any]) -> Host:
        missing = _missing(facts)
        findings = [{**finding._asdict(), "accepted": None} for finding in risks.findings(facts)]
        for finding in findings:
            del finding["why"]
        ids = {finding["id"] for finding in findings}
        outcome, live = facts.get("outcome") or {}, Seen(facts).live
        return {
            "name": name,
            "state": "partial" if missing else "read",
            "said": f"not known: {len(missing)} of what was asked" if missing else "",
            "worst": worst(findings),
            "system": _system(facts),
            "table": _table(facts),
            "drops": _drops(facts),
            **{event: _will_be(outcome.get(event) or {}, live) for event in ("boot", "reload")},
            "loses": [event for event in ("boot", "reload") if f"lost-at-{event}" in ids],
            "owners": [_picked(owner, shape.HOST.fields["owners"]) for owner in facts.get("owners") or ()],
            "namespaces": [
                _picked(space, shape.HOST.fields["namespaces"])
                for space in facts.get("namespaces") or ()
                if not space["own"]
            ],
            "namespaces_total": facts.get("netns_total"),
            "claims": facts.get("claims") or [],
            "history": _history(facts["history"]),
            "missing": missing,
            "findings": findings,
            "plan": self._plan(facts, variables),
        }

    def _plan(self, facts: Facts, variables: Mapping[str, Any]) -> dict[str, Any]:
        try:
            policy = read(variables)
        except PolicyError as error:
            nothing = {"converged": False, "max": None, "buckets": None, "full_bytes": None, "diff": ""}
            return {**nothing, "refusals": list(error.problems), "warnings": []}
        plan = change.planned(facts, policy, self._with_drift)
        return {
            "converged": plan.converged,
            "max": plan.max,
            "buckets": plan.buckets,
            "full_bytes": plan.full_bytes,
            "refusals": plan.refusals,
            "warnings": plan.warnings,
            "diff": diff(plan),
        }

    def _with_drift(self, plan: Plan, host: Given) -> Plan:
        """What is foreseen goes by what is written, planned and in force; that is reckoned once for hosts that have the same of it."""
        bare = plan._replace(reasons={}, warnings=[], refusals=[])
        # What the files are to say goes by the rest of the plan.
        key = json.dumps([_still(host.facts), bare._replace(contents=None), host.policy])
        if key not in self._foreseen:
            self._foreseen[key] = with_drift(bare, host)
        found = self._foreseen[key]
        refusals = plan.refusals + found.refusals
        return found._replace(
            reasons=plan.reasons,
            warnings=plan.warnings + found.warnings,
            refusals=refusals,
            converged=not (found.drift or refusals),
        )


def _still(facts: Facts) -> Facts:
    """Without what moves."""
    kept = {name: part for name, part in facts.items() if name not in _MOVES}
    kept["memory"] = facts["memory"]["total_bytes"]
    table = facts.get("table") or {}
    return {**kept, "table": {name: value for name, value in table.items() if name not in _TABLE_MOVES}}


def _missing(facts: Facts) -> list[str]:
    parts = [f"facts without {part}" for part in _PARTS if part not in facts and facts["state"] != "absent"]
    return [
        *parts,
        *(f"could not be read: {path}" for path in facts["unreadable"]),
        *(f"could not be told: {what}" for what in facts["untold"]),
    ]


def _system(facts: Facts) -> dict[str, Any]:
    return {
        "release": facts["kernel"]["release"],
        "conntrack": facts["state"],
        "container": facts["kernel"]["container"],
        "root": facts["kernel"]["root"],
        "memory_bytes": facts["memory"]["total_bytes"],
        "cpus": facts["cpus"],
    }


def _table(facts: Facts) -> dict[str, Any] | None:
    table = facts.get("table")
    return table and {
        name: table[name] for name in ("count", "max", "buckets", "expect_max", "full_bytes", "usage", "chain")
    }


def _drops(facts: Facts) -> dict[str, Any] | None:
    """Packets since boot: those that a full table, long chains or helpers refused; flows given up to make room; messages in the log."""
    counters, log = facts.get("counters"), facts.get("log") or {}
    if counters is None:
        return None
    lost = counters.get("drop")
    return {
        "packets": None if lost is None else max(lost - proc.clashes(counters), 0),
        "early": counters.get("early_drop"),
        "logged": log.get("table_full"),
        "last": log.get("last_seen"),
    }


def _will_be(event: Mapping[str, Any], live: Mapping[str, int | None]) -> list[dict[str, Any]]:
    """Without timeouts and switches that stay as the kernel has them, of which there are many."""
    return [
        {"key": key, **value}
        for key, value in event.items()
        if key.endswith(_ALWAYS) or value["kind"] != KERNEL or value["value"] != live.get(key)
    ]


def _picked(one: Mapping[str, Any], of: Any) -> dict[str, Any]:
    return {name: one[name] for name in of.check.fields}


def _history(history: Mapping[str, Any]) -> list[str]:
    said = []
    if history["last"]:
        said.append("last change: {id}, {state}, {when}, by {who}".format(**history["last"]))
    if history["unfinished"]:
        said.append(f"a change was left unfinished: {history['unfinished']}; the next run undoes it first")
    if history["hold"] is not None:
        said.append(f"held against every change: {history['hold']}")
    return said


def accepted_of(report: Report) -> dict[str, list[str]]:
    """By host, ids of findings that are accepted, whatever was seen."""
    found = {}
    for host in report["hosts"]:
        ids = Counter(finding["id"] for finding in host["findings"])
        ids.subtract(finding["id"] for finding in host["findings"] if not finding["accepted"])
        taken = sorted(name for name, number in ids.items() if number)
        if taken:
            found[host["name"]] = taken
    return found


def as_json(report: Report) -> str:
    """A line for each host, so that two reports can be compared by other tools."""
    head = {name: value for name, value in report.items() if name != "hosts"}
    lines = [json.dumps(name) + ": " + json.dumps(value) + "," for name, value in head.items()]
    hosts = ",\n".join(map(json.dumps, report["hosts"]))
    return "{\n" + "\n".join(lines) + '\n"hosts": [\n' + hosts + "\n]}\n"
