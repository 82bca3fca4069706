# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill: which events a host can be put through, and whether what was set is still there afterwards. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.spelling import misspelt
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    PolicyError,
    Reader,
    Wrong,
    problem,
    read_each,
    truth,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import columns, in_order, said

# Where a host is reached through one of these, no firewall can lock the way back.
WITHOUT_NETWORK = {
    "chroot",
    "docker",
    "docker_api",
    "incus",
    "libvirt_lxc",
    "libvirt_qemu",
    "local",
    "lxc",
    "lxd",
    "nsenter",
    "podman",
}
# In the order in which they are run.
EVENTS = ("firewall", "reload", "reboot")
_AFTER = {"before": "before", "firewall": "firewall restart", "reload": "module reload", "reboot": "reboot"}
_LIMITS = {"max": "limit (entries)", "buckets": "buckets", "expect_max": "expectations"}
_SECONDS = " (s)"


class Asked(NamedTuple):
    """The playbook's variables without their prefix, and their defaults: without being asked, nothing is done."""

    firewall: bool = False
    reload: bool = False
    reboot: bool = False
    out_of_band: bool = False
    id: str = ""


# Of a run; also the name of a folder on the host.
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Wrong("expected what the run that is asked for has named itself, as 20260101T120000Z-0123abcd")
    return str(value)


_PREFIX = "drill_"
_READERS: dict[str, Reader] = {_PREFIX + field: truth for field in Asked._fields}
_READERS[_PREFIX + "id"] = _id


class Plan(NamedTuple):
    """What a drill does on one host."""

    events: list[str]
    firewalls: list[str]
    said: list[str]
    refusals: list[str]
    id: str


class Verdict(NamedTuple):
    """Whether everything was kept, the table that shows it, and what is to be said of it."""

    kept: bool
    table: list[str]
    said: list[str]


def read(variables: Mapping[str, Any], connection: str, names: Iterable[str] = ()) -> Asked:
    """What ``variables`` (drill_firewall and so on) ask for on a host that is reached by ``connection``.

    None and the empty string are unset. ``names`` are those of further variables; one that is nearly one of the playbook's is
    wrong. Raises PolicyError.
    """
    found, wrong = read_each(variables, _READERS)
    problems = list(wrong.values()) + misspelt(names, _READERS)
    if problems:
        raise PolicyError(problems)
    asked = Asked(**{name[len(_PREFIX) :]: value for name, value in found.items()})
    if asked.id:
        return asked
    first = next((event for event in EVENTS if getattr(asked, event)), None)
    networked = connection.rpartition(".")[2] not in WITHOUT_NETWORK
    if first and networked and not asked.out_of_band:
        raise PolicyError(
            [
                problem(
                    "drill_" + first,
                    True,
                    "this host is reached by {0} alone, and rules that come back differently would lock it; if it has a "
                    "console or another way back, say so with drill_out_of_band=true".format(connection),
                )
            ]
        )
    if asked.reboot and not networked:
        raise PolicyError(
            [
                problem(
                    "drill_reboot",
                    True,
                    "this host is reached by connection {0}, which a reboot would end together with this run; "
                    "drill it over SSH, or leave drill_reboot out".format(connection),
                )
            ]
        )
    return asked


def plan(facts: Facts, asked: Asked, check: bool) -> Plan:
    """The events for a host with these facts, and a sentence for each, those that are not run included."""
    active = firewalls(facts)
    names = _words(active)
    reload = "unload nf_conntrack with all that needs it, load it"
    deeds = {
        "firewall": "restart {0}".format(names),
        "reload": "stop {0}, {1}, start {0}".format(names, reload) if active else reload,
        "reboot": "reboot",
    }
    events = []
    lines = []
    for event in EVENTS:
        obstacle = _obstacle(event, facts, active)
        if asked.id:
            lines.append("drill_{0}: not done: how it ended in run {1} is read".format(event, asked.id))
        elif obstacle:
            lines.append("drill_{0}: nothing to do: {1}".format(event, obstacle))
        elif not getattr(asked, event):
            lines.append("drill_{0}: not asked for; drill_{0}=true would {1}".format(event, deeds[event]))
        elif check:
            lines.append("drill_{0}: check mode, not done: {1}".format(event, deeds[event]))
        else:
            lines.append("drill_{0}: {1}".format(event, deeds[event]))
            events.append(event)
    lacks_root = events and not facts["kernel"]["root"]
    refusals = ["root is needed to {0}; run with --become".format(deeds[events[0]])] if lacks_root else []
    return Plan(events, active, lines, refusals, asked.id)


