#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_guarded
short_description: Run a module of ansible-core, and hand on of its answer only what it is for
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - For the role and the playbooks of this collection. What a host answers to a module can set any variable of that host, and so steer
    what a play does next; of this one's answer nothing is handed on but what is documented here, with its texts escaped.
options:
  module:
    description: The module to run.
    type: str
    required: true
    choices:
      - ansible.builtin.command
      - ansible.builtin.copy
      - ansible.builtin.file
      - ansible.builtin.find
      - ansible.builtin.lineinfile
      - ansible.builtin.uri
      - ansible.builtin.wait_for
  options:
    description: Its options.
    type: dict
    required: true
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.conn
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
  async:
    support: none
  become:
    support: full
  bypass_host_loop:
    support: none
  check_mode:
    support: full
    details: As the module has it.
  connection:
    support: full
  delegation:
    support: full
  diff_mode:
    support: full
    details: As the module has it.
  platform:
    support: full
    platforms: linux
"""

EXAMPLES = r"""
- name: Remove a file
  headroom.netfilter.conntrack_guarded:
    module: ansible.builtin.file
    options:
      path: /run/example
      state: absent
"""

RETURN = r"""
backup_file:
  description: The copy that was made, by M(ansible.builtin.copy).
  returned: with O(options) C(backup), where there was a file
  type: str
  sample: /etc/sysctl.d/99-conntrack.conf.4711.2026-01-01@12:00:00~
backup:
  description: The copy that was made, by M(ansible.builtin.lineinfile); empty where none was.
  returned: with O(options) C(backup)
  type: str
  sample: /etc/sysctl.conf.4711.2026-01-01@12:00:00~
files:
  description: The files that M(ansible.builtin.find) has found, C(path) and C(checksum) of each.
  returned: with M(ansible.builtin.find)
  type: list
  elements: dict
  sample: [{path: /etc/sysctl.conf, checksum: a94a8fe5ccb19ba61c4c0873d391e987982fbbd3}]
match_groups:
  description: What the groups of the expression have matched, by M(ansible.builtin.wait_for).
  returned: with M(ansible.builtin.wait_for)
  type: list
  elements: str
  sample: [done]
"""
