#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_unload
short_description: Unload connection tracking from a host that does not need it, and keep it out
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Looks who needs connection tracking; rules in any network namespace, services, rules that services load at their starts, modules
    that are held. While anyone does, it is refused, and RV(needed_by) names all.
  - Otherwise unloads C(nf_conntrack) with all that stands on it, in order, and keeps it out by an C(install) line in
    C(/etc/modprobe.d/00-headroom-unload.conf). Lines that have it loaded at a boot are commented out, and the modules of conntrack
    are taken out of C(IPTABLES_MODULES) in C(/etc/sysconfig/iptables-config). Then a load is tried, which has to fail.
  - All of it is one transaction, as with M(headroom.netfilter.conntrack_settings); all of it holds, or all of it is put back.
  - With O(confirm_seconds), the host takes the change back by itself after that time, or at a boot before that, unless it is
    confirmed. The module's action does that, over a connection that it opens anew.
  - With O(state=restored), files are again what they were, to the byte, and the modules are loaded, with the values that they had.
  - Where conntrack is built into the kernel it cannot be unloaded. Where no rule needs it, no packet is tracked there; RV(hooks) shows
    that. Nothing is changed.
options:
  state:
    description:
      - V(unloaded) unloads it and keeps it out.
      - V(restored) takes that back, and no other change.
    type: str
    choices: [unloaded, restored]
    default: unloaded
  confirm_seconds:
    description:
      - Seconds from its begin in which the change is to be confirmed, 10 to 3600; V(0) for a change that stays without.
      - Needs systemd, OpenRC or Debian's init on the host; with others it is refused.
    type: int
    default: 0
  confirm:
    description:
      - The id of a change that is to be kept. Nothing else is done then.
      - The action does this by itself; it is for those who set O(confirm_seconds) and run the module by other ways.
    type: str
  id:
    description: The id of this change. By default the action makes one, or the host.
    type: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
  - headroom.netfilter.change
attributes:
  action:
    support: full
    details: Confirms the change over a new connection, checks on the controller what the host answers, and hands on only what is documented here.
  diff_mode:
    support: full
    details: Files and modules alike.
notes:
  - Needs root, in the host's own network namespace.
seealso:
  - module: headroom.netfilter.conntrack_rollback
  - module: headroom.netfilter.conntrack_settings
"""

EXAMPLES = r"""
- name: Unload connection tracking where nobody needs it
  headroom.netfilter.conntrack_unload:
    confirm_seconds: 60

- name: Have it back
  headroom.netfilter.conntrack_unload:
    state: restored
"""

RETURN = r"""
id:
  description: The id of this change, by which M(headroom.netfilter.conntrack_rollback) can take it back.
  returned: always
  type: str
  sample: 20261125T101500Z-0a1b2c
state:
  description:
    - What became of the change; C(kept), or C(none) where nothing was changed, or C(unconfirmed).
    - Where it failed, C(undone) or C(unfinished).
  returned: always
  type: str
  sample: kept
kernel:
  description: What connection tracking is in this kernel, a C(module), C(builtin), or C(absent).
  returned: success
  type: str
  sample: module
modules:
  description: The modules that were unloaded, in this order; those that are loaded where O(state=restored).
  returned: success
  type: list
  elements: str
  sample: [nf_conntrack_netlink, nf_nat, nf_conntrack]
hooks:
  description:
    - Where connection tracking is built in, the hooks by which packets are tracked in this network namespace.
    - V(none) where it is not, or where nft and the kernel do not tell.
  returned: success
  type: list
  elements: str
  sample: []
restored:
  description: What is again as it was; paths, and modules.
  returned: always
  type: list
  elements: str
  sample: [/etc/modprobe.d/00-headroom-unload.conf, "modules nf_nat, nf_conntrack"]
not_restored:
  description: What is not as it was, why, and what to do.
  returned: always
  type: list
  elements: str
  sample: ["/etc/modules: changed by others since; look at it, and make of it what it is to be"]
needed_by:
  description: Who needs connection tracking.
  returned: failure
  type: list
  elements: dict
  contains:
    kind:
      description: A C(rule), a C(service), a C(file) that a service loads, a C(module), or C(untold) for what could not be read.
      type: str
      returned: always
      sample: rule
    where:
      description: Where it is.
      type: str
      returned: always
      sample: nftables, table inet filter, chain input
    text:
      description: What is there.
      type: str
      returned: always
      sample: ct state established,related accept
    remedy:
      description: What to do about it.
      type: str
      returned: always
      sample: remove it, if the host can do without
stale:
  description: Whether to look again may be enough, as something has changed meanwhile.
  returned: failure
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.cures.unload import Options, run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["unloaded", "restored"], "default": "unloaded"},
            "confirm_seconds": {"type": "int", "default": 0},
            "confirm": {"type": "str"},
            "id": {"type": "str"},
            "lock_seconds": {"type": "int", "default": 60},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        answer = run(WritableHost(), Options(**module.params), module.check_mode)
    except ChangeError as error:
        module.fail_json(**dict(error.told, msg=str(error)))
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
