# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout: who is changed when, when it stops, and what became of each host. Pure.

What is known of a host is what its tasks in the playbook tune have registered: how it was read and planned, how it was changed, what
its probes said, and what was undone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.spelling import misspelt
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    Reader,
    Wrong,
    read_each,
    shown,
    truth,
    whole,
)
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import probes

READ, RESULT, PROBED, UNDONE_BY = "__tune_read", "conntrack_result", "__tune_probed", "__tune_undone"

CONVERGED, PENDING, APPLIED, DEFERRED = "converged", "pending", "applied", "deferred"
REFUSED, UNDONE, FAILED, UNREACHABLE, NOT_BEGUN = "refused", "undone", "failed", "unreachable", "not begun"
# In the order in which they are told: what needs somebody first.
STATES = (FAILED, UNREACHABLE, REFUSED, UNDONE, NOT_BEGUN, PENDING, DEFERRED, APPLIED, CONVERGED)
# What counts against tune_max_failures.
BAD = (FAILED, UNREACHABLE, REFUSED, UNDONE)

DEFAULT_WAVES = (1, "10%", "100%")
LARGEST_ORDER = 10**6
MOST_HOSTS = 10**6
# In the sentence that says why it stops.
_MOST_NAMED = 10
_SHARE = re.compile(r"([0-9]{1,3})%")


class Host(NamedTuple):
    name: str
    order: int
    state: str
    why: str  # a sentence, or nothing where the state says all


class Wave(NamedTuple):
    """One of a rollout, as it is kept in a variable."""

    number: int
    of: int
    hosts: list[str]
    later: list[list[str]]
    names: list[str]  # of these and those
    stop: str  # why none is changed any more


