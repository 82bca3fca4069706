# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What should be: facts and policy -> plan, each number with its reason; and what differs. Pure.

Refusals are for what would be unsafe on this host, warnings for what its owner should know.
"""

import hashlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .. import kernel
from ..files import FIREWALLD, GROUP, IPTABLES, MODE, MODPROBE, MODULES_LOAD, OWNER, SYSCTL, UDEV
from ..profiles import PROFILES, RFC_FLOORS, below_floors
from ..values import Facts
from . import conflicts
from .policy import Policy, floor_conflict, timeouts_of
from .sizing import Host, buckets_of, expectations_of, held_buckets, held_limit, limit_of, not_lowered, tied_buckets


class Drift(NamedTuple):
    """One thing that is not as planned."""

    kind: str  # live, file, service, line (of another's file) or outcome (of a boot or a load)
    name: str  # dotted sysctl name, hashsize, or path
    found: Any
    wanted: Any
    said: str  # in words
    regexp: Optional[str] = None  # what finds the line of a service's file, or of another's, that ``wanted`` replaces


class Plan(NamedTuple):
    max: Optional[int]  # entries
    buckets: Optional[int]
    hashsize: Optional[int]  # what modprobe.d says, so that a load gives ``buckets``
    expect_max: Optional[int]  # expectations; None where the kernel has no such key
    timeouts: Dict[str, int]  # seconds
    full_bytes: Optional[int]
    sysctl: Dict[str, int]  # dotted names in the order they are written
    files: List[str]  # what this host needs
    templates: List[str]  # of the role, one for each of the files
    contents: Optional[Dict[str, str]]  # of the files by path, as rendered; None before they are
    systemd_sysctl: Optional[str]  # the path that the udev rule calls
    live: Dict[str, Any]  # options of conntrack_settings: what can be and is to be written now
    reasons: Dict[str, str]
    warnings: List[str]
    refusals: List[str]
    drift: List[Drift]
    converged: bool  # neither drift nor refusals


def make(facts: Facts, policy: Policy, contents: Optional[Mapping[str, str]] = None) -> Plan:
    """The plan for the host that ``facts`` tell of; with the rendered files, their drift too."""
    if facts["state"] == "absent":
        return _nothing()
    host = Host(facts, policy)
    held = conflicts.held(facts) if policy.apply else {}
    limit = not_lowered(host, held_limit(host, limit_of(host), held), host.max)
    buckets = not_lowered(host, held_buckets(host, buckets_of(host, limit.value), held), host.buckets)
    persisted = buckets.value
    expectations = not_lowered(host, expectations_of(host, persisted), host.expect_max)
    if host.is_tied("buckets") and policy.apply:
        buckets = tied_buckets(host, limit.value)
    timeouts, reasons, warnings, refusals = _timeouts(host, held)
    warnings = list(limit.warnings) + list(buckets.warnings) + warnings
    refusals = list(limit.refusals) + list(buckets.refusals) + refusals
    reasons = dict({"max": limit.reason, "buckets": buckets.reason, "expect_max": expectations.reason}, **reasons)
    files = _files(host)
    full = None
    if limit.value and buckets.value:
        full = kernel.full_bytes(limit.value, buckets.value, host.entry, host.pointer)
    plan = Plan(
        max=limit.value,
        buckets=buckets.value,
        hashsize=persisted,
        expect_max=expectations.value,
        timeouts=timeouts,
        full_bytes=full,
        sysctl=_sysctl(host, limit.value, persisted, expectations.value, timeouts),
        files=files,
        templates=[path.lstrip("/") + ".j2" for path in files],
        contents=None if contents is None else {path: contents[path] for path in files},
        systemd_sysctl=host.systemd_sysctl,
        # What is the host's is left alone, whatever it is: 0, no limit, among it.
        live={
            "max": None if host.is_tied("max") else limit.value,
            "buckets": None if host.is_tied("buckets") else buckets.value,
            "expect_max": None if host.is_tied("max") else expectations.value,
            "timeouts": timeouts,
        },
        reasons=reasons,
        warnings=warnings,
        refusals=refusals,
        drift=[],
        converged=True,
    )
    return _with_drift(plan, host)


def recheck(earlier: Plan, facts: Facts, policy: Policy) -> Plan:
    """``earlier``, made for this host, against facts read since: its numbers stand, and its drift is what still differs."""
    return _with_drift(earlier, Host(facts, policy))


def _nothing() -> Plan:
    reason = "this kernel has no connection tracking: there is no table that could fill up"
    return Plan(None, None, None, None, {}, None, {}, [], [], {}, None, {}, {"max": reason}, [], [], [], True)


# The timeouts.


def _timeouts(
    host: Host, held: Mapping[str, conflicts.Held]
) -> Tuple[Dict[str, int], Dict[str, str], List[str], List[str]]:
    policy = host.policy
    wanted = timeouts_of(policy)
    choices = PROFILES[policy.timeout_profile].choices
    warnings: List[str] = []
    refusals: List[str] = []
    if host.is_live:
        missing = sorted(name for name in policy.timeouts if name not in host.timeouts)
        if missing:
            warnings.append("conntrack_timeouts: this kernel has no {0}; not written".format(", ".join(missing)))
        wanted = {name: wanted[name] for name in wanted if name in host.timeouts}
    reasons = {}
    for name in wanted:
        reasons[name] = "conntrack_timeouts" if name in policy.timeouts else choices[name].reason
        owner = held.get(host.names.prefix + kernel.timeout_key(name))
        if not owner or owner.value == wanted[name]:
            continue
        said = "{0} sets it to {1} at each of its starts".format(owner.owner, owner.value)
        if name in policy.timeouts:
            refusals.append(
                "conntrack_timeouts: {0}: {1} asked for, but {2}; ask for {3}, leave it out, or {4}".format(
                    name, wanted[name], said, owner.value, owner.remedy
                )
            )
            continue
        reasons[name] = said
        warnings.append("{0}: {1} would be planned, but {2}; {3}".format(name, wanted[name], said, owner.remedy))
        wanted[name] = owner.value
    if host.facts["kernel"]["nat"] or policy.timeout_profile == "gateway":
        _apply_floors(host, held, wanted, reasons, warnings, refusals)
    if host.is_tied("timeouts") and policy.apply:
        for name in sorted(wanted):
            if name in policy.timeouts and wanted[name] != host.timeouts[name]:
                refusals.append(
                    "conntrack_timeouts: {0}: {1} asked for, {2} found, and {3}".format(
                        name, wanted[name], host.timeouts[name], host.why_tied()
                    )
                )
        wanted = {name: host.timeouts[name] for name in wanted}
        reasons = dict.fromkeys(wanted, "left as it is: " + host.why_tied())
    return wanted, reasons, warnings, refusals


def _apply_floors(
    host: Host,
    held: Mapping[str, conflicts.Held],
    wanted: Dict[str, int],
    reasons: Dict[str, str],
    warnings: List[str],
    refusals: List[str],
) -> None:
    policy = host.policy
    low = below_floors(wanted)
    if policy.rfc_floors == "warn" and low:
        warnings.append(
            "addresses are translated here, and these timeouts are below what the RFCs ask of a NAT: {0}; "
            "use conntrack_timeout_profile=gateway, conntrack_rfc_floors=enforce, or =ignore".format(
                ", ".join("{0} {1} (at least {2}, {3})".format(name, wanted[name], *RFC_FLOORS[name]) for name in low)
            )
        )
    if policy.rfc_floors == "enforce":
        for name in low:
            owner = held.get(host.names.prefix + kernel.timeout_key(name))
            if owner and owner.value == wanted[name]:
                refusals.append(
                    "{0}: {1}, but {2}; {3}".format(name, reasons[name], floor_conflict(name), owner.remedy)
                )
            elif name in policy.timeouts:
                refusals.append("conntrack_timeouts: {0}: {1}: {2}".format(name, wanted[name], floor_conflict(name)))
            else:
                wanted[name] = RFC_FLOORS[name].seconds
                reasons[name] = RFC_FLOORS[name].source + ", as addresses are translated here"


# What is written.


def _sysctl(
    host: Host, limit: Optional[int], buckets: Optional[int], expectations: Optional[int], timeouts: Dict[str, int]
) -> Dict[str, int]:
    """Buckets first, where modprobe.d cannot say them: a limit is never in force with too few."""
    keys: Dict[str, int] = {}
    if host.facts["state"] == "builtin" and buckets:
        keys[host.names.prefix + "buckets"] = buckets
    if limit:
        keys[host.names.prefix + "max"] = limit
    if expectations:
        keys[host.names.prefix + "expect_max"] = expectations
    for name in sorted(timeouts):
        keys[host.names.prefix + kernel.timeout_key(name)] = timeouts[name]
    return keys


def _files(host: Host) -> List[str]:
    policy = host.policy
    if host.is_tied("max") and policy.apply:
        return []
    if host.facts["state"] == "builtin" and policy.apply:
        return [SYSCTL]
    udev = [UDEV] if host.systemd_sysctl else []
    return [SYSCTL, MODPROBE, MODULES_LOAD] + udev


# What differs.


def _with_drift(plan: Plan, host: Host) -> Plan:
    drift = list(_live_drift(plan, host)) if host.policy.apply and host.is_live else []
    refusals, warnings = list(plan.refusals), list(plan.warnings)
    for path, why in conflicts.exposed(host.facts).items():
        said = "{0}: {1}: what it says is passed over, though it is applied; make it and its folders root's".format(
            path, why
        )
        warnings += [said] if said not in warnings else []
    if plan.contents is not None:
        files = _file_drift(host, plan.contents)
        lines = conflicts.lines(host.facts, _persisted(plan))
        refusals += _unsafe(host, plan.files)
        refused = [conflicts.refusal(line, host.policy.takeover) for line in lines]
        drift += files + [_line(line) for line, refusal in zip(lines, refused) if not refusal]
        refusals += [refusal for refusal in refused if refusal]
        refusals += _broken(plan.contents)
        # Before the files are right, what will be is not yet what they make it.
        if not (files or lines or refusals):
            drift += _outcome_drift(plan, host)
    if host.policy.firewall and not (host.is_tied("max") and host.policy.apply):
        drift += _service_drift(host)
    if drift and not host.facts["kernel"]["root"]:
        refusals.append("root is needed to change this host; run with --become")
    return plan._replace(drift=drift, warnings=warnings, refusals=refusals, converged=not (drift or refusals))


def _unsafe(host: Host, files: List[str]) -> Iterator[str]:
    """Why root is not to write on this host, or cannot know what for."""
    others = conflicts.exposed(host.facts)
    for folder in sorted({path.rpartition("/")[0] for path in files} & set(others)):
        yield "{0}: {1}, so that root cannot write there safely; chown root, chmod go-w".format(folder, others[folder])
    more = (host.facts.get("left_out") or {}).get("outcome.overriding")
    if more:
        yield "outcome.overriding: {0} more lines win over the role's own than are told; take some out".format(more)


def _broken(contents: Mapping[str, str]) -> List[str]:
    """What modprobe would not take of the file that was rendered."""
    if MODPROBE not in contents:
        return []
    # Not needed where the kernel has connection tracking built in.
    from ..sources.modprobe import problems

    return problems(MODPROBE, contents[MODPROBE])


def _persisted(plan: Plan) -> Dict[str, int]:
    """By key, what has to come back."""
    wanted = dict(plan.sysctl) if SYSCTL in plan.files else {}
    if MODPROBE in plan.files and plan.hashsize:
        wanted["hashsize"] = plan.hashsize
    return wanted


def _line(line: conflicts.Line) -> Drift:
    regexp, wanted = conflicts.commented_out(line)
    return Drift("line", line.path, line.text, wanted, line.said, regexp)


def _outcome_drift(plan: Plan, host: Host) -> List[Drift]:
    """Only where systemd-sysctl applies the files: how other systems boot is not known well enough to fail for it."""
    if not host.systemd_sysctl:
        return []
    wanted = _persisted(plan)
    return [
        Drift("outcome", key, found, wanted[key], said) for key, found, said in conflicts.differing(host.facts, wanted)
    ]


def _live_drift(plan: Plan, host: Host) -> List[Drift]:
    pairs = [
        ("hashsize", host.buckets, plan.buckets),
        (host.names.prefix + "max", host.max, plan.max),
        (host.names.prefix + "expect_max", host.expect_max, plan.expect_max),
    ]
    for name in sorted(plan.timeouts):
        pairs.append((host.names.prefix + kernel.timeout_key(name), host.timeouts.get(name), plan.timeouts[name]))
    return [_drift("live", name, found, wanted) for name, found, wanted in pairs if found != wanted]


def _file_drift(host: Host, contents: Mapping[str, str]) -> List[Drift]:
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


def _service_drift(host: Host) -> List[Drift]:
    """firewalld before 1.0 has no such setting, and unloads always: what is persisted survives that too."""
    drift = []
    firewalld = host.services.get("firewalld") or {}
    cleans = firewalld.get("cleanup_modules_on_exit")
    others = conflicts.exposed(host.facts)
    if FIREWALLD not in others and cleans is not None and cleans.lower() not in ("no", "false"):
        drift.append(_service(FIREWALLD, "CleanupModulesOnExit", cleans, "no"))
    iptables = host.services.get("iptables") or {}
    unloads = iptables.get("modules_unload")
    if IPTABLES not in others and unloads is not None and unloads.lower() != "no":
        drift.append(_service(IPTABLES, "IPTABLES_MODULES_UNLOAD", unloads, '"no"'))
    return drift


def _service(path: str, name: str, found: str, wanted: str) -> Drift:
    drift = _drift("service", path, name + "=" + found, name + "=" + wanted)
    return drift._replace(regexp=r"^\s*" + name + r"\s*=")
