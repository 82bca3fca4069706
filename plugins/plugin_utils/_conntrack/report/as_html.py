# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as one page that needs nothing else: its parts are in playbooks/files/report. Pure, but for reading these.

What a host says is in the page as HTML's text or as JSON, and made into text by its script. The table is shown a part at a time; what is
told of a host is unpacked when it is opened, and stands there once for all hosts of which the same is told.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape as markup_escaped
from pathlib import Path
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.glance import (
    Bar,
    Glance,
    counted,
    glances,
    limit_after,
    loses,
)

PARTS = Path(__file__).parents[4] / "playbooks/files/report"
# Of what has changed, lines of each kind in the page; report.json has all.
MOST = 200
# Pixels of the longest bar.
_WIDTH = 160

# What is told of a host where it is opened.
_TOLD = (
    *(
        "state",
        "said",
        "system",
        "table",
        "drops",
        "boot",
        "reload",
        "owners",
        "namespaces",
        "namespaces_total",
        "claims",
    ),
    *("history", "missing", "findings", "plan"),
)


def as_html(report: model.Report) -> str:
    style, script = _part("page.css"), _part("page.js")
    pieces = {
        "CSP": f"default-src 'none'; style-src {_sum(style)}; script-src {_sum(script)}; base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "HEAD": _head(report),
        "GLANCES": "\n".join(map(_glance, glances(report))),
        "SINCE": _since(report["since"]),
        "ACCEPTED": _accepted(report["accepted"]),
        "ROWS": in_script(_rows(report["hosts"])),
        "TOLD": in_script(_told(report)),
        "SCRIPT": script,
    }
    # Each place is filled once: what is filled in is not looked at again.
    first, *places = _part("page.html").split("{{")
    filled = [first]
    for place in places:
        name, rest = place.split("}}", 1)
        filled += [pieces[name], rest]
    return "".join(filled)


def text(value: str) -> str:
    """What stands in the page for what it is, and turns no line round."""
    return markup_escaped(escaped(value, newlines=True))


def in_script(value: Any) -> str:
    """JSON that ends no script, begins no comment, and is ASCII."""
    told = json.dumps(value, separators=(",", ":"))
    return told.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@functools.cache
def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _sum(part: str) -> str:
    return "'sha256-{0}'".format(base64.b64encode(hashlib.sha256(part.encode()).digest()).decode())


def _head(report: model.Report) -> str:
    arrived = sum(host["state"] in shape.ARRIVED for host in report["hosts"])
    said = f"{counted(report)}, {arrived} of them read, {report['made']}"
    if report["merged"]:
        said += (
            f"; merged of {len(report['merged'])} reports, the oldest of {min(one['made'] for one in report['merged'])}"
        )
    return text(said)


def _glance(glance: Glance) -> str:
    most = max((one.number for one in glance.bars), default=0) or 1
    rows = "".join(_bar(one, most) for one in glance.bars) or "<tr><th scope=row>none</th><td></td><td></td></tr>"
    return (
        f"<table class=bars><caption>{text(glance.title)}</caption>"
        f"<thead class=unseen><tr><th scope=col>what</th><th scope=col>{text(glance.unit)}</th>"
        f"<th scope=col>bar</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _bar(one: Bar, most: int) -> str:
    label = text(one.label)
    if one.choice and one.number:
        label = f'<button type=button class=choice data-choice="{text(one.choice)}">{label}</button>'
    width = max(round(_WIDTH * one.number / most), 1) if one.number else 0
    kind = text(one.kind or "plain")
    return (
        f"<tr><th scope=row>{label}</th><td class=number>{one.number}</td>"
        f'<td><svg width="{_WIDTH}" height="12" aria-hidden="true" focusable="false">'
        f'<rect class="{kind}" width="{width}" height="12" rx="2"></rect></svg></td></tr>'
    )


def _since(since: Mapping[str, Any] | None) -> str:
    if not since:
        return ""
    lists = {
        "New findings": [
            f"{one['host']}: {one['severity']} {one['id']}: {one['seen']}" for one in since["findings_new"]
        ],
        "Findings gone": [
            f"{one['host']}: {one['severity']} {one['id']}: {one['seen']}" for one in since["findings_gone"]
        ],
        "Limits": [f"{one['host']}: {one['was']} → {one['is']}" for one in since["limits"]],
        "What arrives": [f"{one['host']}: {one['was']} → {one['is']}" for one in since["states"]],
        "New hosts": since["hosts_new"],
        "Hosts gone": since["hosts_gone"],
    }
    told = "".join(_list(title, lines) for title, lines in lists.items() if lines) or "<p>Nothing has changed.</p>"
    return f"<section aria-labelledby=since><h2 id=since>Since {text(since['made'])}</h2>{told}</section>"


def _accepted(accepted: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        f"{one['id']} on {', '.join(one['hosts'])} until {one['until']}{', which is over' if one['over'] else ''}: {one['reason']}"
        for one in accepted
    ]
    if not lines:
        return ""
    return f"<section aria-labelledby=accepted><h2 id=accepted>Accepted</h2>{_list('Acceptances', lines)}</section>"


def _list(title: str, lines: list[str]) -> str:
    items = "".join(f"<li>{text(line)}</li>" for line in lines[:MOST])
    more = f"<p>and {len(lines) - MOST} more, in report.json</p>" if len(lines) > MOST else ""
    return f"<details open><summary>{title}: {len(lines)}</summary><ul>{items}</ul>{more}</details>"


class _Pool:
    """Values, each kept once, by their places."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def put(self, value: Any) -> int:
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def _rows(hosts: Iterable[model.Host]) -> dict[str, Any]:
    """What the table shows and is narrowed down by, a row a host."""
    pool = _Pool()
    return {
        "severities": SEVERITIES,
        "hosts": [[*_row(host), *map(pool.put, _choices(host))] for host in hosts],
        "pool": pool.values,
    }


def _row(host: model.Host) -> Iterator[Any]:
    table, drops = host["table"] or {}, host["drops"] or {}
    yield escaped(host["name"])
    yield from (table.get(name) for name in ("usage", "count", "max"))
    yield from (limit_after(host, event) for event in ("reload", "boot"))
    yield drops.get("packets")


def _choices(host: model.Host) -> Iterator[Any]:
    yield host["state"]
    yield host["worst"] or ("none" if host["state"] in shape.ARRIVED else "not read")
    yield sorted({one["id"] + (" (accepted)" if one["accepted"] else "") for one in host["findings"]})
    yield loses(host)
    yield sorted({owner["name"] for owner in host["owners"]})


def _told(report: model.Report) -> dict[str, Any]:
    pool = _Pool()
    hosts = [pool.put([_packed(host[name], pool) for name in _TOLD]) for host in report["hosts"]]
    return {"names": _TOLD, "hosts": hosts, "pool": pool.values, "why": report["why"]}


def _packed(value: Any, pool: _Pool) -> int:
    """A list by the places of its items, with a word before them that says so."""
    if isinstance(value, list):
        return pool.put({"list": [pool.put(_without_texts(item, pool)) for item in value]})
    return pool.put(value)


def _without_texts(item: Any, pool: _Pool) -> Any:
    """Of a finding, what is to be done is the same on many hosts."""
    return {**item, "remedy": pool.put(item["remedy"])} if isinstance(item, dict) and "remedy" in item else item
