# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_cures: which cure fits each host of a play, and the command that brings it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_cures
short_description: Name the cure that fits each host
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Names for each host one of the cures of the page docs/choosing.md of the collection, with what speaks for it and the command that
    brings it; V(none) where there is nothing to do.
  - What was counted in the table anybody can make who reaches the host. So a cure is proposed, and never carried out by itself.
options:
  _input:
    description:
      - The variables of each host after the playbook C(headroom.netfilter.audit) has read it, as the example hands them in.
      - Hosts of which there are no facts are left out.
    type: list
    elements: dict
    required: true
seealso:
  - plugin: headroom.netfilter.conntrack_audit
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show which cure fits
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | map('extract', hostvars) | headroom.netfilter.conntrack_cures }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: A cure for each host.
  type: list
  elements: dict
  contains:
    host:
      description: The host's name in the inventory.
      type: str
      sample: ns1
    cure:
      description:
        - V(unload), V(exempt), V(shorten), V(grow), or V(none).
      type: str
      sample: exempt
    seen:
      description: What was seen on this host, with its numbers.
      type: str
      sample: udp/53 to this host at least 89 % of 48211 entries, 20000 of them looked at
    why:
      description: Why it fits.
      type: str
    command:
      description: What brings it, with INVENTORY in place of the inventory; empty for V(none), and of a tree, to which nothing can be brought.
      type: str
      sample: ansible-playbook headroom.netfilter.tune -i INVENTORY -e conntrack_hosts=web1
    variables:
      description: The variables of the role in that command.
      type: dict
      sample: {notrack_flows: [{name: udp-53-server, protocol: udp, ports: [53], role: server}]}
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# What the playbook's tasks leave behind.
FACTS = "__conntrack_before"
CENSUS = "__audit_census"
NEEDS = "__audit_needs"
ASKED = ("notrack_flows", "notrack_timeouts")


def conntrack_cures(hosts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import choosing
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import change
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import cures
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    found = []
    for variables in hosts:
        facts = (variables.get(FACTS) or {}).get("ansible_facts", {}).get("conntrack")
        if not facts:
            continue
        name = str(variables["inventory_hostname"])
        try:
            plan, _policy = change.planned_as_asked(facts, variables, list(variables))
        except Misfit as misfit:
            raise AnsibleFilterError(f"conntrack_cures: {name}: {misfit}") from misfit
        census, needs = variables.get(CENSUS) or {}, variables.get(NEEDS) or {}
        evidence = choosing.Evidence(
            facts,
            census if "groupings" in census else None,
            # Who needs it is told by a refusal; where there is none nobody does.
            needs.get("needed_by", None if needs.get("failed") or "kernel" not in needs else ()),
            plan,
            {name: _list(variables.get(name)) for name in ASKED},
        )
        # A tree is read by none of its own Pythons.
        is_tree = facts["kernel"]["python"] is None
        found.append(cures.told(name, choosing.fitting(evidence), is_tree))
    return list(untrusted(as_dict(found)))


def _list(asked: Any) -> Any:
    """A list that came as text, as from a command line."""
    if isinstance(asked, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(asked)
    return asked


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_cures": conntrack_cures}
