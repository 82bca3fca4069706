#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_expire
short_description: Shorten the time that entries of the connection tracking table have left
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - A timeout that is lowered changes nothing for entries that are in the table already, so that a full table stays full. This
    module gives them the time that they would have.
  - An entry that has more seconds left than the timeout of its state gets just that timeout. Nothing is deleted, and nothing is
    lengthened. A flow that is active gets its timeout anew with its next packet; one that is idle ends when its time is over.
  - Entries that the kernel does not let go of by the clock, permanent and offloaded ones, are left alone.
  - So are those that may have what they have left from a timeout policy, which a rule gives to flows of its choice, with C(ct timeout)
    of nftables or C(CT --timeout) of iptables. See O(under_policies).
  - Updates go to the kernel in batches, through ctnetlink, while it still tells the entries. Where it does not take them, for want of
    memory or because a security module forbids it, the module fails and says why, and how many were shortened before.
options:
  timeouts:
    description:
      - Seconds by name, as in the facts, for instance V(tcp_established). A state whose timeout is not named is left alone.
      - Over those of O(timeout_profile), where that is given.
      - With neither, the timeouts that the kernel has now.
    type: dict
    default: {}
  timeout_profile:
    description: The timeouts of a profile of the role P(headroom.netfilter.conntrack#role).
    type: str
    choices: [kernel, server, gateway, kubernetes, dns, edge]
  match:
    description: Which entries are meant; all that is given has to be true of them, one item of each list.
    type: dict
    suboptions:
      protocol:
        description: Names, V(tcp), V(udp), V(icmp), V(icmpv6), V(sctp), V(dccp), V(gre) or V(udplite).
        type: list
        elements: str
      state:
        description:
          - States as C(conntrack -L) prints them, for instance V(ESTABLISHED); V(REPLIED) or V(UNREPLIED) for protocols without.
          - V(ESTABLISHED_UNREPLIED) is what it prints as ESTABLISHED and UNREPLIED, a flow that was picked up in its midst and that
            nobody has answered since. It has the lesser of the timeouts V(tcp_established) and V(tcp_unacknowledged), and is not meant by
            V(ESTABLISHED).
        type: list
        elements: str
      source_network:
        description: Networks, for instance V(10.0.0.0/8), of the source of a flow's first packet, before any translation.
        type: list
        elements: str
      destination_network:
        description: Networks of its destination.
        type: list
        elements: str
      destination_port:
        description: Ports of its destination.
        type: list
        elements: int
  limit:
    description: Entries to shorten at most, the first that are met; V(0) for no bound.
    type: int
    default: 0
  most:
    description:
      - Where there are more entries to shorten than this, the module fails and shortens none, in check mode as well; V(0) for no bound.
        What comes meanwhile is not shortened beyond it either.
      - Without it, half of the entries in the table.
      - The table is gone through once more for it, unless it is V(0), or O(limit) is not more.
    type: int
  under_policies:
    description:
      - Whether to shorten entries as well that may have what they have left from a timeout policy.
      - The kernel tells which policies there are in the network namespace, and what they give, but not which entries are under one.
        Known are those that are under none, as no policy is for their protocol, or as they have more left than one gives to their state.
        The others of these protocols are left alone without this, and counted in RV(spared).
      - A policy that was changed in its place since, as C(nfct) does it, may have given more than it gives now. Such entries are taken
        for entries under none, and so are those of a flow that left a flowtable, which gives it the kernel's own timeout.
    type: bool
    default: false
  rate:
    description:
      - Entries a second to shorten at most, to spare the host; V(0) for as many as there can be.
      - With a rate, entries that have hardly more left than wanted are left alone, up to 5400 divided by the rate in seconds; they
        could have less by the time it is their turn.
    type: int
    default: 0
  namespace:
    description:
      - The network namespace, by its name (as C(ip netns) has it), by the number of a process in it, or by the inode that
        M(headroom.netfilter.conntrack_facts) tells.
      - Without it, the one that the module runs in.
    type: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
attributes:
  check_mode:
    support: full
    details: Goes through the table and counts what would be shortened.
  diff_mode:
    support: none
    details: An entry is not a thing to compare; the numbers say what was done.
notes:
  - Needs no root but CAP_NET_ADMIN in the network namespace, and a kernel with ctnetlink, whose module it loads. To enter another
    network namespace it needs CAP_SYS_ADMIN, and to find it by a process of another user, or by its inode, CAP_SYS_PTRACE.
  - Another network namespace is entered by a child process, which ends with the module; the module's own stays where it is.
  - Messages that look like the kernel's and are not count for nothing but RV(forged), as with
    M(headroom.netfilter.conntrack_census_info).
  - A reading waits 120 seconds at most for what the kernel tells; then RV(complete) is V(false).
  - What is idle for longer than the timeout wanted is not yet over; it is over when that timeout has passed once more.
seealso:
  - module: headroom.netfilter.conntrack_census_info
  - module: headroom.netfilter.conntrack_settings
"""

EXAMPLES = r"""
- name: Give what is in the table the timeouts that the kernel has now
  headroom.netfilter.conntrack_expire:

- name: See how many connections to the web server would be shortened to ten minutes
  headroom.netfilter.conntrack_expire:
    timeouts:
      tcp_established: 600
    match:
      protocol: [tcp]
      destination_port: [80, 443]
  check_mode: true

- name: Shorten to the timeouts of a profile, half a million entries at most, gently
  headroom.netfilter.conntrack_expire:
    timeout_profile: server
    limit: 500000
    rate: 50000

- name: Shorten whatever is there, be it most of the table, and be it under a timeout policy
  headroom.netfilter.conntrack_expire:
    timeouts:
      tcp_established: 600
    most: 0
    under_policies: true
"""

RETURN = r"""
examined:
  description: Entries looked at.
  returned: success
  type: int
  sample: 1000000
complete:
  description:
    - Whether the table was gone through to its end. It is not where O(limit) was reached, or O(most) by what came meanwhile.
    - Nor where the table was resized meanwhile, or some of it lost on the way, even in the third attempt; then run it again.
  returned: success
  type: bool
  sample: true
shortened:
  description: Entries that have less time left now, or would have in check mode.
  returned: success
  type: int
  sample: 612000
spared:
  description:
    - Entries that were left alone, and would have been shortened, because a timeout policy may have given them what they have left. Some
      or all of them may be under none; the kernel does not tell.
  returned: success
  type: int
  sample: 0
gone:
  description: Entries that ended by themselves before they could be shortened.
  returned: success
  type: int
  sample: 12
busy:
  description: Entries that the kernel would not change just then.
  returned: success
  type: int
  sample: 0
corrected:
  description:
    - Of the entries that were shortened, those whose flows came to a state with a shorter timeout just meanwhile, and that got that
      timeout by a second look. It touches no others.
  returned: success
  type: int
  sample: 0
states:
  description: What was looked at, by protocol and state.
  returned: success
  type: list
  elements: dict
  contains:
    protocol:
      description: The protocol, by its name or number.
      type: str
      returned: always
      sample: tcp
    state:
      description: The state, as C(conntrack -L) prints it.
      type: str
      returned: always
      sample: ESTABLISHED
    timeout_class:
      description: The name of the timeout that they live by, V(none) where there is none.
      type: str
      returned: always
      sample: tcp_established
    timeout:
      description: The seconds wanted, V(none) where they are left alone.
      type: int
      returned: always
      sample: 7440
    examined:
      description: Entries looked at.
      type: int
      returned: always
      sample: 812000
    shortened:
      description: Those of them that have less time left now, or would have in check mode.
      type: int
      returned: always
      sample: 612000
    spared:
      description: Those of them that were left alone because a timeout policy may have given them what they have left.
      type: int
      returned: always
      sample: 0
forged:
  description:
    - Messages that were passed over because they are not the kernel's, or answer nothing that was asked. Somebody who has CAP_NET_ADMIN
      in this network namespace sends them.
    - After the first of them the kernel drops what follows, uncounted.
  returned: success
  type: int
  sample: 0
source:
  description: Always V(ctnetlink); V(none) where connection tracking is not loaded, and there is nothing to shorten.
  returned: success
  type: str
  sample: ctnetlink
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.expire import expire
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.wanted import read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES


def main():
    module = AnsibleModule(
        argument_spec={
            "timeouts": {"type": "dict", "default": {}},
            "timeout_profile": {"type": "str", "choices": list(PROFILES)},
            "match": {
                "type": "dict",
                "options": {
                    "protocol": {"type": "list", "elements": "str"},
                    "state": {"type": "list", "elements": "str"},
                    "source_network": {"type": "list", "elements": "str"},
                    "destination_network": {"type": "list", "elements": "str"},
                    "destination_port": {"type": "list", "elements": "int"},
                },
            },
            "limit": {"type": "int", "default": 0},
            "rate": {"type": "int", "default": 0},
            "most": {"type": "int"},
            "under_policies": {"type": "bool", "default": False},
            "namespace": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        found = expire(Host(), read_options(module.params), module.params["namespace"], module.check_mode)
    except TableError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=found["shortened"] + found["corrected"] > 0, **found)


if __name__ == "__main__":
    main()
