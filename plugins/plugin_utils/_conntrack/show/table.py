# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people: what was, what is, what is planned. Lines of plain text, in columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    switches: Mapping[str, int] = {}


class Shown(NamedTuple):
    """One host's part of a report. Where no values are known, the notes are all of it."""

    name: str
    before: Values | None
    after: Values | None
    reasons: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    heads: tuple[str, str] = ("before", "after")


_SINGLE = ("max", "buckets", "full_bytes", "expect_max")
# The order in which a profile names them is the order in which people look for them.
_TIMEOUTS = tuple(PROFILES["kernel"].choices)


def of_result(name: str, result: Mapping[str, Any]) -> Shown:
    """What the action conntrack has returned, or conntrack_rollback."""
    if result.get("failed") or result.get("refusals") or "plan" not in result:
        return Shown(name, None, None, {}, tuple(_told(result)))
    checked, notes = result["checked"], list(_told(result))
    if not result["changed"] and not result.get("pending"):
        notes = ["nothing to change", *notes]
    return _compared(name, result["before"], result["plan"], result["files_only"], checked, notes)


def of_plan_alone(name: str, facts: Facts, plan: Mapping[str, Any], files_only: bool) -> Shown:
    """A host that was only read."""
    notes = ["nothing to change"] if plan["converged"] else ["REFUSED: " + refusal for refusal in plan["refusals"]]
    return _compared(name, facts, plan, files_only, True, notes)


def _compared(
    name: str, facts: Facts, plan: Mapping[str, Any], files_only: bool, checked: bool, notes: Sequence[str]
) -> Shown:
    before = _of_event(facts, "boot") if files_only else of_facts(facts)
    after = of_plan(plan)
    # A plan speaks of the timeouts and switches it sets; the others stay.
    after = after._replace(
        timeouts={**before.timeouts, **after.timeouts}, switches={**before.switches, **after.switches}
    )
    written = [drift["name"] for drift in plan["drift"] if drift["kind"] not in ("live", "outcome")]
    if written and not plan["refusals"]:
        notes = [("to be written: " if checked else "written: ") + ", ".join(written), *notes]
    notes = [*_state_notes(facts, files_only), *notes, *("warning: " + warning for warning in plan["warnings"])]
    return Shown(
        name, before, after, plan["reasons"], tuple(notes), ("now", "planned") if checked else ("before", "after")
    )


def _told(result: Mapping[str, Any]) -> Iterator[str]:
    """What became of it, but for values."""
    checked = result.get("checked", False)
    if result.get("refusals"):
        yield from ("REFUSED: " + refusal for refusal in result["refusals"])
    elif result.get("failed"):
        yield "FAILED: {0}".format(result.get("msg"))
    expired = result.get("expired") or {}
    if expired.get("shortened"):
        yield "{0} to the timeouts: {1} of {2} entries".format(
            "to be shortened" if checked else "shortened", expired["shortened"], expired["examined"]
        )
    if result.get("reboot_needed"):
        yield "REBOOT NEEDED for: " + ", ".join(result["reboot_needed"])
    if "undone" in result:
        undone = ", ".join(result["undone"])
        yield ("to be undone: " if checked else "undone: ") + undone if undone else "nothing to undo"
    yield from ("put back: " + one for one in result.get("restored") or ())
    yield from ("NOT PUT BACK: " + one for one in result.get("not_restored") or ())


def _state_notes(facts: Facts, files_only: bool) -> tuple[str, ...]:
    if files_only:
        return ("files alone: these are the values of a boot",)
    return {
        "absent": ("no connection tracking in this kernel: nothing can fill up",),
        "loadable": ("the module is not loaded: these are the values of its next load",),
    }.get(facts["state"], ())


def of_facts(facts: Facts) -> Values:
    """What is live; of a module that is not loaded, what its next load brings."""
    if facts.get("state") == "loadable":
        return _of_event(facts, "reload")
    table = facts.get("table") or {}
    single = {name: table.get(name) for name in _SINGLE}
    return Values(**single, timeouts=facts.get("timeouts") or {}, switches=facts.get("switches") or {})


def _of_event(facts: Facts, event: str) -> Values:
    """What a load or a boot brings."""
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    will_be = (facts.get("outcome") or {}).get(event) or {}
    found = {key[len(prefix) :] if key.startswith(prefix) else key: said["value"] for key, said in will_be.items()}
    timeouts = {kernel.timeout_name(key): value for key, value in found.items()}
    return Values(
        found.get("max"),
        found.get("hashsize"),
        None,
        found.get("expect_max"),
        {name: value for name, value in timeouts.items() if name and value is not None},
        {name: found[name] for name in kernel.SWITCHES if found.get(name) is not None},
    )


def of_plan(plan: Mapping[str, Any]) -> Values:
    return Values(**{name: plan[name] for name in (*_SINGLE, "timeouts", "switches")})


def fleet(hosts: Sequence[Shown]) -> list[str]:
    """A table per host; hosts whose tables say the same share one, so that a fleet fits on a screen."""
    tables: dict[tuple[str, ...], list[str]] = {}
    for host in hosts:
        tables.setdefault(tuple(_body(host)), []).append(host.name)
    lines: list[str] = []
    for body, names in tables.items():
        several = "" if len(names) == 1 else " ({0} hosts)".format(len(names))
        lines += [", ".join(names) + several] + list(body) + [""]
    return lines[:-1]


def _body(host: Shown) -> list[str]:
    if host.before is None or host.after is None:
        return list(host.notes)
    return columns(_rows(host, host.before, host.after)) + list(host.notes)


def _rows(host: Shown, before: Values, after: Values) -> list[tuple[str, str, str, str]]:
    rows = [("setting", *host.heads, "")]
    rows.append(_row("limit (entries)", before.max, after.max, host.reasons.get("max")))
    rows.append(_row("buckets", before.buckets, after.buckets, host.reasons.get("buckets")))
    rows.append(_row("memory at full", _size(before.full_bytes), _size(after.full_bytes), None))
    # Like the timeouts that no profile sets: of interest to few, unless it moves.
    if before.expect_max != after.expect_max:
        rows.append(_row("expectations", before.expect_max, after.expect_max, host.reasons.get("expect_max")))
    for name in _TIMEOUTS + _others_that_move(before.timeouts, after.timeouts):
        if name in before.timeouts or name in after.timeouts:
            rows.append(_row(name + " (s)", before.timeouts.get(name), after.timeouts.get(name), None))
    for name, value in after.switches.items():
        if value != before.switches.get(name):
            rows.append(_row(name, before.switches.get(name), value, host.reasons.get(name)))
    return rows


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


def _others_that_move(was: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
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
