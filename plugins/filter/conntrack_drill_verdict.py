# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_drill_verdict: whether a host kept its values through a drill, with the table that shows it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_drill_verdict
short_description: Judge whether limit, buckets, timeouts and files were kept through the events of a drill
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Compares the facts read before and after each event, and makes a table with a row per value and a column per reading.
  - A value has moved when after any event it is not what it was when it was first known.
positional: name
options:
  _input:
    description:
      - The readings in their order, each with C(event) (V(before), V(firewall), V(reload) or V(reboot)), C(facts) as
        M(headroom.netfilter.conntrack_facts) returns them, and C(end), which is V(done) or says what went wrong.
    type: list
    elements: dict
    required: true
  name:
    description: The host's name, for the head of the table.
    type: str
    required: true
seealso:
  - plugin: headroom.netfilter.conntrack_drill_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Fail where something was lost
  ansible.builtin.assert:
    that: verdict.kept
    fail_msg: "{{ verdict.said }}"
  vars:
    verdict: "{{ readings | headroom.netfilter.conntrack_drill_verdict(inventory_hostname) }}"
    readings:
      - {event: before, facts: "{{ before.ansible_facts.conntrack }}", end: done}
      - {event: firewall, facts: "{{ after.ansible_facts.conntrack }}", end: done}
"""

RETURN = r"""
_value:
  description: The verdict.
  type: dict
  contains:
    kept:
      description: Whether nothing moved and every event was done.
      type: bool
    table:
      description: Lines of text, a row per value.
      type: list
      elements: str
    said:
      description: What moved, by which event, what was not done, and what to do; or that everything was kept.
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any


def conntrack_drill_verdict(readings: list[Mapping[str, Any]], name: str) -> dict[str, Any]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import drill
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    found: dict[str, Any] = untrusted(as_dict(drill.verdict(readings, name)))
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_drill_verdict": conntrack_drill_verdict}
