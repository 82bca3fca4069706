# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host is not as planned. Pure."""

import hashlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

from .. import kernel
from ..files import FIREWALLD, GROUP, IPTABLES, MODE, MODPROBE, OWNER
from ..outcome.fold import contested, differing_keys, folded, is_nobodys
from ..outcome.planned import planned, renewed, without
from ..values import Facts
from . import conflicts, owned
from .given import Given
from .plan import Drift, Plan

# By service, the line of its configuration that keeps it from unloading the module.
_KEEPS = {
    "firewalld": (FIREWALLD, "CleanupModulesOnExit=no"),
    "iptables": (IPTABLES, 'IPTABLES_MODULES_UNLOAD="no"'),
}


def with_drift(plan: Plan, host: Given) -> Plan:
    drift = list(_live_drift(plan, host)) if host.policy.apply and host.is_live else []
    refusals, warnings = list(plan.refusals), list(plan.warnings)
    for path, why in conflicts.exposed(host.facts).items():
        said = "{0}: {1}: what it says is passed over, though it is applied; make it and its folders root's".format(
            path, why
        )
        warnings += [said] if said not in warnings else []
    lines: List[Dict[str, str]] = []
    if plan.contents is not None and plan.files:
        drift += _file_drift(host, plan.contents)
        refusals += _unsafe(host, plan.files)
        refusals += _broken(plan.contents)
        foreseen = _foresee(plan, host)
        drift += foreseen.taken + foreseen.renewed
        warnings += foreseen.warnings
        lines += [_swap(one.name, one.found, one.wanted) for one in foreseen.taken]
        refusals += foreseen.refusals
        waiting = owned.live(host, plan)
        boot = foreseen.expected["boot"]
        plan = plan._replace(
            expected=foreseen.expected,
            reboot_needed=sorted(key for key, value in boot.items() if waiting.get(key) not in (None, value)),
        )
    if host.policy.firewall and not (host.is_tied("max") and host.policy.apply):
        services = list(_service_drift(host))
        drift += services
        lines += [_swap(one.name, one.found or "", one.wanted) for one in services]
    if drift and not host.facts["kernel"]["root"]:
        refusals.append("root is needed to change this host; run with --become")
    return plan._replace(
        drift=drift, lines=lines, warnings=warnings, refusals=refusals, converged=not (drift or refusals)
    )


class _Foreseen(NamedTuple):
    taken: List[Drift]  # lines that are to be commented out
    refusals: List[str]
    expected: Dict[str, Dict[str, int]]
    renewed: List[Drift] = []  # the initial RAM disk, where it is to be made anew
    warnings: List[str] = []


def _foresee(plan: Plan, host: Given) -> _Foreseen:
    """Boot and load as they will be with the planned files, before anything is written: what differs is taken over or refused."""
    expected = owned.expected(host, plan)
    if not {"assignments", "services", "timeouts", "switches"} <= set(host.facts):
        return _Foreseen(
            [], ["facts without table and persistence: what a boot and a load leave cannot be told"], expected
        )
    written = {key: value for key, value in owned.written(host, plan).items() if key not in owned.programs(host)}
    there = planned(_at_home(host), plan.contents or {})
    if "sized" in there["assignments"]:
        from .boot import foreknown

        there = foreknown(there)
    # What an initial RAM disk has is no line of somebody's: it can be made anew.
    future = renewed(there) if "ramdisk" in there["assignments"] else there
    contests = list(contested(future, dict(expected, applied=written if host.is_applied else {})))
    refusals = [conflicts.refusal(contest, host.policy.takeover) for contest in contests]
    taken = [
        Drift("line", str(line.file), line.text, "# " + line.text.strip(), conflicts.said(contest))
        for contest, refusal in zip(contests, refusals)
        for line in [contest.decision.line]
        if line is not None and not refusal
    ]
    gone = [(one.name, one.found) for one in taken]
    found = folded(without(future, gone))
    kept = {
        event: {
            key: value
            for key, value in keys.items()
            if key not in getattr(found, event) or not is_nobodys(future, getattr(found, event)[key])
        }
        for event, keys in expected.items()
    }
    refused = [refusal for refusal in refusals if refusal]
    if future is there:
        return _Foreseen(taken, refused, kept)
    behind = differing_keys(folded(without(there, gone)).boot, found.boot)
    disk = future["assignments"]["ramdisk"]
    if not behind:
        return _Foreseen(taken, refused, kept)
    said = "{0}: loads the module with its own copies of modprobe.d, so that {1} after the next boot".format(
        disk["path"], ", ".join(behind)
    )
    if host.policy.initramfs:
        return _Foreseen(taken, refused, kept, [Drift("ramdisk", disk["path"], None, disk["renew"], said)])
    kept["boot"] = {key: value for key, value in kept["boot"].items() if key not in behind}
    remedy = "{0}, not as planned until it is renewed: {1}, or set conntrack_initramfs=true".format(said, disk["renew"])
    return _Foreseen(taken, refused, kept, [], [remedy])


