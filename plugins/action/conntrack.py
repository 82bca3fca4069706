# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action conntrack: reads a host, plans, has what differs done in one transaction there, and tells what was, is and was planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import loading
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    PolicyError,
    Wrong,
    problem,
    truth,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import short
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import modprobe, udev
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts, as_dict
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import BY_MODULE
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.confirming import new_id, persistently, who
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.guard import Guard, handed_on
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import change, files

# The one option that is no variable of the role.
PLAN_ONLY = "plan_only"
# How often is planned anew what has changed since it was read.
MOST_PLANS = 3

Result = dict[str, Any]

# ansible-core loads an action before it forks the workers of its task. What plans ask for late is loaded with it, for all of them.
PRELOADED = (loading, modprobe, udev)
files.prepare()


class Failed(Exception):
    """The host has failed, with this result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.get("msg"))
        self.result = result


class ActionModule(Guard):
    def _handed(self, task_vars: dict[str, Any]) -> Result:
        self._warned: list[str] = []
        try:
            plan_only = self._plan_only()
            policy = self._policy(task_vars)
            if plan_only:
                result = self._planned(policy, task_vars)
            else:
                result = self._undone(task_vars) if policy.state == "absent" else self._converged(policy, task_vars)
        except Failed as failed:
            result = failed.result
        return {**result, "warnings": self._warned} if self._warned else result

    def _plan_only(self) -> bool:
        try:
            return truth(self._task.args.get(PLAN_ONLY, False))
        except Wrong as wrong:
            raise Failed(refused([problem(PLAN_ONLY, self._task.args[PLAN_ONLY], str(wrong))])) from None

    def _policy(self, task_vars: dict[str, Any]) -> Policy:
        strange = sorted(str(name) for name in self._task.args if name not in (*Policy._fields, PLAN_ONLY))
        if strange:
            said = f"there is no option {', '.join(map(short, strange))}; there are {', '.join((*Policy._fields, PLAN_ONLY))}"
            raise Failed(refused([said]))
        # Variables that are nearly the role's are its caller's slips; of another's task they are nobody's concern.
        names = task_vars if self._task._role else ()
        asked = {
            **self._variables(task_vars),
            **{f"conntrack_{name}": value for name, value in self._task.args.items() if name != PLAN_ONLY},
        }
        try:
            return read(asked, names)
        except PolicyError as error:
            raise Failed(refused(error.problems)) from None

    def _variables(self, task_vars: Mapping[str, Any]) -> Result:
        """Those of the role, for what is not given as an option. A task that handed them in would have ansible-core compile a template
        for each on each host, which takes longer than the plan."""
        names = {f"conntrack_{name}" for name in Policy._fields if name not in self._task.args}
        found = self._templar.template({name: task_vars[name] for name in sorted(names & task_vars.keys())})
        # Before ansible-core 2.19, omit is a text that a variable of that name has.
        return {name: value for name, value in found.items() if value != task_vars.get("omit")}

    def _converged(self, policy: Policy, task_vars: dict[str, Any]) -> Result:
        """Plans anew what has changed since it was read, a few times."""
        for _again in range(MOST_PLANS - 1):
            try:
                return self._once(policy, task_vars)
            except Failed as failed:
                if not failed.result.get("stale"):
                    raise
        return self._once(policy, task_vars)

    def _planned(self, policy: Policy, task_vars: dict[str, Any]) -> Result:
        """What would be done, of a host that is only read."""
        facts: Facts = self._run("conntrack_facts", {}, task_vars)["ansible_facts"]["conntrack"]
        if policy.state == "absent":
            history = facts["history"]
            pending = bool(history["unfinished"] or history["last"])
            return {"changed": False, "checked": True, "pending": pending, "refusals": []}
        plan = change.planned(facts, policy)
        expires = policy.expire_existing and not change.files_only(policy)
        pending = bool(plan.drift or plan.refusals or facts["history"]["unfinished"] or expires)
        checked = pending or bool(self._task.check_mode)
        told = _told(facts, plan, policy, checked)
        # The facts once: what a task returns is copied several times on the controller.
        del told["after"]
        return {**told, "pending": pending, "refusals": plan.refusals}

    def _once(self, policy: Policy, task_vars: dict[str, Any]) -> Result:
        facts = self._facts(task_vars)
        plan = change.planned(facts, policy)
        if plan.refusals:
            raise Failed(refused(plan.refusals))
        result = _told(facts, plan, policy, bool(self._task.check_mode))
        if plan.drift:
            options = {**change.settings(plan, facts, policy), "id": new_id(), "who": who(task_vars)}
            said = self._changed(options, task_vars)
            result.update({name: said[name] for name in ("changed", "id", "diff", "reboot_needed") if name in said})
            result["after"] = said.get("facts", facts)
        if policy.expire_existing and not result["files_only"]:
            wanted: Result = {"timeouts": plan.timeouts}
            if policy.expire_most is not None:
                wanted["most"] = policy.expire_most
            result.update(self._expired(wanted, result, task_vars))
        return result

    def _facts(self, task_vars: dict[str, Any]) -> Facts:
        """Read on the host, after what another run has left unfinished there is undone, or has come to its end."""
        facts: Facts = self._run("conntrack_facts", {}, task_vars)["ansible_facts"]["conntrack"]
        if facts["history"]["unfinished"] and not self._task.check_mode:
            try:
                self._run("conntrack_settings", {"who": who(task_vars)}, task_vars)
            except Failed as failed:
                if not failed.result.get("stale"):
                    raise
                self._warned.append(failed.result["msg"])
            facts = self._run("conntrack_facts", {}, task_vars)["ansible_facts"]["conntrack"]
        return facts

    def _expired(self, options: Mapping[str, Any], done: Result, task_vars: dict[str, Any]) -> Result:
        try:
            expired = self._run("conntrack_expire", options, task_vars)
        except Failed as failed:
            # What was changed before stays.
            raise Failed(
                {**failed.result, **{name: done[name] for name in ("changed", "id") if name in done}}
            ) from None
        return {"changed": expired.pop("changed") or done["changed"], "expired": expired}

    def _undone(self, task_vars: dict[str, Any]) -> Result:
        """As before the first change."""
        said = self._run("conntrack_rollback", {"to": "first", "who": who(task_vars)}, task_vars)
        return {**said, "checked": bool(self._task.check_mode)}

    def _changed(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
        try:
            return persistently(self._connection, lambda: self._run("conntrack_settings", options, task_vars))
        except AnsibleConnectionFailure as error:
            raise AnsibleConnectionFailure(
                f"{error} -- the connection was lost during change {options['id']}. The host ends it by itself: the next run finds it "
                "done or undone."
            ) from None

    def _run(self, module: str, options: Mapping[str, Any], task_vars: dict[str, Any]) -> Result:
        """What a module has answered. Raises Failed with what one answers that has not done its work."""
        self.answer = BY_MODULE[module]
        said = handed_on(self.answer, self._executed(f"headroom.netfilter.{module}", options, task_vars))
        self._warned += said.pop("warnings", [])
        if said.get("failed"):
            raise Failed(said)
        return said


def _told(facts: Facts, plan: Plan, policy: Policy, checked: bool) -> Result:
    return {
        "changed": False,
        "checked": checked,
        "files_only": change.files_only(policy),
        "before": facts,
        "after": facts,
        "plan": as_dict(plan),
        "reboot_needed": plan.reboot_needed,
    }


def refused(refusals: list[str]) -> Result:
    """Each is told, as none goes away with another."""
    return {
        "changed": False,
        "failed": True,
        "msg": "Refused before anything was changed: " + "\n".join(refusals),
        "refusals": refusals,
    }
