# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for a spreadsheet: a line for each host. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.glance import limit_after

HEADS = (
    *("host", "state", "worst", "critical", "warning", "info", "accepted", "in use", "entries", "limit", "buckets"),
    *("limit after reload", "limit after boot", "loses at", "packets dropped", "early drops", "messages in the log"),
    *("planned limit", "converged", "owners", "findings", "said"),
)
# What a spreadsheet takes for a formula where a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "|", "%")


def as_csv(report: model.Report) -> str:
    told = io.StringIO()
    writer = csv.writer(told, lineterminator="\r\n")
    writer.writerow(HEADS)
    for host in report["hosts"]:
        writer.writerow(map(cell, _row(host)))
    return told.getvalue()


def cell(value: Any) -> Any:
    """A text on one line that is no formula."""
    if not isinstance(value, str):
        return value
    text = escaped(value)
    return "'" + text if text.lstrip().startswith(_FORMULA) else text


def _row(host: model.Host) -> Iterator[Any]:
    table, drops, plan = host["table"] or {}, host["drops"] or {}, host["plan"] or {}
    yield from (host["name"], host["state"], host["worst"] or "none")
    unaccepted = [finding["severity"] for finding in host["findings"] if not finding["accepted"]]
    yield from map(unaccepted.count, SEVERITIES)
    yield len(host["findings"]) - len(unaccepted)
    yield from (table.get(name) for name in ("usage", "count", "max", "buckets"))
    yield from (limit_after(host, event) for event in ("reload", "boot"))
    yield " ".join(host["loses"])
    yield from (drops.get(name) for name in ("packets", "early", "logged"))
    yield from (plan.get("max"), plan.get("converged"))
    yield ", ".join(owner["name"] for owner in host["owners"])
    yield " ".join(finding["id"] for finding in host["findings"])
    yield host["said"]
