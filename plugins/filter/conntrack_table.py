# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_table: what a run of the role conntrack found and did, as lines of a table."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_table
short_description: A readable table of what the role conntrack found, planned and did
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes a table per host of limit, buckets, memory and timeouts, before and after, with the files written and the warnings.
  - The most expectations at once, and timeouts that no profile sets, are shown where they move.
  - Hosts with the same table share one.
options:
  _input:
    description:
      - The variables of each host after the role has run, as the example hands them in.
      - Hosts on which the role did not get as far as its facts are left out.
    type: list
    elements: dict
    required: true
  planned:
    description: Whether to compare with the plan rather than with what was read after the change, as in check mode.
    type: bool
    default: false
seealso:
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what was done
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | map('extract', hostvars) | headroom.netfilter.conntrack_table }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table as report


# What the role's tasks leave behind: registered results, and the plan where there was drift.
BEFORE = "__conntrack_before"
AFTER = "__conntrack_after"
PLAN = "__conntrack_planned"
EXPIRED = "__conntrack_expired"


def conntrack_table(hosts: Iterable[Mapping[str, Any]], planned: bool = False) -> list[str]:
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table as report
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    found = [(variables, _facts(variables, BEFORE)) for variables in hosts]
    rows = [_host(variables, before, planned) for variables, before in found if before]
    return list(untrusted(report.fleet(rows, ("now", "planned") if planned else ("before", "after"))))


def _host(variables: Mapping[str, Any], before: dict[str, Any], planned: bool) -> report.Shown:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show import table as report

    name = str(variables["inventory_hostname"])
    now = report.of_facts(before)
    expired = tuple(_expired(variables.get(EXPIRED, {}), planned))
    if PLAN not in variables:
        return report.Shown(name, now, now, {}, expired or _state_note(before) or ("nothing to change",))
    plan = variables[PLAN]
    after = report.of_plan(plan) if planned else report.of_facts(_facts(variables, AFTER) or before)
    # A plan speaks of the timeouts it sets; the others stay.
    after = after._replace(timeouts={**now.timeouts, **after.timeouts})
    return report.Shown(name, now, after, plan["reasons"], _state_note(before) + tuple(_notes(plan, planned)) + expired)


def _facts(variables: Mapping[str, Any], name: str) -> Any:
    # Not copied: each value that is read goes through templating.
    return variables.get(name, {}).get("ansible_facts", {}).get("conntrack", {})


def _state_note(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return {
        "absent": ("no connection tracking in this kernel: nothing can fill up",),
        "loadable": ("the module is not loaded: these are the values of its next load",),
    }.get(facts["state"], ())


def _notes(plan: Mapping[str, Any], planned: bool) -> Iterable[str]:
    written = [item["name"] for item in plan["drift"] if item["kind"] not in ("live", "outcome")]
    if not plan["drift"] and not plan["refusals"]:
        yield "nothing to change"
    if written and not plan["refusals"]:
        yield ("to be written: " if planned else "written: ") + ", ".join(written)
    for refusal in plan["refusals"]:
        yield "REFUSED: " + refusal
    for warning in plan["warnings"]:
        yield "warning: " + warning


def _expired(found: Mapping[str, Any], planned: bool) -> Iterable[str]:
    if found.get("shortened"):
        done = "to be shortened" if planned else "shortened"
        yield f"{done} to the timeouts: {found['shortened']} of {found['examined']} entries"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_table": conntrack_table}
