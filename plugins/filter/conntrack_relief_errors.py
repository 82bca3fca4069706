# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_relief_errors: what is wrong in the variables of the playbook relieve, before any host is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_relief_errors
short_description: Find what is wrong in the variables of the playbook relieve
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Reads C(relieve_confirm), C(relieve_timeouts), C(relieve_wait) and C(relieve_most), so that the playbook
    C(headroom.netfilter.relieve) can stop before it touches a host.
options:
  _input:
    description: The variables; V(none) and the empty string are unset.
    type: dict
    required: true
seealso:
  - plugin: headroom.netfilter.conntrack_relief
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Stop before any host is touched
  ansible.builtin.assert:
    that: wrong | length == 0
    fail_msg: "{{ wrong }}"
  run_once: true
  vars:
    wrong: "{{ {'relieve_confirm': relieve_confirm} | headroom.netfilter.conntrack_relief_errors }}"
"""

RETURN = r"""
_value:
  description: A sentence for each finding, with the variable, its value and what would do.
  type: list
  elements: str
  sample: ["relieve_confirm: 'maybe' will not do: expected true or false"]
"""

from collections.abc import Mapping
from typing import Any


def conntrack_relief_errors(variables: Mapping[str, Any]) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.relief import errors

    return errors(variables)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_relief_errors": conntrack_relief_errors}
