# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people: what was, what is, what is planned. Lines of plain text, in columns. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.sizing import size
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts


class Values(NamedTuple):
    """What a table compares."""

    max: int | None
    buckets: int | None
    full_bytes: int | None
    expect_max: int | None
    timeouts: Mapping[str, int]


class Shown(NamedTuple):
    """One host's part of a report."""

    name: str
    before: Values
    after: Values
    reasons: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


# The order in which a profile names them is the order in which people look for them.
_TIMEOUTS = tuple(PROFILES["kernel"].choices)


def of_facts(facts: Facts) -> Values:
    """What is live; of a module that is not loaded, what its next load brings."""
    if facts.get("state") == "loadable":
        return _of_load(facts)
    table = facts.get("table") or {}
    timeouts = facts.get("timeouts") or {}
    return Values(table.get("max"), table.get("buckets"), table.get("full_bytes"), table.get("expect_max"), timeouts)


def _of_load(facts: Facts) -> Values:
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    reload = (facts.get("outcome") or {}).get("reload") or {}
    found = {key[len(prefix) :] if key.startswith(prefix) else key: said["value"] for key, said in reload.items()}
    timeouts = {kernel.timeout_name(key): value for key, value in found.items()}
    return Values(
        found.get("max"),
        found.get("hashsize"),
        None,
        found.get("expect_max"),
        {name: value for name, value in timeouts.items() if name and value is not None},
    )


def of_plan(plan: Mapping[str, Any]) -> Values:
    return Values(plan["max"], plan["buckets"], plan["full_bytes"], plan["expect_max"], plan["timeouts"])


def fleet(hosts: list[Shown], heads: tuple[str, str] = ("before", "after")) -> list[str]:
    """A table per host; hosts whose tables say the same share one, so that a fleet fits on a screen."""
    tables: dict[tuple[str, ...], list[str]] = {}
    for host in hosts:
        tables.setdefault(tuple(_body(host, heads)), []).append(host.name)
    lines: list[str] = []
    for body, names in tables.items():
        several = "" if len(names) == 1 else " ({0} hosts)".format(len(names))
        lines += [", ".join(names) + several] + list(body) + [""]
    return lines[:-1]


def _body(host: Shown, heads: tuple[str, str]) -> list[str]:
    rows = [("setting", heads[0], heads[1], "")]
    rows.append(_row("limit (entries)", host.before.max, host.after.max, host.reasons.get("max")))
    rows.append(_row("buckets", host.before.buckets, host.after.buckets, host.reasons.get("buckets")))
    rows.append(_row("memory at full", _size(host.before.full_bytes), _size(host.after.full_bytes), None))
    # Like the timeouts that no profile sets: of interest to few, unless it moves.
    if host.before.expect_max != host.after.expect_max:
        found, planned = host.before.expect_max, host.after.expect_max
        rows.append(_row("expectations", found, planned, host.reasons.get("expect_max")))
    for name in _TIMEOUTS + _others_that_move(host):
        if name in host.before.timeouts or name in host.after.timeouts:
            rows.append(_row(name + " (s)", host.before.timeouts.get(name), host.after.timeouts.get(name), None))
    return columns(rows) + list(host.notes)


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines: labels to the left, values to the right, and the last of each row a note."""
    first, *widths = (max(map(len, column)) for column in list(zip(*rows))[:-1])
    lines = []
    for label, *values, note in rows:
        cells = [label.ljust(first)] + [value.rjust(width) for value, width in zip(values, widths)] + [note]
        lines.append("  ".join(cells).rstrip())
    return lines


def in_order(timeouts: Iterable[str]) -> list[str]:
    """Names of timeouts: those of the profiles as they are there, then the others."""
    names = set(timeouts)
    return [name for name in _TIMEOUTS if name in names] + sorted(names - set(_TIMEOUTS))


def _others_that_move(host: Shown) -> tuple[str, ...]:
    was, after = host.before.timeouts, host.after.timeouts
    return tuple(name for name in sorted(after) if name not in _TIMEOUTS and after[name] != was.get(name))


def _row(label: str, before: Any, after: Any, reason: str | None) -> tuple[str, str, str, str]:
    """A value that stays is shown once more, and one that moves with an arrow, which the eye finds."""
    moved = before != after
    note = ("<- " + (reason or "")).rstrip() if moved else ""
    return label, said(before), said(after), note


def said(value: Any) -> str:
    return "-" if value is None else str(value)


def _size(count: int | None) -> str | None:
    return None if count is None else size(count)
