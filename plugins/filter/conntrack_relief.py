# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_relief: what the playbook relieve found and did, as lines."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_relief
short_description: A readable list of who fills the table and what was freed
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes, for each host, a list of who fills its table, how much of that is stale, what was shortened, whether the limit was raised,
    and what is in use afterwards.
positional: done
options:
  _input:
    description: The variables of each host, as the playbook C(headroom.netfilter.relieve) hands them in.
    type: list
    elements: dict
    required: true
  done:
    description: Whether the changes were made, rather than only counted.
    type: bool
    default: false
seealso:
  - module: headroom.netfilter.conntrack_census_info
  - module: headroom.netfilter.conntrack_expire
"""

EXAMPLES = r"""
- name: Show who fills the table
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | map('extract', hostvars) | headroom.netfilter.conntrack_relief }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def conntrack_relief(hosts: Iterable[Mapping[str, Any]], done: bool = False) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.relief import Relief, lines
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    found = [Relief(**_host(variables)) for variables in hosts if _result(variables, "__relieve_census")]
    return list(untrusted(lines(found, done)))


def _host(variables: Mapping[str, Any]) -> dict[str, Any]:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned_as_asked
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.relief import most_of

    name, before = str(variables["inventory_hostname"]), _facts(variables, "__conntrack_before")
    try:
        # Names are many, and values are templated when they are read.
        plan, _policy = planned_as_asked(before, variables, list(variables))
    except Misfit as misfit:
        raise AnsibleFilterError(f"conntrack_relief: {name}: {misfit}") from misfit
    return {
        "name": name,
        "before": before,
        "census": _result(variables, "__relieve_census"),
        "expired": _result(variables, "__relieve_expired"),
        "raised": _result(variables, "__relieve_raised"),
        "after": _facts(variables, "__relieve_after") or None,
        "refusals": plan.refusals,
        "most": most_of(variables),
    }


def _result(variables: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """None where the task was skipped, or another before it has failed."""
    result = variables.get(name) or {"skipped": True}
    return None if result.get("skipped") else result


def _facts(variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict((variables.get(name) or {}).get("ansible_facts", {}).get("conntrack", {}))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_relief": conntrack_relief}
