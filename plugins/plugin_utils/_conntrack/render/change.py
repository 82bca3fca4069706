# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan with the files that it is to write, and what of it a host is asked to do: options of conntrack_settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files, kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.boot import of_boot
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.drift import with_drift
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, Wrong
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import rendered
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit

# Options of conntrack_settings for single live values, and where the facts have them.
SINGLE = ("max", "buckets", "expect_max")


def planned(facts: Facts, policy: Policy, compare: make.Compare = with_drift) -> Plan:
    try:
        return make.make(facts, policy, lambda plan: _rendered(plan, policy), compare)
    except Wrong as wrong:
        plan = make.make(facts, policy, compare=compare)
        refusals = [f"conntrack_size_at_boot: true, but {line}" for line in str(wrong).split("\n")]
        return plan._replace(refusals=plan.refusals + refusals, converged=False)


def _rendered(plan: Plan, policy: Policy) -> dict[str, str]:
    contents = rendered(plan)
    if files.SIZER in plan.files:
        contents[files.SIZER] = script(of_boot(policy))
    return {path: contents[path] for path in plan.files}


def planned_as_asked(facts: Any, variables: Mapping[str, Any], names: Iterable[str] = ()) -> tuple[Plan, Policy]:
    """By the role's variables. Input that no host could make good is refused in the plan like what this host cannot.

    Raises Misfit where the facts are none of this collection's.
    """
    try:
        facts = FACTS(facts)
    except Misfit as misfit:
        raise misfit.within("ansible_facts.conntrack") from None
    try:
        policy = read(variables, names)
    except PolicyError as error:
        policy = Policy(apply=False, firewall=False)
        return make.make(facts, policy)._replace(refusals=error.problems, converged=False), policy
    return planned(facts, policy), policy


def files_only(policy: Policy) -> bool:
    """Whether what is read is a builder's, whose live values are nobody's concern."""
    return policy.target == "image" or not policy.apply


def settings(plan: Plan, facts: Facts, policy: Policy) -> dict[str, Any]:
    """All that differs, with what the plan has seen there, and what is to be proved."""
    there = facts.get("files") or {}
    written = [drift.name for drift in plan.drift if drift.kind == "file"]
    contents = plan.contents or {}
    return {
        "files": [
            {"path": path, "content": contents[path], "found": there[path]["sha256"] if path in there else ""}
            for path in written
        ],
        "lines": plan.lines,
        **_live(plan, facts, policy),
        "expected": plan.expected,
        "refusals": plan.refusals,
        "takeover": policy.takeover,
        "initramfs": any(drift.kind == "ramdisk" for drift in plan.drift),
        "shrink": policy.shrink,
        "target": policy.target,
    }


def raising(live: Mapping[str, Any], facts: Facts) -> dict[str, int]:
    """Of a plan's live values those that are higher than what is, where there is a table now."""
    table = facts.get("table") or {}
    if not _is_loaded(facts):
        return {}
    wanted = {name: live.get(name) for name in SINGLE}
    return {name: value for name, value in wanted.items() if value and table.get(name) and value > table[name]}


def _live(plan: Plan, facts: Facts, policy: Policy) -> dict[str, Any]:
    """Also those that are right: the plan holds with all of them, or is to be made anew."""
    if files_only(policy) or not _is_loaded(facts):
        return {}
    asked = {name: value for name, value in plan.live.items() if value is not None}
    table, timeouts = facts.get("table") or {}, facts.get("timeouts") or {}
    prefix = kernel.FLAVOURS[facts["flavour"]].prefix
    keys = {"max": prefix + "max", "buckets": "hashsize", "expect_max": prefix + "expect_max"}
    found = {keys[name]: table.get(name) for name in SINGLE if name in asked}
    found.update({prefix + kernel.timeout_key(name): timeouts.get(name) for name in asked.get("timeouts", {})})
    found.update({prefix + name: (facts.get("switches") or {}).get(name) for name in asked.get("switches", {})})
    return {**asked, "found": {key: value for key, value in found.items() if value is not None}}


def _is_loaded(facts: Facts) -> bool:
    return facts["state"] in ("loaded", "builtin")
