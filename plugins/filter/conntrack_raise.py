# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_raise: what of a plan makes room now, and takes none."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_raise
short_description: Find which live values a plan has higher than they are
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - For an emergency, in which a limit is raised and never lowered, also by a plan that would shrink.
  - Nothing is raised where the plan is refused, or where no table is.
positional: facts
options:
  _input:
    description: The plan, as P(headroom.netfilter.conntrack_plan#filter) makes it.
    type: dict
    required: true
  facts:
    description: The facts that were planned from, C(ansible_facts.conntrack).
    type: dict
    required: true
seealso:
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Raise the limit, within memory
  headroom.netfilter.conntrack_settings:
    max: "{{ higher.max | default(omit) }}"
    buckets: "{{ higher.buckets | default(omit) }}"
  vars:
    facts: "{{ ansible_facts.conntrack }}"
    plan: "{{ facts | headroom.netfilter.conntrack_plan({'conntrack_expected_connections': 300000}) }}"
    higher: "{{ plan | headroom.netfilter.conntrack_raise(facts) }}"
"""

RETURN = r"""
_value:
  description: Options of M(headroom.netfilter.conntrack_settings), C(max), C(buckets) and C(expect_max), those that the plan has higher.
  type: dict
  sample: {max: 1048576, buckets: 1048576}
"""

from collections.abc import Mapping
from typing import Any


def conntrack_raise(plan: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, int]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import raising

    return raising(plan["live"], dict(facts)) if not plan["refusals"] else {}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_raise": conntrack_raise}
