# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for a ticket: Markdown. What is a host's stands in code spans, in which nothing is a link, a mention or a picture. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import INFO, SEVERITIES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.glance import counted, glances

# Lines of a list before the rest is counted: a ticket is read by people. The page and report.json have all.
MOST = 20


def as_markdown(report: model.Report) -> str:
    parts = [_head(report), _not_read(report), _since(report), _found(report), _accepted(report)]
    return "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"


def code(text: str) -> str:
    """A code span that also stands in a cell of a table."""
    text = escaped(text).replace("|", r"\|")
    if not text.strip(" "):
        return "` `"
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    room = " " if text[0] in "` " or text[-1] in "` " else ""
    return fence + room + text + room + fence


def _head(report: model.Report) -> Iterator[str]:
    yield f"# Connection tracking of {counted(report)}"
    yield ""
    yield f"Read {report['made']}."
    for glance in glances(report):
        bars = [one for one in glance.bars if one.number]
        if bars:
            yield ""
            yield f"| {glance.title} | {glance.unit} |"
            yield "|---|---:|"
            yield from (f"| {code(one.label)} | {one.number} |" for one in bars)
    yield ""


def _not_read(report: model.Report) -> Iterator[str]:
    hosts = [host for host in report["hosts"] if host["state"] != shape.STATES[0]]
    if hosts:
        yield "## Not read, or not all of it"
        yield ""
        yield from _most([f"- {code(host['name'])} {host['state']}: {code(host['said'])}" for host in hosts])


def _since(report: model.Report) -> Iterator[str]:
    since = report["since"]
    if not since:
        return
    yield f"## Since {since['made']}"
    yield ""
    lines = {
        "new findings": [f"{code(one['host'])} {one['id']}: {code(one['seen'])}" for one in since["findings_new"]],
        "findings gone": [f"{code(one['host'])} {one['id']}: {code(one['seen'])}" for one in since["findings_gone"]],
        "limits": [f"{code(one['host'])}: {_said(one['was'])} -> {_said(one['is'])}" for one in since["limits"]],
        "what arrives": [f"{code(one['host'])}: {one['was']} -> {one['is']}" for one in since["states"]],
        "new hosts": list(map(code, since["hosts_new"])),
        "hosts gone": list(map(code, since["hosts_gone"])),
    }
    for title, texts in lines.items():
        if texts:
            yield f"{len(texts)} {title}:"
            yield ""
            yield from _most(["- " + text for text in texts])
    if not any(lines.values()):
        yield "Nothing has changed."
        yield ""


def _found(report: model.Report) -> Iterator[str]:
    """By finding, worst first, with the hosts that have it."""
    found: dict[tuple[int, str], list[str]] = {}
    for host in report["hosts"]:
        for finding in host["findings"]:
            if not finding["accepted"]:
                place = (SEVERITIES.index(finding["severity"]), finding["id"])
                found.setdefault(place, []).append(f"- {code(host['name'])}: {code(finding['seen'])}")
    for (severity, name), lines in sorted(found.items()):
        yield f"## {SEVERITIES[severity]}: {name}"
        yield ""
        yield _ours(report["why"].get(name, ""))
        yield ""
        yield from _most(lines, MOST if SEVERITIES[severity] != INFO else MOST // 4)


def _accepted(report: model.Report) -> Iterator[str]:
    if report["accepted"]:
        yield "## Accepted"
        yield ""
        yield from _most(
            [
                "- {0} on {1} until {2}{3}: {4}".format(
                    one["id"],
                    ", ".join(map(code, one["hosts"])),
                    one["until"],
                    ", which is over" if one["over"] else "",
                    code(one["reason"]),
                )
                for one in report["accepted"]
            ]
        )


def _most(lines: list[str], most: int = MOST) -> Iterable[str]:
    more = len(lines) - most
    return [*lines[:most], *([f"- and {more} more"] if more > 0 else []), ""]


def _said(value: int | None) -> str:
    return "-" if value is None else str(value)


def _ours(text: str) -> str:
    """A text of the catalogue's, or of a report that was read."""
    return (
        code(text)
        if re.search(r"[`<>\[\]@#|&\\]|://", escaped(text))
        else escaped(text).replace("_", r"\_").replace("*", r"\*")
    )
