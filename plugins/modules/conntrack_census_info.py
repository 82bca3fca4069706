#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_census_info
short_description: Who fills the connection tracking table
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Counts the entries of the table by what they have in common, as their state, their source or their destination port.
  - By default it looks at the first 20000 entries. The kernel tells them in the order of a hash table whose key it makes at
    random when it starts, so that they are a random sample of all, and each share comes with its margin. The margins of a table
    hold all at once, so also for its first row.
  - Reads through ctnetlink, without conntrack-tools; where that may not be used, C(/proc/net/nf_conntrack) or
    C(/proc/net/ip_conntrack).
  - Takes the same memory whatever the table holds. Where there are more groups than it can keep, it drops the smallest and
    says how many entries a group may have more of at most.
options:
  sample:
    description:
      - How many entries to look at; V(0) for all of them.
      - A sample says nothing about what is rare. Entries of one client are no more alike in their places than any others.
    type: int
    default: 20000
  group_by:
    description:
      - What to count by, one table for each item. Several fields joined with V(+) are counted together.
      - Fields are V(protocol), V(state), V(source), V(destination), V(source_network), V(destination_network),
        V(destination_port), V(zone), V(mark), V(assured), V(timeout_class) and V(role).
      - Addresses and ports are those of the first packet of a flow, before any translation.
    type: list
    elements: str
    default: [state, protocol+destination_port, source]
  top:
    description: How many of the largest groups to tell of, of each table.
    type: int
    default: 10
  prefix_lengths:
    description: Bits of a network, by V(ipv4) and V(ipv6).
    type: dict
    default: {ipv4: 24, ipv6: 64}
  namespace:
    description:
      - The network namespace to read, by its name (as C(ip netns) has it), by the number of a process in it, or by the inode that
        M(headroom.netfilter.conntrack_facts) tells.
      - Without it, the one that the module runs in.
    type: str
  anonymise:
    description:
      - Whether addresses are told by other names, which are the same for the same address within one result and in no other.
      - Ports, marks and numbers stay.
    type: bool
    default: false
  timeout_profile:
    description: The profile of the role P(headroom.netfilter.conntrack#role) whose timeouts tell what is stale.
    type: str
    choices: [kernel, server, gateway, kubernetes, dns, edge]
    default: server
  timeouts:
    description: Single timeouts over the profile, seconds by name.
    type: dict
    default: {}
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
attributes:
  check_mode:
    support: full
    details: Reads the same in check mode.
  diff_mode:
    support: none
    details: Changes nothing.
notes:
  - Needs no root but CAP_NET_ADMIN in the network namespace that is read. To enter another one it needs CAP_SYS_ADMIN, and to find
    it by a process of another user, or by its inode, CAP_SYS_PTRACE.
  - Another network namespace is entered by a child process, which ends with the module; the module's own stays where it is.
  - Whoever has CAP_NET_ADMIN in the network namespace may send messages that look like the kernel's. They are told from the
    kernel's by their sender and by a number that only the kernel is told, count for nothing but RV(forged), and the kernel is asked
    to drop those that follow.
  - A reading of C(/proc) finds its place again, every 4 KiB, by the number of entries before, those of all network namespaces. So
    for one that ends or begins meanwhile, another one may be missed or counted twice; nothing tells, and RV(exact) stays V(true).
    Through ctnetlink that does not happen.
  - A reading waits 120 seconds at most for what the kernel tells; then RV(exact) is V(false).
  - As with the program conntrack, the first use loads the module nf_conntrack_netlink, where the kernel has it as one. Where
    connection tracking itself is not loaded, nothing is read and nothing is loaded.
  - Shares of a sample assume that nothing makes entries stand where they do by what they are. Resizing the table while it is read
    does; it is read again then, three times at most, and afterwards RV(exact) is V(false). So it is where answers are lost.
seealso:
  - module: headroom.netfilter.conntrack_expire
  - module: headroom.netfilter.conntrack_facts
"""

EXAMPLES = r"""
- name: Look at a sample of the table
  headroom.netfilter.conntrack_census_info:
  register: census

- name: Count every entry, by state and by the network it comes from
  headroom.netfilter.conntrack_census_info:
    sample: 0
    group_by: [state, source_network]
    prefix_lengths: {ipv4: 16}

- name: Find out who talks to what, in a form that can be shown to others
  headroom.netfilter.conntrack_census_info:
    group_by: [source+destination_port]
    anonymise: true
"""

RETURN = r"""
source:
  description: What was read, V(ctnetlink) or a file; V(none) where connection tracking is not loaded.
  returned: success
  type: str
  sample: ctnetlink
total:
  description: Entries in the table.
  returned: success
  type: int
  sample: 1000000
examined:
  description: Entries looked at.
  returned: success
  type: int
  sample: 20000
exact:
  description: Whether these were all, so that numbers are no estimates.
  returned: success
  type: bool
  sample: false
groupings:
  description: A table for each item of O(group_by).
  returned: success
  type: list
  elements: dict
  contains:
    group_by:
      description: The item.
      type: str
      returned: always
      sample: state
    top:
      description:
        - The largest groups, each with the values that its entries have in common.
        - A value that entries do not have, as the port of ICMP, is V(none).
      type: list
      elements: dict
      returned: always
      sample: [{state: ESTABLISHED, entries: 858150, share: 0.85815, margin: 0.00505}]
      contains:
        protocol:
          description: The protocol, by its name or number.
          type: str
          returned: where O(group_by) has it
        state:
          description:
            - The state, as C(conntrack -L) prints it.
            - V(ESTABLISHED_UNREPLIED) is what it prints as ESTABLISHED and UNREPLIED, a flow that was picked up in its midst and that
              nobody has answered since; see C(net.netfilter.nf_conntrack_tcp_loose).
          type: str
          returned: where O(group_by) has it
        source:
          description: The address of the source.
          type: str
          returned: where O(group_by) has it
        destination:
          description: The address of the destination.
          type: str
          returned: where O(group_by) has it
        source_network:
          description: The network of the source.
          type: str
          returned: where O(group_by) has it
        destination_network:
          description: The network of the destination.
          type: str
          returned: where O(group_by) has it
        destination_port:
          description: The port of the destination.
          type: int
          returned: where O(group_by) has it
        zone:
          description: The zone.
          type: int
          returned: where O(group_by) has it
        mark:
          description: The mark.
          type: int
          returned: where O(group_by) has it
        assured:
          description: The mark of a flow that has seen traffic both ways, and is not given up early.
          type: bool
          returned: where O(group_by) has it
        timeout_class:
          description: The name of the timeout that they live by.
          type: str
          returned: where O(group_by) has it
        role:
          description:
            - What this host is to them, V(server), V(client), V(forward), V(local) for what it says to itself, or V(translated) where
              an address or a port is, whoever's they are.
            - V(none) where the addresses of the host cannot be read, as of a router with more than some ten thousand routes.
          type: str
          returned: where O(group_by) has it
        entries:
          description: How many there are; of a sample, reckoned for the whole table.
          type: int
          returned: always
        share:
          description: Their part of all, 0 to 1.
          type: float
          returned: always
        margin:
          description:
            - How far the true share may be off; V(none) where all were counted.
            - In at least 95 of 100 cases this holds for all groups of the table at once, whichever of them are told.
          type: float
          returned: always
    others:
      description: How many groups there are besides, as far as they were met and kept.
      type: int
      returned: always
      sample: 3
    missed:
      description: How many entries a group may have more of than told, because groups had to be dropped; among those looked at.
      type: int
      returned: always
      sample: 0
stale:
  description:
    - Entries that have more time left than their timeout of the profile would ever give them.
    - They come from before the timeouts were lowered. M(headroom.netfilter.conntrack_expire) shortens them.
    - What a timeout policy of a rule gave is counted as well. M(headroom.netfilter.conntrack_expire) leaves that alone unless it is
      asked for, and tells it as RV(headroom.netfilter.conntrack_expire#module:spared).
  returned: success
  type: dict
  contains:
    entries:
      description: How many, in all.
      type: int
      returned: always
      sample: 612000
    share:
      description: Their part of all, 0 to 1.
      type: float
      returned: always
      sample: 0.612
    margin:
      description:
        - How far the true share may be off; V(none) where all were counted.
        - In at least 95 of 100 cases it is no farther off, and in as many those of all C(timeouts) at once.
      type: float
      returned: always
      sample: 0.00746
    timeouts:
      description: The same by the name of the timeout, C(entries), C(share) and C(margin), with its seconds, C(timeout).
      type: dict
      returned: always
      sample:
        tcp_established: {entries: 612000, share: 0.612, margin: 0.00746, timeout: 7440}
unread:
  description: What was passed over.
  returned: success
  type: dict
  contains:
    entries:
      description: Entries that could not be read.
      type: int
      returned: always
      sample: 0
    attributes:
      description: Attributes of others that are not known.
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
unlisted:
  description:
    - Entries that are counted, and take room, but stand in no list of the table; see docs/findings.md, counted-not-listed.
    - Of one percent of the entries or more the lesser of two looks, a second apart, so that what is so for a moment is not told.
    - Of V(none) it is not known how many there are.
  returned: success
  type: dict
  contains:
    entries:
      description: How many more are counted than listed; known where RV(exact) is V(true).
      type: int
      returned: always
      sample: 0
    dying:
      description: Those that have ended, and wait until the event of it is delivered.
      type: int
      returned: always
      sample: 0
    unconfirmed:
      description: Those of packets that are still on their way; kernels before 5.19 have a list of them.
      type: int
      returned: always
      sample: 0
    listeners:
      description: Where some are dying, who has asked for the events of ends and lost some, the most first; three at most.
      type: list
      elements: str
      returned: always
      sample: ["conntrackd (812): 31200 events lost"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import PROFILES


def main():
    module = AnsibleModule(
        argument_spec={
            "sample": {"type": "int", "default": 20000},
            "group_by": {
                "type": "list",
                "elements": "str",
                "default": ["state", "protocol+destination_port", "source"],
            },
            "top": {"type": "int", "default": 10},
            "prefix_lengths": {"type": "dict", "default": {"ipv4": 24, "ipv6": 64}},
            "namespace": {"type": "str"},
            "anonymise": {"type": "bool", "default": False},
            "timeout_profile": {"type": "str", "choices": list(PROFILES), "default": "server"},
            "timeouts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        found = examine(Host(), read_options(module.params), module.params["namespace"])
    except TableError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
