# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings that somebody has accepted, for some hosts, with a reason and until a day. Pure.

- id: established-five-days
  hosts: [db*, legacy01]
  reason: moved to the new cluster by then
  until: 2026-12-31
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from fnmatch import translate
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import RISKS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    PolicyError,
    Reader,
    Wrong,
    one_of,
    problem,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model

MOST = 10000
# Characters of a pattern, of a reason.
_LONGEST = 1000

Acceptance = dict[str, Any]


def read(said: Any) -> list[Acceptance]:
    """What a file holds. Raises PolicyError, with a sentence for each thing that will not do."""
    if not isinstance(said, list) or len(said) > MOST:
        wanted = f"expected a list of at most {MOST} entries, each with {', '.join(_READERS)}"
        raise PolicyError([problem("audit_accept", said, wanted)])
    problems: list[str] = []
    found = [_entry(f"audit_accept[{number}]", entry, problems) for number, entry in enumerate(said)]
    if problems:
        raise PolicyError(problems)
    return found


def _entry(name: str, entry: Any, problems: list[str]) -> Acceptance:
    if not isinstance(entry, Mapping):
        problems.append(problem(name, entry, f"expected a mapping of {', '.join(_READERS)}"))
        return {}
    problems += [
        problem(f"{name}.{other}", entry[other], f"there are {', '.join(_READERS)}, and all of them are needed")
        for other in entry
        if other not in _READERS
    ]
    found = {}
    for field, reader in _READERS.items():
        try:
            found[field] = reader(entry.get(field))
        except Wrong as wrong:
            problems.append(problem(f"{name}.{field}", entry.get(field), str(wrong)))
    return found


def _hosts(value: Any) -> list[str]:
    patterns = [value] if isinstance(value, str) else value
    fits = isinstance(patterns, list) and patterns and len(patterns) <= MOST
    if not fits or not all(isinstance(one, str) and 0 < len(one) <= _LONGEST for one in patterns):
        raise Wrong("expected names of hosts as they are in the inventory, * for any characters: [web01, db*]")
    return [str(one) for one in patterns]


def _reason(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise Wrong(f"expected why it is accepted, a text of at most {_LONGEST} characters")
    return str(value).strip()


def _until(value: Any) -> str:
    """YAML makes a date of it unless it is quoted."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return datetime.date.fromisoformat(str(value)).isoformat()
        except ValueError:
            pass
    raise Wrong("expected the last day on which it is accepted, as 2026-12-31")


_READERS: dict[str, Reader] = {"id": one_of(RISKS), "hosts": _hosts, "reason": _reason, "until": _until}


def accept(report: model.Report, acceptances: list[Acceptance]) -> model.Report:
    """The report with findings marked that are accepted on the day it was made; of those of one finding, what lasts longest."""
    today = report["made"][:10]
    in_force: dict[str, list[tuple[re.Pattern[str], Acceptance]]] = {}
    for one in sorted(acceptances, key=lambda one: one["until"]):
        if one["until"] >= today:
            pattern = re.compile("|".join(map(translate, one["hosts"])))
            in_force.setdefault(one["id"], []).append((pattern, one))
    hosts = [_accepted(host, in_force) for host in report["hosts"]]
    told = [{**one, "over": one["until"] < today} for one in acceptances]
    return {**report, "accepted": told, "hosts": sorted(hosts, key=model.order)}


def _accepted(host: model.Host, in_force: Mapping[str, list[tuple[re.Pattern[str], Acceptance]]]) -> model.Host:
    findings = []
    for finding in host["findings"]:
        entries = [one for pattern, one in in_force.get(finding["id"], ()) if pattern.fullmatch(host["name"])]
        said = {"reason": entries[-1]["reason"], "until": entries[-1]["until"]} if entries else None
        findings.append({**finding, "accepted": said})
    return {**host, "findings": findings, "worst": model.worst(findings)}
