# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host is not as planned. Pure."""

import hashlib
from typing import Any, Dict, Iterator, List, Mapping

from .. import kernel
from ..files import FIREWALLD, GROUP, IPTABLES, MODE, MODPROBE, OWNER, SYSCTL
from . import conflicts
from .plan import Drift, Plan
from .sizing import Given


def with_drift(plan: Plan, host: Given) -> Plan:
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


def _unsafe(host: Given, files: List[str]) -> Iterator[str]:
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


def _outcome_drift(plan: Plan, host: Given) -> List[Drift]:
    """Only where systemd-sysctl applies the files: how other systems boot is not known well enough to fail for it."""
    if not host.systemd_sysctl:
        return []
    wanted = _persisted(plan)
    return [
        Drift("outcome", key, found, wanted[key], said) for key, found, said in conflicts.differing(host.facts, wanted)
    ]


def _live_drift(plan: Plan, host: Given) -> List[Drift]:
    pairs = [
        ("hashsize", host.buckets, plan.buckets),
        (host.names.prefix + "max", host.max, plan.max),
        (host.names.prefix + "expect_max", host.expect_max, plan.expect_max),
    ]
    for name in sorted(plan.timeouts):
        pairs.append((host.names.prefix + kernel.timeout_key(name), host.timeouts.get(name), plan.timeouts[name]))
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


def _service_drift(host: Given) -> List[Drift]:
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
