# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_input_errors: what is wrong in hosts' variables, before any host is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_input_errors
short_description: Find what is wrong in the variables of the role conntrack, host by host
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Reads the variables of the role P(headroom.netfilter.conntrack#role) as strictly as
    P(headroom.netfilter.conntrack_plan#filter) does, without any facts, so that a play can stop before it touches a host.
  - What a host has said of itself, in C(ansible_facts), is passed over; it concerns the plan of that host alone.
  - A variable that cannot be made out, as it is a template of something undefined, is told with its host.
  - A variable whose name is nearly one of the role's has no effect; it is told, with the one that is nearest. Other names are
    left alone.
positional: playbook
options:
  _input:
    description: The variables of each host, as the example hands them in.
    type: list
    elements: dict
    required: true
  rollout:
    description: Whether the variables of the playbook tune are read as well, C(tune_waves) and its like.
    type: bool
    default: false
  playbook:
    description:
      - Names of variables of the playbook's own; one that is nearly one of them is told, too.
      - A host with C(conntrack_root) is a tree, and wrong wherever that is not among them.
    type: list
    elements: str
    default: []
seealso:
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Stop before any host is touched
  ansible.builtin.assert:
    that: wrong | length == 0
    fail_msg: "{{ wrong }}"
  run_once: true
  vars:
    wrong: "{{ ansible_play_hosts | map('extract', hostvars) | headroom.netfilter.conntrack_input_errors }}"
"""

RETURN = r"""
_value:
  description: A sentence for each finding, with the variable, its value, what would do, and the hosts.
  type: list
  elements: str
  sample: ["conntrack_max: -1 will not do: expected a whole number of entries from 1 to 2147483647 (web01, web02)"]
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError


def conntrack_input_errors(
    hosts: Iterable[Mapping[str, Any]], playbook: Collection[str] = (), rollout: bool = False
) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy, read
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.spelling import misspelt
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
        PolicyError,
        wants_machine,
    )
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import short

    ours = [f"conntrack_{field}" for field in Policy._fields]

    def problems_of(variables: Mapping[str, Any], without: Collection[str]) -> list[str]:
        # Looked up one by one: a host's variables are many, and each is templated when it is read. Names are not.
        names = [name for name in variables if name not in without]
        given, problems = {}, []
        for name in ours:
            if name in variables and name not in without:
                try:
                    given[name] = _whole(variables[name])
                except (AnsibleError, UndefinedError) as error:
                    problems.append(f"{name}: cannot be made out: {short(str(error))}")
        if "conntrack_root" in names and "conntrack_root" not in playbook:
            tree = variables["conntrack_root"]
            problems += [wants_machine(str(tree))] if tree and tree != "/" else []
        try:
            read(given, names)
        except PolicyError as error:
            problems += error.problems
        if rollout and any(name.startswith("tune_") for name in names):
            problems += _of_rollout(variables, names)
        return problems + misspelt(names, playbook)

    found: dict[str, list[str]] = {}
    for variables in hosts:
        problems = problems_of(variables, ())
        if problems and "ansible_facts" in variables:
            # What a host said of itself is not the caller's: it is for that host's own plan, and keeps no other from its own.
            problems = problems_of(variables, variables["ansible_facts"])
        for problem in problems:
            found.setdefault(problem, []).append(str(variables["inventory_hostname"]))
    return [f"{problem} ({', '.join(names)})" for problem, names in found.items()]


def _of_rollout(variables: Mapping[str, Any], names: list[str]) -> list[str]:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import rollout

    try:
        said = {name: _whole(variables[name]) for name in rollout.READERS if name in names}
    except (AnsibleError, UndefinedError) as error:
        return [f"a variable of the rollout cannot be made out: {str(error)[:200]}"]
    return rollout.input_errors(said, names)


def _whole(value: Any) -> Any:
    """A value with all that is in it. Raises UndefinedError for what stands for an error of its template, since ansible-core 2.19."""
    if isinstance(value, Mapping):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, Undefined):
        str(value)
    return value


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_input_errors": conntrack_input_errors}
