#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_report
short_description: Write what is known of a fleet's connection tracking as a page, and for machines
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes a report of all hosts of a play after tasks_from C(audit) of the role P(headroom.netfilter.conntrack#role) has run, and writes it
    on the controller. It connects to no host.
  - It is what the playbooks C(headroom.netfilter.audit) and C(headroom.netfilter.merge_reports) write with; docs/report.md of the collection
    says what is in each file.
  - Hosts that could not be reached, have failed or were not read are in the report as such.
options:
  path:
    description:
      - The folder for C(report.json), C(report.csv), C(report.md), C(report.xml) and C(report.html); it is made where it is not there.
      - Without it nothing of these is written.
    type: path
  baseline:
    description: A C(report.json) of an earlier run; the report says what has changed since.
    type: path
  accept:
    description:
      - A YAML file, a list of accepted findings, each with C(id), C(hosts) (names, with V(*) for any characters), C(reason) and C(until),
        the last day on which it is accepted.
      - What is accepted is shown as such, counts as nobody's worst finding, and is in no file of O(remedies).
    type: path
  remedies:
    description:
      - A folder for two files for each finding, C(ID.yml) with variables for the playbook C(headroom.netfilter.tune), and C(ID.limit)
        with exactly the hosts concerned, for C(--limit @ID.limit).
      - Files of an earlier run for findings that no host has any more are removed.
    type: path
  merge:
    description: Files C(report.json) of parts of a fleet; the report is made of these, and not of the hosts of the play.
    type: list
    elements: path
  input_only:
    description: Whether the options are only checked, with the files that they name.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
    details: It is nothing but one. It runs on the controller, whatever the connection, and needs no privileges of a host.
  async:
    support: none
  bypass_host_loop:
    support: none
    details: Use C(run_once), as the report is of all hosts of the play.
  check_mode:
    support: full
    details: Everything is made, and nothing is written.
  diff_mode:
    support: full
    details: Long files are told by their length.
  platform:
    support: full
    platforms: posix
seealso:
  - plugin: headroom.netfilter.conntrack_risks
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read
  ansible.builtin.include_role:
    name: headroom.netfilter.conntrack
    tasks_from: audit

- name: Write what is known of all hosts of the play
  headroom.netfilter.conntrack_report:
    path: conntrack
    baseline: last-week/report.json
  run_once: true
"""

RETURN = r"""
files:
  description: Paths of the files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/srv/audit/report.json]
summary:
  description: How many hosts are how, in a few lines.
  returned: success
  type: list
  elements: str
  sample: ["200 hosts: 3 critical, 190 info, 5 none, 2 not read"]
accepted:
  description: By host, the findings that are accepted there.
  returned: success
  type: dict
  sample: {db01: [established-five-days]}
"""
