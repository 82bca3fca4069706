# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_drill_errors: what is wrong in a host's variables for a drill, before the host is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_drill_errors
short_description: Find what is wrong in a host's variables for the playbook drill
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Reads C(drill_firewall), C(drill_reload), C(drill_reboot), C(drill_out_of_band) and C(drill_id) strictly, without any facts.
  - A host that is reached over the network alone is refused unless C(drill_out_of_band) says that there is another way back;
    the reboot of a host on whose own connection the run stands is refused, too.
  - A variable whose name is nearly one of them is refused, with the one that is nearest.
positional: connection, names
options:
  _input:
    description: The variables of the host, those of the playbook among them.
    type: dict
    required: true
  connection:
    description: The plugin by which the host is reached, C(ansible_connection).
    type: str
    required: true
  names:
    description: The names of all variables of the host; C(hostvars[inventory_hostname]) will do.
    type: list
    elements: str
    default: []
seealso:
  - plugin: headroom.netfilter.conntrack_drill_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Stop before the host is touched
  ansible.builtin.assert:
    that: wrong | length == 0
    fail_msg: "{{ wrong }}"
  vars:
    wrong: "{{ asked | headroom.netfilter.conntrack_drill_errors(ansible_connection) }}"
    asked: {drill_firewall: true, drill_out_of_band: true}
"""

RETURN = r"""
_value:
  description: A sentence for each finding, with the variable, its value and what would do.
  type: list
  elements: str
  sample: ["drill_reload: 'maybe' will not do: expected true or false"]
"""

from collections.abc import Iterable, Mapping
from typing import Any


def conntrack_drill_errors(variables: Mapping[str, Any], connection: str, names: Iterable[str] = ()) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import drill

    # What the host said of itself is not the caller's, and must not end a run that is not the host's.
    said = names.get("ansible_facts") if isinstance(names, Mapping) else None
    facts = said if isinstance(said, Mapping) else {}
    asked = {name: variables[name] for name in variables if name not in facts}
    try:
        drill.read(asked, connection, [name for name in names if name not in facts])
    except PolicyError as error:
        return list(error.problems)
    return []


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_drill_errors": conntrack_drill_errors}
