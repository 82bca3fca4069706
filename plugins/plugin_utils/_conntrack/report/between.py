# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two reports: what has changed from one to the other; and several, of parts of a fleet, as one. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, problem
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit


def read(variable: str, path: str, text: str) -> model.Report:
    """A report.json, checked. Raises PolicyError."""
    try:
        return shape.REPORT(json.loads(text))
    except (ValueError, RecursionError) as error:
        said = f"it is no JSON: {error}" if not isinstance(error, RecursionError) else "it is too deep"
    except Misfit as misfit:
        said = str(misfit)
    raise PolicyError([problem(variable, path, f"expected a report.json of version {shape.VERSION}: {said}")])


def since(old: model.Report, new: model.Report) -> model.Report:
    """The new report, and what has changed. Only what was read both times can be compared; a host that did not arrive lost nothing."""
    was = {host["name"]: host for host in old["hosts"]}
    now = {host["name"]: host for host in new["hosts"]}
    both = [
        (was[name], host)
        for name, host in now.items()
        if name in was and {was[name]["state"], host["state"]} <= set(shape.ARRIVED)
    ]
    changes = {
        "made": old["made"],
        "hosts_new": [name for name in now if name not in was],
        "hosts_gone": [name for name in was if name not in now],
        "findings_new": [one for before, after in both for one in _more(after, before)],
        "findings_gone": [one for before, after in both for one in _more(before, after)],
        "limits": [
            {"host": after["name"], "was": _limit(before), "is": _limit(after)}
            for before, after in both
            if _limit(before) != _limit(after)
        ],
        "states": [
            {"host": name, "was": was[name]["state"], "is": host["state"]}
            for name, host in now.items()
            if name in was and was[name]["state"] != host["state"]
        ],
    }
    return {**new, "since": changes}


def _more(one: model.Host, other: model.Host) -> Iterator[dict[str, Any]]:
    """Findings of the one, by id, that the other has not, or fewer of."""
    left = Counter(finding["id"] for finding in other["findings"])
    for finding in one["findings"]:
        if left[finding["id"]]:
            left[finding["id"]] -= 1
        else:
            yield {"host": one["name"], **{name: finding[name] for name in ("id", "severity", "seen")}}


def _limit(host: model.Host) -> int | None:
    return (host["table"] or {}).get("max")


def merged(reports: Sequence[model.Report], when: str) -> model.Report:
    """Of a host that is in several, what was read last; what was read before what was not."""
    hosts: dict[str, tuple[bool, str, model.Host]] = {}
    for report in reports:
        for host in report["hosts"]:
            ranked = (host["state"] in shape.ARRIVED, report["made"], host)
            if host["name"] not in hosts or ranked[:2] >= hosts[host["name"]][:2]:
                hosts[host["name"]] = ranked
    accepted = {json.dumps(one): one for report in reports for one in report["accepted"]}
    return {
        **model.made((host for _arrived, _when, host in hosts.values()), when),
        "accepted": list(accepted.values()),
        "merged": [{"made": report["made"], "hosts": len(report["hosts"])} for report in reports],
    }