def input_errors(variables: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """A sentence for each of the playbook's variables that will not do."""
    _found, wrong = read_each(variables, READERS)
    return [*wrong.values(), *misspelt([name for name in names if name not in READERS], READERS)]


def _waves(value: Any) -> list[int | str]:
    wanted = "expected a list of numbers of hosts and shares of those that differ, as [1, '10%', '100%']"
    # A single one is a list of one; what comes with -e is text.
    sizes = value if isinstance(value, list) else str(value).split(",") if isinstance(value, (str, int)) else []
    if not sizes:
        raise Wrong(wanted)
    found: list[int | str] = []
    for size in sizes:
        text = str(size).strip()
        share = _SHARE.fullmatch(text)
        if isinstance(size, bool) or not ((share and 1 <= int(share[1]) <= 100) or (text.isdigit() and int(text[:9]))):
            raise Wrong(f"{wanted}, each 1 or more; found {shown(size)}")
        found.append(text if share else min(int(text[:9]), MOST_HOSTS))
    return found


READERS: dict[str, Reader] = {
    "tune_waves": _waves,
    "tune_order": whole(-LARGEST_ORDER, LARGEST_ORDER, "the order, lowest first,"),
    "tune_max_failures": whole(0, MOST_HOSTS, "hosts"),
    "tune_probes": probes.read,
    "tune_probe_seconds": whole(0, 3600, "seconds"),
    "tune_deferred": truth,
    "tune_check_fail": truth,
}


def order_of(variables: Mapping[str, Any]) -> int:
    """What would not do has been refused before any host was read."""
    found, _wrong = read_each({"tune_order": variables.get("tune_order")}, READERS)
    return int(found.get("tune_order", 0))


def host_of(variables: Mapping[str, Any]) -> Host:
    """Of a host's variables, after any of the tasks."""
    name = str(variables["inventory_hostname"])
    read, result = (variables.get(kept) or {} for kept in (READ, RESULT))
    undone, probed = (variables.get(kept) or {} for kept in (UNDONE_BY, PROBED))
    state, why = _state_of(read, result, probed, undone)
    return Host(name, order_of(variables), state, _first_line(why))


def _state_of(
    read: Mapping[str, Any], result: Mapping[str, Any], probed: Mapping[str, Any], undone: Mapping[str, Any]
) -> tuple[str, str]:
    if not result or result.get("skipped"):
        return _before(read)
    if undone and not undone.get("skipped"):
        red = f"a probe is red after the change: {probed.get('msg')}"
        if undone.get("failed") or undone.get("unreachable") or undone.get("not_restored"):
            return (
                FAILED,
                f"{red}; and the change could not be undone: {undone.get('msg') or undone['not_restored'][0]}",
            )
        return UNDONE, red
    if result.get("unreachable"):
        return UNREACHABLE, str(result.get("msg"))
    if result.get("refusals"):
        return REFUSED, str(result["refusals"][0])
    if result.get("failed"):
        whole_again = result.get("restored") and not result.get("not_restored")
        return (UNDONE if whole_again else FAILED), str(result.get("msg"))
    if probed.get("failed"):
        return FAILED, f"a probe is red: {probed.get('msg')}"
    if not result.get("changed"):
        return CONVERGED, ""
    if result.get("checked"):
        return PENDING, ""
    waits = result.get("reboot_needed") or ()
    if result.get("files_only"):
        return DEFERRED, "live at the next boot"
    return APPLIED, "a reboot is needed for " + ", ".join(waits) if waits else ""


def _before(read: Mapping[str, Any]) -> tuple[str, str]:
    """Of a host that no wave has changed."""
    if read.get("unreachable"):
        return UNREACHABLE, str(read.get("msg"))
    if read.get("failed"):
        return FAILED, str(read.get("msg"))
    if not read or read.get("skipped"):
        return NOT_BEGUN, "it was not read"
    if not read["pending"]:
        return CONVERGED, ""
    return NOT_BEGUN, read["refusals"][0] if read.get("refusals") else ""


def is_pending(variables: Mapping[str, Any]) -> bool:
    """Whether a wave has to see to a host: it differs, is refused, or is not known."""
    read = variables.get(READ)
    return read is not None and _before(read)[0] != CONVERGED


def waves(hosts: Sequence[Host], sizes: Sequence[int | str]) -> list[list[str]]:
    """The hosts in their order, so many in each wave; the last size counts for all that are left."""
    names = [host.name for host in sorted(hosts, key=lambda host: host.order)]
    total = len(names)
    found: list[list[str]] = []
    while names:
        size = sizes[min(len(found), len(sizes) - 1)]
        share = _SHARE.fullmatch(str(size))
        count = max(1, math.floor(total * int(share[1]) / 100)) if share else int(size)
        found.append(names[:count])
        names = names[count:]
    return found


def asked(variables: Mapping[str, Any]) -> tuple[Sequence[int | str], int]:
    """The sizes of the waves, and how many hosts may fail."""
    found, _wrong = read_each(variables, READERS)
    return found.get("tune_waves", DEFAULT_WAVES), found.get("tune_max_failures", 0)


def next_wave(hosts: Sequence[Host], before: Mapping[str, Any] | None, sizes: Sequence[int | str], most: int) -> Wave:
    """``before`` is the wave before, None for the first one. More failures than ``most`` among the hosts of all waves before, and
    there is no more."""
    if before is None:
        planned = waves(hosts, sizes)
        return _wave(1, len(planned), planned, "")
    later = [list(names) for names in before["later"]]
    still = {name for names in later for name in names}
    bad = [host for host in hosts if host.name not in still and host.state in BAD]
    number, of = int(before["number"]) + 1, int(before["of"])
    stop = before["stop"]
    if not stop and len(bad) > most:
        who = ", ".join(f"{host.name} {host.state}" for host in bad[:_MOST_NAMED])
        more = f" and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
        stop = f"stopped before wave {number} of {of}, {len(still)} hosts not begun: {who}{more}, and tune_max_failures is {most}"
    return _wave(number, of, later, stop)


def _wave(number: int, of: int, left: list[list[str]], stop: str) -> Wave:
    names = [name for those in left for name in those]
    return Wave(number, of, left[0] if left else [], left[1:], names, stop)


def told(hosts: Sequence[Host], stop: str = "") -> list[str]:
    """How many are in each state, who they are where somebody has to see to them, and what is left to be done."""
    counts = {state: [host for host in hosts if host.state == state] for state in STATES}
    lines = [", ".join(f"{len(those)} {state}" for state, those in counts.items() if those) or "no hosts"]
    if stop:
        lines.append(stop)
    for state, those in counts.items():
        reasons: dict[str, list[str]] = {}
        for host in those:
            reasons.setdefault(host.why, []).append(host.name)
        for why, names in reasons.items():
            if state not in (APPLIED, CONVERGED, PENDING) or why:
                lines.append(f"{state}: {', '.join(names)}" + (f": {why}" if why else ""))
    left = [host.name for host in hosts if host.state in (*BAD, NOT_BEGUN)]
    if left:
        lines.append(f"what is left, once that is seen to: --limit '{','.join(left)}'")
    return lines


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
