# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_risks: what is wrong with a host, or will be, from its facts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_risks
short_description: Judge a host's connection tracking by its facts
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Finds what drops packets now, what will be lost at the next boot or load of the module, and who else writes the settings.
  - Needs no subset of the facts in particular; what is not known is not judged.
  - The page docs/findings.md of the collection has a paragraph for each finding.
options:
  _input:
    description: The facts, C(ansible_facts.conntrack), as M(headroom.netfilter.conntrack_facts) returns them.
    type: dict
    required: true
seealso:
  - module: headroom.netfilter.conntrack_facts
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the facts
  headroom.netfilter.conntrack_facts:

- name: Stop where packets are dropped, or will be
  ansible.builtin.assert:
    that: risks | selectattr('severity', 'eq', 'critical') | length == 0
    fail_msg: "{{ risks | map(attribute='seen') }}"
  vars:
    risks: "{{ ansible_facts.conntrack | headroom.netfilter.conntrack_risks }}"
"""

RETURN = r"""
_value:
  description: The findings, worst first, then by RV(_value[].id).
  type: list
  elements: dict
  contains:
    id:
      description: The finding's name, which stays the same from version to version.
      type: str
      sample: table-nearly-full
    severity:
      description:
        - V(critical) where packets are dropped now, or will be with the next event that is to be expected.
        - V(warning) where something should be changed, V(info) where it is worth knowing.
      type: str
      sample: warning
    seen:
      description: What was seen on this host, with its numbers.
      type: str
      sample: 61203 of 65536 entries in use, 93.4 percent
    why:
      description: Why it matters.
      type: str
    remedy:
      description: What to do, by variables of the role or by commands.
      type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def conntrack_risks(facts: Any) -> list[dict[str, Any]]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import risks
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    if not isinstance(facts, Mapping) or "state" not in facts:
        raise AnsibleFilterError(
            "conntrack_risks: expected the facts of headroom.netfilter.conntrack_facts, "
            f"ansible_facts.conntrack, and found {type(facts).__name__}"
        )
    return list(untrusted(as_dict(risks.findings(dict(facts)))))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_risks": conntrack_risks}
