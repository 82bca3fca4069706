#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_settings
short_description: Set the live limit, buckets, expectations and timeouts of connection tracking
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Makes the running kernel's connection tracking as asked, in one call, without dropping a flow. Persists nothing.
  - When it grows, the buckets come before the limit; when it shrinks, the limit comes before the buckets.
  - Each value is read back. If one does not hold, those written before it are put back and the module fails.
  - The kernel rounds the number of buckets up to whole pages of pointers; a table that was so rounded counts as asked.
options:
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
  shrink:
    description:
      - Whether O(max), O(buckets) and O(expect_max) may be lowered.
      - The limit is never lowered below the entries in use.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
    details: Checks on the controller what the host answers, and hands on only what is documented here.
  async:
    support: none
    details: The result would come by a way on which it is not checked.
  bypass_host_loop:
    support: none
  check_mode:
    support: full
    details: Does all but the writing, the refusals among it.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
notes:
  - Needs root, and the first network namespace for all but the timeouts. What is already so is no error without either.
  - Python 3.6 or later is needed on the host.
seealso:
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
"""

RETURN = r"""
before:
  description: What was asked for, as it was, by dotted sysctl name (C(hashsize) for the buckets).
  returned: success
  type: dict
  sample: {hashsize: 65536, net.netfilter.nf_conntrack_max: 65536}
after:
  description: What was asked for, as it is now, or would be in check mode.
  returned: success
  type: dict
  sample: {hashsize: 1048576, net.netfilter.nf_conntrack_max: 1048576}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.live import (
    SettingsError,
    apply,
    read,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host


def main():
    module = AnsibleModule(
        argument_spec={
            "max": {"type": "int"},
            "buckets": {"type": "int"},
            "expect_max": {"type": "int"},
            "timeouts": {"type": "dict", "default": {}},
            "shrink": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        outcome = apply(Host(), read(module.params), module.check_mode)
    except SettingsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=outcome.changed,
        before=outcome.before,
        after=outcome.after,
        diff={
            "before": lines(outcome.before),
            "after": lines(outcome.after),
            "before_header": "live kernel",
            "after_header": "live kernel",
        },
    )


def lines(values):
    return "".join("{0} = {1}\n".format(name, values[name]) for name in sorted(values))


if __name__ == "__main__":
    main()
