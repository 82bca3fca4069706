# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_audit: what is wrong with the hosts of a play, as lines, and which of them fail for it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_audit
short_description: A readable list of what is wrong with hosts, worst first
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes a line for each host, with its worst severity, the share of the limit in use and the limit now, after a reload and after
    a boot, and below it the findings of P(headroom.netfilter.conntrack_risks#filter).
  - Hosts with the same findings share them. Then come the cures, where they are handed in, with the command of each.
positional: fail_on, accepted
options:
  _input:
    description:
      - The variables of each host after tasks_from C(audit) of the role has run, as the example hands them in.
      - Hosts on which the role did not get as far as its facts are left out.
    type: list
    elements: dict
    required: true
  fail_on:
    description: The least severity for which a host is in RV(_value.failed).
    type: str
    choices: [critical, warning, info, never]
    default: never
  accepted:
    description:
      - By host, ids of findings that somebody has accepted, as M(headroom.netfilter.conntrack_report) returns them. They are shown as such,
        and no host is in RV(_value.failed) for them.
    type: dict
    default: {}
  cures:
    description: What P(headroom.netfilter.conntrack_cures#filter) has made of the same hosts.
    type: list
    elements: dict
    default: []
    version_added: 0.1.0
seealso:
  - plugin: headroom.netfilter.conntrack_cures
    plugin_type: filter
  - plugin: headroom.netfilter.conntrack_risks
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | map('extract', hostvars) | headroom.netfilter.conntrack_audit).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: What is wrong.
  type: dict
  contains:
    lines:
      description: Lines of text.
      type: list
      elements: str
    failed:
      description: For each host with findings as bad as O(fail_on) or worse, its name and their ids.
      type: list
      elements: str
      sample: ["web01: lost-at-boot, table-nearly-full"]
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# What the role's tasks leave behind.
FACTS = "__conntrack_before"


def conntrack_audit(
    hosts: Iterable[Mapping[str, Any]],
    fail_on: str = "never",
    accepted: Mapping[str, Collection[str]] | None = None,
    cures: Iterable[Mapping[str, Any]] = (),
) -> dict[str, list[str]]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings import risks
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import audit
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.cures import Told
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    try:
        # With no hosts, too: that is how a play asks whether the word will do, before the first is touched.
        audit.failing([], fail_on)
    except PolicyError as error:
        raise AnsibleFilterError(f"conntrack_audit: {error}") from error
    taken = accepted or {}
    judged = [
        (name, facts, audit.accepted(risks.findings(facts), taken.get(name, ())))
        for name, facts in map(_host, hosts)
        if facts
    ]
    failing = {
        name: [finding for finding in audit.failing(findings, fail_on) if finding.id not in taken.get(name, ())]
        for name, _facts, findings in judged
    }
    failed = [f"{name}: {', '.join(finding.id for finding in found)}" for name, found in failing.items() if found]
    return dict(untrusted({"lines": audit.lines(judged, [Told(**cure) for cure in cures]), "failed": failed}))


def _host(variables: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    read = variables.get(FACTS, {})
    return str(variables["inventory_hostname"]), dict(read.get("ansible_facts", {}).get("conntrack", {}))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_audit": conntrack_audit}
