# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter render: policy to files for provisioning pipelines, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: render
short_description: Render what pipelines need that make hosts without Ansible
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes one model of what a host should have, from the variables of the role P(headroom.netfilter.conntrack#role), and many forms of it.
  - C(apply.sh) is one POSIX script that any tool can push. C(user-data) is for cloud-init, C(kickstart.ks) a C(%post) of kickstart,
    C(preseed.cfg) a C(late_command) of Debian's installer. They carry that script, which sizes by the memory of the machine it runs on.
  - C(tree) has the files as they lie on the host, C(ignition.json) and C(Containerfile) bring these, and C(kargs.d) is for bootc. They are
    sized by O(asked.render_machine), or by a limit or connections that are named. Without these, they are what is the same on every
    machine, and a unit that sizes there at each boot, as with C(conntrack_size_at_boot).
  - The files are not written. The playbook C(headroom.netfilter.render) does that.
  - docs/pipelines.md has each form.
positional: asked
options:
  _input:
    description:
      - The variables of the role P(headroom.netfilter.conntrack#role), by their names; others are passed over.
      - What is missing, V(none) or the empty string has the role's default.
    type: dict
    required: true
  asked:
    description: Where to, and for what.
    type: dict
    required: true
    suboptions:
      render_to:
        description: The folder; a relative one is looked up from where Ansible was started.
        type: path
        required: true
      render_machine:
        description: A machine that need not be there. Unset, none is meant.
        type: dict
        suboptions:
          memory:
            description: "What the kernel has of it: V(4 GiB), V(512 MiB), or V(4028440 kB) as C(MemTotal) of C(/proc/meminfo)."
            type: str
            required: true
          cpus:
            description: Processors. Read, and of no effect on any number of today's rules.
            type: int
          kernel:
            description: The release of its kernel, as C(uname -r) says it. Unset, the newest is meant.
            type: str
          flavour:
            description: V(ip_conntrack) is that of kernels before 2.6.20, and of CentOS 5.
            type: str
            choices: [nf_conntrack, ip_conntrack]
            default: nf_conntrack
          builtin:
            description: Whether the kernel has connection tracking built in, rather than as a module.
            type: bool
            default: false
          architecture:
            description: As C(uname -m) says it. Buckets are rounded by its pointers.
            type: str
            choices: [x86_64, aarch64, ppc64le, s390x, riscv64, i686, armv7l]
            default: x86_64
          page_size:
            description: Bytes of a page. Buckets are rounded to whole ones.
            type: int
            choices: [4096, 16384, 65536]
            default: 4096
          init:
            description: Other inits have no udev rule, and what their boots do is not promised.
            type: str
            choices: [systemd, openrc, sysvinit, busybox]
            default: systemd
          systemd_sysctl:
            description:
              - What the udev rule calls. The default is there whether C(/lib) is a link to C(/usr/lib) or not.
              - The role writes what it finds on the host, the other one first.
            type: str
            choices: [/usr/lib/systemd/systemd-sysctl, /lib/systemd/systemd-sysctl]
            default: /lib/systemd/systemd-sysctl
seealso:
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the script
  ansible.builtin.debug:
    msg: "{{ (rendered.files | selectattr('path', 'eq', 'apply.sh') | first).content }}"
  vars:
    rendered: "{{ {'conntrack_expected_connections': 300000} | headroom.netfilter.render({'render_to': 'rendered'}) }}"
"""

RETURN = r"""
_value:
  description: What is to be in the folder.
  type: dict
  contains:
    refusals:
      description: What is wrong with the input, each with the variable, its value and what would do. If there are any, there is nothing else.
      type: list
      elements: str
    said:
      description: The limit, the buckets and their reasons, and warnings.
      type: list
      elements: str
      sample: ["limit 131072: 2 percent of 4.0 GiB at 392 B an entry = 218624, rounded down to 2^17"]
    folders:
      description: The folders that files lie in, by absolute path.
      type: list
      elements: str
      sample: [/srv/rendered, /srv/rendered/kargs.d]
    files:
      description: The files.
      type: list
      elements: dict
      contains:
        path:
          description: Below O(asked.render_to).
          type: str
          sample: user-data
        dest:
          description: The absolute path.
          type: str
          sample: /srv/rendered/user-data
        content:
          description: The text.
          type: str
        mode:
          description: As C(0644).
          type: str
    absent:
      description: Files of an earlier rendering that are to go, by absolute path.
      type: list
      elements: str
"""

from collections.abc import Mapping
from typing import Any


def render(variables: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Input that no host could make good is refused in what is returned."""
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.folder import as_asked
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    return dict(untrusted(as_asked(variables, asked)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"render": render}
