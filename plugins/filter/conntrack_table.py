# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_table: what a run of the role conntrack found and did, as lines of a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_table
short_description: A readable table of what the role conntrack found, planned and did
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes a table per host of limit, buckets, memory and timeouts, before and after, with the files written and the warnings.
  - After is what was proved, or in check mode planned. Of an image it is what the files say, and before what those said that were there.
  - The most expectations at once, and timeouts that no profile sets, are shown where they move.
  - Of a host that was refused or has failed, it tells why, and what could not be put back.
  - Hosts with the same table share one.
options:
  _input:
    description:
      - The variables of each host after the role has run, as the example hands them in; the role registers C(conntrack_result).
      - Hosts on which the role did not run are left out.
    type: list
    elements: dict
    required: true
  planned:
    description:
      - Whether the hosts have only been read, by tasks_from C(audit) of the role. Their plans are then made here, from their
        variables.
    type: bool
    default: false
  stop:
    description: Why a rollout of the playbook headroom.netfilter.tune has stopped. If it is given, if only as nothing, the lines begin with
      how many hosts are in each state, who and why where somebody has to see to them, and what is left.
    type: str
  checked:
    description: Whether results that do not tell are of check mode; those of M(headroom.netfilter.conntrack_rollback) do not.
    type: bool
    default: false
seealso:
  - module: headroom.netfilter.conntrack
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what was done
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | headroom.netfilter.conntrack_table }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import Shown


# What the role's tasks leave behind.
RESULT = "conntrack_result"
# Of a host that the playbook tune has only planned, and of one whose change it has undone.
READ = "__tune_read"
UNDONE = "__tune_undone"
BEFORE = "__conntrack_before"


def conntrack_table(
    hosts: Iterable[Mapping[str, Any]], planned: bool = False, checked: bool = False, stop: str | None = None
) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import fleet
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    hosts = list(hosts)
    shown = (_planned(variables) if planned else _done(variables, checked) for variables in hosts)
    lines = fleet([one for one in shown if one])
    if stop is not None:
        from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import rollout

        read = [rollout.host_of(variables) for variables in hosts if variables.get(rollout.READ)]
        lines = [*rollout.told(read, stop), "", *lines]
    return list(untrusted(lines))


def _done(variables: Mapping[str, Any], checked: bool) -> Shown | None:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table

    result = variables.get(RESULT) or {"skipped": True}
    if result.get("skipped"):
        result = variables.get(READ) or result
    undone = variables.get(UNDONE) or {"skipped": True}
    if not undone.get("skipped"):
        result = undone
    if result.get("skipped") or result.get("unreachable"):
        return None
    return table.of_result(str(variables["inventory_hostname"]), {"checked": checked, **result})


def _planned(variables: Mapping[str, Any]) -> Shown | None:
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import change
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table

    facts = (variables.get(BEFORE) or {}).get("ansible_facts", {}).get("conntrack")
    if not facts:
        return None
    name = str(variables["inventory_hostname"])
    try:
        # Names are many, and values are templated when they are read.
        plan, policy = change.planned_as_asked(facts, variables, list(variables))
    except Misfit as misfit:
        raise AnsibleFilterError(f"conntrack_table: {name}: {misfit}") from misfit
    return table.of_plan_alone(name, facts, as_dict(plan), change.files_only(policy))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_table": conntrack_table}
