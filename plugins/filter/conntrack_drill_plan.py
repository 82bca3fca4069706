# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_drill_plan: the events that a host is to be put through, from its facts and variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_drill_plan
short_description: Plan what the playbook drill does on a host
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Says which of firewall restart, module reload and reboot are to be run on a host, and why the others are not.
  - None is run in check mode, without its variable, or where C(drill_id) asks how the events of an earlier run ended.
positional: variables, connection, check
options:
  _input:
    description: The facts, C(ansible_facts.conntrack), as M(headroom.netfilter.conntrack_facts) returns them.
    type: dict
    required: true
  variables:
    description:
      - The variables of the host, C(drill_firewall), C(drill_reload), C(drill_reboot), C(drill_out_of_band) and C(drill_id) among
        them.
    type: dict
    required: true
  connection:
    description: The plugin by which the host is reached, C(ansible_connection).
    type: str
    required: true
  check:
    description: Whether this is check mode.
    type: bool
    default: false
seealso:
  - plugin: headroom.netfilter.conntrack_drill_verdict
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what a drill would do
  ansible.builtin.debug:
    msg: "{{ (ansible_facts.conntrack | headroom.netfilter.conntrack_drill_plan(wanted, 'ssh')).said }}"
  vars:
    wanted: {drill_firewall: true, drill_out_of_band: true}
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    events:
      description: The events to run, in this order; C(firewall), C(reload), C(reboot).
      type: list
      elements: str
    firewalls:
      description: The services of the firewalls that are active.
      type: list
      elements: str
      sample: [firewalld]
    said:
      description: A sentence for each event, those that are not run included.
      type: list
      elements: str
    refusals:
      description: Why nothing may be done here.
      type: list
      elements: str
    id:
      description: The earlier run whose events are to be read, C(drill_id); empty for none.
      type: str
"""

from collections.abc import Mapping
from typing import Any


def conntrack_drill_plan(
    facts: dict[str, Any], variables: Mapping[str, Any], connection: str, check: bool = False
) -> dict[str, Any]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import drill
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    found: dict[str, Any] = untrusted(as_dict(drill.plan(facts, drill.read(variables, connection), check)))
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_drill_plan": conntrack_drill_plan}