def firewalls(facts: Facts) -> list[str]:
    """The units of the firewalls that are active."""
    services = facts.get("services") or {}
    names = ("firewalld", "iptables", "netfilter_persistent", "nftables", "ufw")
    return [name.replace("_", "-") for name in names if (services.get(name) or {}).get("active")]


def _obstacle(event: str, facts: Facts, active: list[str]) -> str | None:
    if facts["state"] == "absent":
        return "no connection tracking in this kernel"
    if event == "firewall":
        return None if active else "no firewall service is active"
    if not facts["kernel"]["init_netns"] or facts["kernel"]["container"]:
        return "this is a container; drill its host"
    if event == "reload" and facts["state"] != "loaded":
        return {"builtin": "built into this kernel, it cannot be unloaded"}.get(facts["state"], "it is not loaded")
    return None


def _words(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def verdict(readings: list[Mapping[str, Any]], name: str) -> Verdict:
    """What became of a host's values. A reading is the facts after an event and how that ended: "done", or what went wrong.

    A value has moved when after any event it is not what it was when it was first known.
    """
    events = [reading["event"] for reading in readings]
    paths = sorted({path for reading in readings for path in reading["facts"].get("files") or {}})
    found = [_values(reading["facts"], paths) for reading in readings]
    rows: list[tuple[str, ...]] = [("value",) + tuple(_AFTER[event] for event in events) + ("",)]
    moved: dict[str, list[str]] = {}
    for label in _labels(found, paths):
        values = [one.get(label) for one in found]
        event = _moved_by(values, events)
        if event:
            moved.setdefault(event, []).append(label)
        rows.append((label,) + tuple(said(value) for value in values) + ("<-" if event else "",))
    notes = ["MOVED by the {0}: {1}".format(_AFTER[event], ", ".join(moved[event])) for event in moved]
    changed = _changed(readings)
    if changed:
        # Whose doing it is that a value has moved, or that it has not, is not known then.
        notes = [
            "CHANGED meanwhile by another run ({0}): what the events did cannot be told; drill again".format(changed)
        ]
    elif moved:
        notes.append(
            "What to do: the last column is what {0} has now. Set and persist what is planned with "
            "ansible-playbook headroom.netfilter.tune -i INVENTORY --limit {0}, then drill again.".format(name)
        )
    for reading in readings:
        if reading["end"] != "done":
            notes.append("NOT DONE, {0}: {1}".format(_AFTER[reading["event"]], reading["end"]))
    kept = not notes
    if kept:
        notes.append(
            "kept: after {0}, all {1} values are what they were.".format(
                _words([_AFTER[event] for event in events[1:]]), len(rows) - 1
            )
        )
    return Verdict(kept, [name] + columns(rows), notes)


def _changed(readings: list[Mapping[str, Any]]) -> str:
    """The change that another run has made between two readings, and whose it is; nothing where there is none."""
    last = [(reading["facts"].get("history") or {}).get("last") or {} for reading in readings]
    later = next((one for one in last if one.get("id") != last[0].get("id")), None)
    return "{0}, of {1}".format(later.get("id"), later.get("who")) if later else ""


def _moved_by(values: list[Any], events: list[str]) -> str | None:
    """The first event after which a value is another one, or none."""
    known = next((value for value in values if value is not None), None)
    start = values.index(known)
    return next((event for value, event in zip(values[start:], events[start:]) if value != known), None)


def _labels(found: list[dict[str, Any]], paths: list[str]) -> list[str]:
    """The labels of all rows, limits first."""
    labels = {label for values in found for label in values}
    timeouts = {label[: -len(_SECONDS)] for label in labels if label.endswith(_SECONDS)}
    limits = [label for label in _LIMITS.values() if label in labels]
    switches = [name for name in kernel.SWITCHES if name in labels]
    return limits + [name + _SECONDS for name in in_order(timeouts)] + switches + paths


def _values(facts: Facts, paths: list[str]) -> dict[str, Any]:
    """What is compared, by its label."""
    table = facts.get("table") or {}
    found = {label: table[name] for name, label in _LIMITS.items() if name in table}
    found.update((name + _SECONDS, seconds) for name, seconds in (facts.get("timeouts") or {}).items())
    found.update(facts.get("switches") or {})
    files = facts.get("files") or {}
    for path in paths:
        found[path] = _file(files[path]) if path in files else "absent"
    return found


def _file(file: Mapping[str, str]) -> str:
    """Enough to see what became of it; nearly all are root's."""
    owners = "{owner}:{group}".format(**file)
    return "{sha256:.8} {mode}".format(**file) + ("" if owners == "root:root" else " " + owners)
