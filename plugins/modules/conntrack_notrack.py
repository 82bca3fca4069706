#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack_notrack
short_description: Leave some traffic untracked, so that it takes no entries of connection tracking
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Has the packets of some flows pass by connection tracking, in both directions. They take no entries, no memory and no lookup, and
    are not lost when the table is full.
  - A packet that is not tracked meets no rule by the state of its connection. The module reads the rules in force, whoever has made
    them, follows the packets of each flow through them with tracking and without, and refuses what would be lost, naming the rule.
  - Refused as well is a flow in whose way addresses are translated or a proxy stands, one that packets which the host forwards for
    others could be taken for, flows that overlap, and one that takes in the connection by which Ansible has come.
  - The rules stand in a table of nftables of their own (C(inet headroom_notrack), priority -300), or where there is no nftables in
    chains of their own of the tables C(raw) of iptables and ip6tables. A unit of systemd loads them at each boot, and another one
    brings them back within five seconds where others have flushed them.
  - It is one change of the host, which can be given back by M(headroom.netfilter.conntrack_rollback), and which with
    O(confirm_seconds) the host takes back by itself unless it is confirmed.
  - Entries that are there already stay until their time is over; M(headroom.netfilter.conntrack_expire) ends them.
options:
  flows:
    description:
      - What is left untracked. No flow is nothing, so that an empty list takes away what there was.
      - Each has a C(name) of its own, a C(protocol) (V(tcp), V(udp) or V(sctp)), the C(ports) of the service, numbers and ranges such as
        V(8000-8100), and a C(role), what this host is to it, V(server), V(client), or V(forward) for what goes through it.
      - C(networks) are those of the other end, for V(forward) those of the service; C(interfaces) are those by which packets come in, or
        go out from here. Left out, they are any but the loopback; an empty list is refused. C(comment) goes into the file.
      - What the host says to itself over C(lo) stays tracked unless V(lo) is among C(interfaces).
    type: raw
  lifeline:
    description: Networks from which ssh to this host is never tracked, so that it opens though the table is full. None by default.
    type: raw
  lifeline_ports:
    description: The ports of ssh.
    type: raw
    default: [22]
  timeouts:
    description:
      - Flows that stay tracked, but not for long, as O(flows) has them, and C(timeouts) in seconds by the names that facts have for
        them, such as C(tcp_time_wait).
      - Those that are not named are the host's own at the time of the change. Needs nftables.
    type: raw
  accept:
    description:
      - Whether rules are added that let through exactly the packets that would be lost, where they would be lost, at the head of that
        chain. They match only what is not tracked, and of TCP's replies none that opens a connection.
      - Replies to this host as a V(client) are let through from the networks that are named, and are refused where none is.
    type: raw
    default: false
  backend:
    description: V(nftables), V(iptables), or V(auto), which is what is there already, or else nftables where it works.
    type: raw
    default: auto
  state:
    description: V(absent) takes all of it away.
    type: raw
    default: present
  id:
    description: The id of this change, one for each. By default the host makes one.
    type: str
  confirm_seconds:
    description: Within how many seconds the change is to be confirmed; V(0) for one that need not be.
    type: raw
    default: 0
  confirm:
    description: The id of a change that is to be kept. Then nothing else is done.
    type: str
  lock_seconds:
    type: raw
    default: 60
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
  - headroom.netfilter.guarded
  - headroom.netfilter.change
notes:
  - Needs root, systemd, and nftables or iptables with ip6tables.
seealso:
  - module: headroom.netfilter.conntrack_census_info
  - module: headroom.netfilter.conntrack_expire
  - module: headroom.netfilter.conntrack_rollback
"""

EXAMPLES = r"""
- name: Leave the queries of a name server's clients untracked, and its own to others
  headroom.netfilter.conntrack_notrack:
    flows:
      - name: dns
        protocol: udp
        ports: [53]
        role: server
      - name: upstream
        protocol: udp
        ports: [53]
        networks: [192.0.2.53/32, "2001:db8::53/128"]
        role: client
    lifeline: [198.51.100.0/24]

- name: Keep closed connections of a web server for ten seconds
  headroom.netfilter.conntrack_notrack:
    timeouts:
      - name: web
        protocol: tcp
        ports: [80, 443]
        role: server
        timeouts: {tcp_time_wait: 10}

- name: Track everything again
  headroom.netfilter.conntrack_notrack:
    state: absent
"""

RETURN = r"""
id:
  description: The id of this change. Nothing where nothing was changed and none was given.
  returned: always
  type: str
  sample: 20261125T101500Z-0a1b2c
state:
  description:
    - What came of it, C(kept), C(unconfirmed) where it is taken back unless it is confirmed, C(undone), C(unfinished) where not all
      could be undone and the next change tries again, or C(none) where nothing was changed.
  returned: always
  type: str
  sample: kept
backend:
  description: What the rules are made with, C(nftables) or C(iptables). Nothing where nothing is left untracked.
  returned: success
  type: str
  sample: nftables
flows:
  description: What was asked for, the lifeline among it, and what it had in the table before the change.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The flow.
      returned: always
      type: str
      sample: dns
    protocol:
      description: Its protocol.
      returned: always
      type: str
      sample: udp
    role:
      description: What the host is to it.
      returned: always
      type: str
      sample: server
    entries:
      description: Its entries; where not all were looked at, reckoned from 20000 of them.
      returned: always
      type: int
      sample: 41233
    share:
      description: Their share of all entries, 0 to 1.
      returned: always
      type: float
      sample: 0.91
    margin:
      description: How far from the true share that is at most, in 95 of 100 cases. Nothing where all were looked at.
      returned: always
      type: float
      sample: 0.004
accepted:
  description: Rules that are added to chains of others.
  returned: success
  type: list
  elements: dict
  contains:
    flow:
      description: Whose packets they let through.
      returned: always
      type: str
      sample: upstream
    direction:
      description: C(request) or C(reply).
      returned: always
      type: str
      sample: reply
    table:
      description: The table; of iptables the program and the table.
      returned: always
      type: str
      sample: inet filter
    chain:
      description: The chain.
      returned: always
      type: str
      sample: input
    rule:
      description: The rule.
      returned: always
      type: str
      sample: "iifname != \"lo\" udp sport { 53 } ip saddr { 192.0.2.53/32 } ct state untracked accept"
restored:
  description: Of what had been changed, what is again as it was.
  returned: failure
  type: list
  elements: str
  sample: [/etc/headroom/notrack.nft, flows left untracked]
not_restored:
  description: Of what had been changed, what is not as it was, why, and what to do.
  returned: failure
  type: list
  elements: str
  sample: []
stale:
  description: Whether asking anew is all it takes.
  returned: failure
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.notrack.converge import answer


def main():
    module = AnsibleModule(
        argument_spec={
            "flows": {"type": "raw"},
            "lifeline": {"type": "raw"},
            "lifeline_ports": {"type": "raw", "default": [22]},
            "timeouts": {"type": "raw"},
            "accept": {"type": "raw", "default": False},
            "backend": {"type": "raw", "default": "auto"},
            "state": {"type": "raw", "default": "present"},
            "id": {"type": "str"},
            "confirm_seconds": {"type": "raw", "default": 0},
            "confirm": {"type": "str"},
            "lock_seconds": {"type": "raw", "default": 60},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        found = answer(WritableHost(), module.params, module.check_mode)
    except ChangeError as error:
        module.fail_json(**dict(error.told, msg=str(error)))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
