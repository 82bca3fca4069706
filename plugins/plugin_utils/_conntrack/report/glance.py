# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet at a glance: how many hosts are how. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import SEVERITIES
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape

# Shares of the limit, each up to and without the next; the last is a full table.
_USES = (
    (0, "below 1 %"),
    (0.01, "1 to 25 %"),
    (0.25, "25 to 50 %"),
    (0.5, "50 to 75 %"),
    (0.75, "75 to 95 %"),
    (0.95, "95 % and more"),
)
NOT_KNOWN = "not known"
NONE = "none"
NEITHER = "neither"
# Of hosts and owners that are named one by one.
MOST_NAMED = 12


class Bar(NamedTuple):
    label: str
    number: int
    kind: str = ""  # of a severity, which has a colour
    choice: str = ""  # what the page's table is narrowed down to by it: column=value


class Glance(NamedTuple):
    title: str
    bars: list[Bar]
    unit: str = "hosts"


def glances(report: model.Report) -> list[Glance]:
    hosts = report["hosts"]
    return [
        Glance("Hosts by worst finding", _worst(hosts)),
        Glance("What arrived", _counted(hosts, lambda host: [host["state"]], shape.STATES, "state")),
        Glance("Share of the limit in use", _uses(hosts)),
        Glance("Who loses settings", _losers(hosts)),
        Glance("Packets dropped since boot", _drops(hosts), "packets"),
        Glance("Findings", _findings(hosts)),
        Glance("Who else writes the keys", _owners(hosts)),
    ]


def counted(report: model.Report) -> str:
    number = len(report["hosts"])
    return f"{number} {'host' if number == 1 else 'hosts'}"


def limit_after(host: model.Host, event: str) -> int | None:
    return next((one["value"] for one in host[event] if one["key"].endswith("conntrack_max")), None)


def _worst(hosts: Iterable[model.Host]) -> list[Bar]:
    counts = Counter(host["worst"] or (NONE if host["state"] in shape.ARRIVED else "not read") for host in hosts)
    return [
        Bar(name, counts[name], name if name in SEVERITIES else "", f"worst={name}")
        for name in (*SEVERITIES, NONE, "not read")
    ]


def _counted(
    hosts: Iterable[model.Host], of: Callable[[model.Host], Iterable[str]], names: Iterable[str], column: str
) -> list[Bar]:
    counts = Counter(value for host in hosts for value in of(host))
    return [Bar(name, counts[name], "", f"{column}={name}") for name in names]


def _uses(hosts: Iterable[model.Host]) -> list[Bar]:
    counts: Counter[str] = Counter()
    for host in hosts:
        usage = (host["table"] or {}).get("usage")
        counts[NOT_KNOWN if usage is None else [name for least, name in _USES if least <= usage][-1]] += 1
    kinds = {"75 to 95 %": "warning", "95 % and more": "critical"}
    return [Bar(name, counts[name], kinds.get(name, "")) for name in (*(name for _least, name in _USES), NOT_KNOWN)]


def _losers(hosts: Iterable[model.Host]) -> list[Bar]:
    return _counted(hosts, loses, ("boot", "reload", NEITHER, NOT_KNOWN), "loses")


def loses(host: model.Host) -> list[str]:
    """At which events; of a host that was not read that is not known."""
    return host["loses"] or [NEITHER if host["state"] in shape.ARRIVED else NOT_KNOWN]


def _drops(hosts: Iterable[model.Host]) -> list[Bar]:
    dropping = [((host["drops"] or {}).get("packets") or 0, host["name"]) for host in hosts]
    most = sorted((-packets, name) for packets, name in dropping if packets)
    found = [Bar(name, -packets, "", f"host={name}") for packets, name in most[:MOST_NAMED]]
    rest = most[MOST_NAMED:]
    return found + ([Bar(f"{len(rest)} more", -sum(packets for packets, _name in rest))] if rest else [])


def _findings(hosts: Iterable[model.Host]) -> list[Bar]:
    """On how many hosts each is that nobody has accepted, and how bad it is where it is worst."""
    counts: Counter[str] = Counter()
    severities: dict[str, str] = {}
    for host in hosts:
        found = [(one["id"], one["severity"]) for one in host["findings"] if not one["accepted"]]
        for name, severity in found:
            severities[name] = min(severities.get(name, severity), severity, key=SEVERITIES.index)
        counts.update({name for name, _severity in found})
    ordered = sorted(counts, key=lambda name: (SEVERITIES.index(severities[name]), -counts[name], name))
    return [Bar(name, counts[name], severities[name], f"finding={name}") for name in ordered]


def _owners(hosts: Iterable[model.Host]) -> list[Bar]:
    counts = Counter(name for host in hosts for name in {owner["name"] for owner in host["owners"]})
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = [Bar(name, number, "", f"owner={name}") for name, number in found[:MOST_NAMED]]
    rest = found[MOST_NAMED:]
    return bars + ([Bar(f"{len(rest)} more", sum(number for _name, number in rest))] if rest else [])


def summary(report: model.Report) -> list[str]:
    """A few lines for a terminal."""
    hosts: list[dict[str, Any]] = report["hosts"]
    worsts = ", ".join(f"{one.number} {one.label}" for one in _worst(hosts) if one.number)
    said = [f"{counted(report)}: {worsts}"]
    accepted = sum(bool(finding["accepted"]) for host in hosts for finding in host["findings"])
    over = sum(one["over"] for one in report["accepted"])
    if report["accepted"]:
        said.append(f"accepted: {accepted} findings; {over} of {len(report['accepted'])} acceptances are over")
    since = report["since"]
    if since:
        said.append(
            "since {made}: {0} findings new, {1} gone; {2} hosts new, {3} gone; {4} limits moved".format(
                *(len(since[part]) for part in ("findings_new", "findings_gone", "hosts_new", "hosts_gone", "limits")),
                made=since["made"],
            )
        )
    return said
