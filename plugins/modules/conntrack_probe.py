#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_probe
short_description: Try whether a host does its work
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - For the playbook headroom.netfilter.tune, which tries the same before and after the change of a host.
  - Tries each probe, and those that are red again each second, until all are green or the time is over. Says which are red then,
    and why.
options:
  probes:
    description:
      - What is to work. Each has one of C(port) (a TCP port that accepts), C(url) (answered with a status below 400) and C(command) (a
        program and its words, which no shell sees; it ends with 0).
      - C(from) says who tries, V(controller) or V(host). By default the controller tries ports and addresses, and the host commands.
      - C(name) is what it is called in messages.
    type: list
    elements: dict
    required: true
  only:
    description: Names of those that are tried, all by default.
    type: list
    elements: str
  required:
    description: Whether one that is red is a failure.
    type: bool
    default: true
  seconds:
    description: How long to try again what is red.
    type: int
    default: 0
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
attributes:
  action:
    details: Tries on the controller, or runs modules of ansible-core on the host and takes of their answers whether they have failed, and why.
  check_mode:
    support: full
    details: Tries nothing, as a command may do anything.
  diff_mode:
    support: none
    details: Changes nothing by itself.
"""

EXAMPLES = r"""
- name: See that the shop answers
  headroom.netfilter.conntrack_probe:
    probes:
      - port: 443
      - url: "https://{{ inventory_hostname }}/health"
      - command: [systemctl, is-active, nginx]
    seconds: 30
"""

RETURN = r"""
green:
  description: The names of those that are green.
  returned: always
  type: list
  elements: str
  sample: [port 443 from the controller]
red:
  description: The names of those that are red; the message says why.
  returned: always
  type: list
  elements: str
"""