def _at_home(host: Given) -> Facts:
    """Of an image the command line and the programs are its builder's."""
    if host.policy.target != "image":
        return host.facts
    told = host.facts["assignments"]
    owners = [owner for owner in told["owners"] if owner["path"]]
    kept = {name: part for name, part in told.items() if name != "ramdisk"}
    return dict(host.facts, assignments=dict(kept, command_line=[], owners=owners))


def _unsafe(host: Given, files: List[str]) -> Iterator[str]:
    """Why root is not to write on this host."""
    others = conflicts.exposed(host.facts)
    for folder in sorted({path.rpartition("/")[0] for path in files} & set(others)):
        yield "{0}: {1}, so that root cannot write there safely; chown root, chmod go-w".format(folder, others[folder])


def _broken(contents: Mapping[str, str]) -> List[str]:
    """What modprobe would not take of the file that was rendered."""
    if MODPROBE not in contents:
        return []
    # Not needed where the kernel has connection tracking built in.
    from ..sources.modprobe import problems

    return problems(MODPROBE, contents[MODPROBE])


def _swap(path: str, found: str, wanted: str) -> Dict[str, str]:
    return {"path": path, "found": found, "wanted": wanted}


def _live_drift(plan: Plan, host: Given) -> List[Drift]:
    pairs = [
        ("hashsize", host.buckets, plan.buckets),
        (host.names.prefix + "max", host.max, plan.max),
        (host.names.prefix + "expect_max", host.expect_max, plan.expect_max),
    ]
    for name in sorted(plan.timeouts):
        pairs.append((host.names.prefix + kernel.timeout_key(name), host.timeouts.get(name), plan.timeouts[name]))
    pairs += [(host.names.prefix + name, host.switches.get(name), plan.switches[name]) for name in plan.switches]
    return [_drift("live", name, found, wanted) for name, found, wanted in pairs if found != wanted]


def _file_drift(host: Given, contents: Mapping[str, str]) -> List[Drift]:
    there = host.facts.get("files") or {}
    drift = []
    for path, text in contents.items():
        wanted = {
            "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
            "mode": MODE,
            "owner": OWNER,
            "group": GROUP,
        }
        found = {name: value for name, value in (there.get(path) or {}).items() if name in wanted}
        if found != wanted:
            differs = ", ".join(name for name in wanted if found.get(name) != wanted[name])
            said = "{0}: {1}".format(path, differs + " not as planned" if found else "not there")
            drift.append(Drift("file", path, found or None, wanted, said))
    return drift


def _drift(kind: str, name: str, found: Any, wanted: Any) -> Drift:
    return Drift(kind, name, found, wanted, "{0}: {1} found, {2} planned".format(name, found, wanted))


def _service_drift(host: Given) -> Iterator[Drift]:
    """Of firewalls that unload the module and would not with a line in place of another, or added: firewalld before 1.0 knows none,
    and what is persisted survives that too."""
    others = conflicts.exposed(host.facts)
    for line in (host.facts.get("assignments") or {}).get("unloading") or ():
        for name, (path, wanted) in _KEEPS.items():
            if line["path"] == path and path not in others and (host.services.get(name) or {}).get("unloads"):
                yield _drift("service", path, line["text"].strip() or None, wanted)
