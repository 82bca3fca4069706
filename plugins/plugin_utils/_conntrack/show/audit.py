# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of a fleet for people, worst first, and whether they are bad enough to fail. Pure."""

import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import Finding
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, problem
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.cures import Told, together
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import columns, said

NEVER = "never"
THRESHOLDS = SEVERITIES + (NEVER,)

# Columns: a terminal of 100, less what ansible.builtin.debug puts around a line.
_WIDTH = 88

Audited = tuple[str, Facts, Sequence[Finding]]


def worst(findings: Sequence[Finding]) -> str | None:
    """The worst severity among them; None where there are none."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default=None)


def failing(findings: Sequence[Finding], threshold: str) -> list[Finding]:
    """Those that are as bad as ``threshold`` or worse. Raises PolicyError for another word."""
    if threshold not in THRESHOLDS:
        raise PolicyError([problem("audit_fail_on", threshold, "expected one of " + ", ".join(THRESHOLDS))])
    bad = () if threshold == NEVER else SEVERITIES[: SEVERITIES.index(threshold) + 1]
    return [finding for finding in findings if finding.severity in bad]


def accepted(findings: Sequence[Finding], ids: Collection[str]) -> list[Finding]:
    """The same, and of those with these ids that they are accepted."""
    return [one._replace(seen="accepted: " + one.seen) if one.id in ids else one for one in findings]


def lines(hosts: Sequence[Audited], cures: Sequence[Told] = ()) -> list[str]:
    """A line for each host, and below it what was found there; hosts with the same findings share them. Then which cure fits whom."""
    if not hosts:
        return []
    by_host = {cure.host: cure.cure for cure in cures}
    groups: dict[tuple[Finding, ...], list[Audited]] = {}
    for host in sorted(hosts, key=_order):
        groups.setdefault(tuple(host[2]), []).append(host)
    ordered = [host for members in groups.values() for host in members]
    heads = (*_HEADS, "cure" if by_host else "")
    head, *rows = columns([heads] + [(*_row(*host), by_host.get(host[0], "")) for host in ordered])
    found = [head]
    for findings, members in groups.items():
        found += [rows.pop(0) for _member in members]
        for finding in findings:
            found += _said(finding)
        found.append("")
    return (found + _cures(cures))[:-1]


def _cures(cures: Sequence[Told]) -> list[str]:
    found: list[str] = []
    for cure in together(cures):
        found += _wrapped("", "{0}: {1}: {2}".format(cure.host, cure.cure, cure.seen))
        found += _wrapped("    ", cure.why) + ["    -> " + cure.command, ""]
    return ["Which cure fits, by what was seen: decide, then run", "", *found] if found else []


def _order(host: Audited) -> tuple[int, int, str]:
    name, _facts, findings = host
    severity = worst(findings)
    return SEVERITIES.index(severity) if severity else len(SEVERITIES), -len(findings), name


_HEADS = ("host", "worst", "findings", "in use", "limit", "after reload", "after boot")


def _row(name: str, facts: Facts, findings: Sequence[Finding]) -> tuple[str, ...]:
    table = facts.get("table") or {}
    usage = table.get("usage")
    return (
        name,
        worst(findings) or "none",
        str(len(findings)),
        "-" if usage is None else "{0:.1f} %".format(100 * usage),
        said(table.get("max")),
        said(_after(facts, "reload")),
        said(_after(facts, "boot")),
    )


def _after(facts: Facts, event: str) -> Any:
    flavour = kernel.FLAVOURS.get(facts.get("flavour") or "")
    outcome = (facts.get("outcome") or {}).get(event) or {}
    return (outcome.get(flavour.prefix + "max") or {}).get("value") if flavour else None


def _said(finding: Finding) -> list[str]:
    head = "{0} {1}: {2}".format(finding.severity, finding.id, finding.seen)
    return _wrapped("  ", head) + _wrapped("    ", finding.why) + _wrapped("    -> ", finding.remedy)


def _wrapped(indent: str, text: str) -> list[str]:
    """Paths and commands are not broken: they are to be copied."""
    later = " " * max(len(indent), 4)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
