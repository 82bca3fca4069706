#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_settings
short_description: Change files and live values of connection tracking in one transaction
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes the running kernel's connection tracking and the files that persist it as asked, in one call, without dropping a flow. All
    of it holds, or all of it is put back; what cannot be is told.
  - One change at a time; each is done to its end though the connection is lost. What was there before it is kept in
    C(/var/lib/headroom/netfilter) and can be given back by M(headroom.netfilter.conntrack_rollback).
  - A change that was left unfinished, as by a power cut, is undone first. Then what was planned from may have changed, so that the
    module fails with RV(stale).
  - When it grows, the buckets come before the limit; when it shrinks, the limit comes before the buckets.
  - The kernel rounds the number of buckets up to whole pages of pointers; a table that was so rounded counts as asked.
  - A file C(/etc/headroom/netfilter.hold) on a host, with a reason in it, keeps it from being changed.
options:
  id:
    description:
      - The id of this change, one for each. If the host has made a change of this id already, what was answered then is answered
        again.
      - By default the host makes one.
    type: str
  files:
    description: Files to write whole, with mode 0644 and root's. Folders that are not there are made.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: str
        required: true
      content:
        description: What is to be in it.
        type: str
        required: true
      found:
        description: The SHA-256 of what was planned from, empty for no file. Where it is another, the module fails with RV(stale).
        type: str
  lines:
    description: Lines of files of others to replace, wherever they stand in the file, or to add.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: str
        required: true
      found:
        description:
          - The line that is there, blanks around it apart. Where there is none, the module fails with RV(stale).
          - Empty for none that is there. Then the wanted one is added at the end of the file, where it is not the last one already; a file
            that is not there is made.
        type: str
        required: true
      wanted:
        description: What takes its place, or is added.
        type: str
        required: true
  max:
    description: The limit, entries. Left alone where not given.
    type: int
  buckets:
    description: Buckets of the hash table. Left alone where not given.
    type: int
  expect_max:
    description:
      - The most expectations at once, connections that helpers for protocols such as FTP and SIP await. Left alone where not given.
      - Where this kernel does not have it, it is an error.
    type: int
  timeouts:
    description:
      - Seconds by name, as in the facts, for instance V(tcp_established).
      - A timeout that this kernel does not have is an error.
    type: dict
    default: {}
  switches:
    description:
      - Those of TCP, V(tcp_loose) and V(tcp_be_liberal), by name, as in the facts.
      - One that this kernel does not have is an error.
    type: dict
    default: {}
  shrink:
    description:
      - Whether O(max), O(buckets) and O(expect_max) may be lowered.
      - The limit is never lowered below the entries in use.
    type: bool
    default: false
  found:
    description:
      - Live values that were planned from, by dotted sysctl name (C(hashsize) for the buckets). Where one is another, the module
        fails with RV(stale).
    type: dict
    default: {}
  expected:
    description:
      - What the next boot and the next load of the module are to leave, by C(boot) and C(reload), and by the names of live values.
      - It is predicted from what is then on the host. Where it is otherwise, or cannot be told, all is put back.
    type: dict
    default: {}
  refusals:
    description: Why this change is not to be made; then none is.
    type: list
    elements: str
    default: []
  takeover:
    description: Whether a link in the place of one of O(files), as one to C(/dev/null) that masks it, is replaced.
    type: bool
    default: false
  initramfs:
    description:
      - Whether to make the initial RAM disk of the running kernel anew once the files are written, with the program that made it
        (update-initramfs, dracut or mkinitcpio). This is done each time that it is asked for, and again where the change is undone.
      - It takes seconds to minutes.
    type: bool
    default: false
  target:
    description: V(image) for a tree that is built to be run elsewhere, which has no live values, and of which nothing is kept.
    type: str
    choices: [host, image]
    default: host
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
  - headroom.netfilter.change
notes:
  - Needs root, and the first network namespace for all but the timeouts and switches. What is already so is no error without either.
seealso:
  - module: headroom.netfilter.conntrack_rollback
  - module: headroom.netfilter.conntrack_facts
"""

EXAMPLES = r"""
- name: Raise the limit, the buckets and the expectations, and keep idle connections for two hours
  headroom.netfilter.conntrack_settings:
    max: 1048576
    buckets: 1048576
    expect_max: 16384
    timeouts:
      tcp_established: 7440

- name: Lower the limit, if no more flows are in use
  headroom.netfilter.conntrack_settings:
    max: 262144
    shrink: true

- name: Raise the limit, now and at each boot
  headroom.netfilter.conntrack_settings:
    max: 262144
    files:
      - path: /etc/sysctl.d/99-conntrack.conf
        content: |
          net.netfilter.nf_conntrack_max = 262144
    expected:
      boot:
        net.netfilter.nf_conntrack_max: 262144
"""

RETURN = r"""
id:
  description: The id of this change. Nothing where nothing was changed and none was given.
  returned: always
  type: str
  sample: 20261125T101500Z-0a1b2c
state:
  description:
    - What came of it, C(kept), C(undone), C(unfinished) where not all could be undone and the next change tries again, or C(none)
      where nothing was changed.
  returned: always
  type: str
  sample: kept
before:
  description: The live values that were asked for, as they were, by dotted sysctl name (C(hashsize) for the buckets).
  returned: success
  type: dict
  sample: {hashsize: 65536, net.netfilter.nf_conntrack_max: 65536}
after:
  description: The same as they are now, or would be in check mode.
  returned: success
  type: dict
  sample: {hashsize: 1048576, net.netfilter.nf_conntrack_max: 1048576}
reboot_needed:
  description: Values that only the next boot makes what O(expected) says, by the names of live values.
  returned: success
  type: list
  elements: str
  sample: [hashsize]
facts:
  description: The host after the change, in check mode before it, as RV(headroom.netfilter.conntrack_facts#module:ansible_facts.conntrack) has it.
  returned: success
  type: dict
restored:
  description: Of what had been changed, what is again as it was; paths, and live values.
  returned: failure
  type: list
  elements: str
  sample: [net.netfilter.nf_conntrack_max is 65536, /etc/sysctl.d/99-conntrack.conf]
not_restored:
  description: Of what had been changed, what is not as it was, why, and what to do.
  returned: failure
  type: list
  elements: str
  sample: ["net.netfilter.nf_conntrack_max is 180000: 90000 flows are in use"]
stale:
  description: Whether reading and planning anew is all it takes.
  returned: failure
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.request import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction import run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "found": {"type": "str"},
}
LINE = {name: {"type": "str", "required": True} for name in ("path", "found", "wanted")}


def main():
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str"},
            "files": {"type": "list", "elements": "dict", "default": [], "options": FILE},
            "lines": {"type": "list", "elements": "dict", "default": [], "options": LINE},
            "max": {"type": "int"},
            "buckets": {"type": "int"},
            "expect_max": {"type": "int"},
            "timeouts": {"type": "dict", "default": {}},
            "switches": {"type": "dict", "default": {}},
            "shrink": {"type": "bool", "default": False},
            "found": {"type": "dict", "default": {}},
            "expected": {"type": "dict", "default": {}},
            "refusals": {"type": "list", "elements": "str", "default": []},
            "takeover": {"type": "bool", "default": False},
            "initramfs": {"type": "bool", "default": False},
            "target": {"type": "str", "choices": ["host", "image"], "default": "host"},
            "lock_seconds": {"type": "int", "default": 60},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        answer = run(WritableHost(), read(module.params), module.check_mode)
    except ChangeError as error:
        module.fail_json(**dict(error.told, msg=str(error)))
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
