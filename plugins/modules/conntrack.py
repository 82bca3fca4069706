#!/usr/bin/python
# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: conntrack
short_description: Size, persist, apply and prove connection tracking, in one transaction
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Reads the host with M(headroom.netfilter.conntrack_facts), plans on the controller as P(headroom.netfilter.conntrack_plan#filter) does,
    and where something differs has it changed by M(headroom.netfilter.conntrack_settings), which proves it or undoes it.
  - It is the one task of the role P(headroom.netfilter.conntrack#role), whose variables are these options with C(conntrack_) before them.
    An option that is not given is such a variable wherever there is one, outside of the role too.
  - What is planned from is read at each run, and never cached. What has changed between reading and writing is read and planned anew,
    three times at most.
  - A plan with refusals changes nothing and fails, with all of them in the message. No keyword of a play makes it otherwise.
  - A host without drift costs one execution of a module, and a change one more.
  - Where the connection is lost during the change, the host ends it by itself; if the connection comes back within half a minute, the
    result is asked for by the change's id, otherwise the next run finds it done or undone.
  - V(none) and the empty string are as good as unset, for each option. Numbers and words may come as text, as C(-e) hands them over.
options:
  max:
    description:
      - The limit itself, entries, 1 to 2147483647. Wins over sizing, floor, ceiling and the memory share.
      - Below O(max_floor), or below the limit in force, it is refused unless O(shrink).
      - Above O(memory_percent) it is taken with a warning, above all of memory refused.
    type: int
  expected_connections:
    description:
      - Peak concurrent flows of this host. The limit is sized to hold O(headroom) times as many.
      - Refused where the bounds leave no room for the peak itself.
    type: int
  headroom:
    description: Factor on the peak, the expected one and the flows in use alike, 1 to 100.
    type: float
    default: 2.0
  memory_percent:
    description:
      - The most that a full table may take of memory, buckets included, percent, 0.01 to 50.
      - Without any peak named, the limit is what this share holds, rounded down to a power of two.
    type: float
    default: 2
  max_floor:
    description: The least a sized limit may be, entries, as far as the memory share holds it.
    type: int
    default: 65536
  max_ceiling:
    description: The most a sized limit may be, entries.
    type: int
    default: 2097152
  entries_per_bucket:
    description: Entries to a bucket when the table is full, 1 to 8.
    type: int
    default: 1
  hashsize:
    description:
      - The buckets themselves, in place of O(entries_per_bucket). The kernel rounds up to whole pages.
      - An eighth of the limit at least, as a load of the module makes the limit 8 x hashsize.
    type: int
  timeout_profile:
    description: A set of timeouts; docs/timeouts.md of the collection has each value with its reason.
    type: str
    choices: [kernel, server, gateway, kubernetes, dns, edge]
    default: server
  timeouts:
    description:
      - Single timeouts over the profile, seconds (at most 2147483647 ticks of the kernel, 2147483 s at 1000 a second) by name, which is
        that of the sysctl without its prefix and C(_timeout).
      - Text that is JSON will do.
    type: dict
    default: {}
  rfc_floors:
    description:
      - What to do about timeouts below RFC 5382, 4787 and 5508 on a host that translates addresses, or with the profile V(gateway).
      - V(enforce) raises those of the profile and refuses those of O(timeouts). V(warn) says so. V(ignore) does not.
    type: str
    choices: [enforce, warn, ignore]
    default: warn
  tcp_loose:
    description:
      - Whether TCP connections are tracked that were not seen to begin (C(nf_conntrack_tcp_loose)), V(1) or V(0), for which V(true) and
        V(false) will do. Unset leaves it alone.
      - Of each network namespace, as timeouts are.
    type: int
  tcp_be_liberal:
    description: "Whether TCP packets out of the window are taken, but for resets (C(nf_conntrack_tcp_be_liberal)), the same."
    type: int
  shrink:
    description: Whether limit, buckets and expectations may be lowered, the limit never below the flows in use.
    type: bool
    default: false
  apply:
    description: Whether to set live values. V(false) writes the files alone.
    type: bool
    default: true
  firewall:
    description: Whether to keep firewall services from unloading the module when they restart.
    type: bool
    default: true
  takeover:
    description:
      - Whether to comment out lines of other files under C(/etc) that are applied after these and say something else. Without it the
        run is refused before anything is changed, and names each line.
      - It also replaces what stands in the place of one of these files and is no regular file, such as a link to C(/dev/null).
    type: bool
    default: false
  initramfs:
    description:
      - Whether to renew the initial RAM disk of the running kernel (C(update-initramfs), C(dracut), C(mkinitcpio)), where it loads the module
        with older copies of modprobe.d than the plan needs. It is a part of the change, is proved, and is done again where that is undone.
      - Without it a warning names the command, and what that disk decides is not promised.
      - It takes seconds to minutes. As with each update of a kernel, the host may not boot if its power fails in the midst of it.
    type: bool
    default: false
  size_at_boot:
    description:
      - Whether a unit sizes limit, buckets and expectations by the machine's own memory, at each boot before the network comes up and after
        each load of the module. Then no file says them, but for what is named or is more than memory alone gives.
      - Where there is no systemd it is refused.
    type: bool
    default: false
  expire_existing:
    description:
      - Whether to shorten entries that are in the table already to the timeouts planned, with M(headroom.netfilter.conntrack_expire).
      - Nothing is shortened where files alone are written.
    type: bool
    default: false
  expire_most:
    description:
      - Where there are more entries to shorten than this, none is, and the task fails, after the change, which stays; V(0) for no bound.
      - Without it, half of the entries in the table.
    type: int
  target:
    description:
      - V(host), or V(image) where this runs on the tree of an image that is being built.
      - An image gets its files whatever the kernel of its builder is, and no live value is set.
    type: str
    choices: [host, image]
    default: host
  state:
    description:
      - V(present), or V(absent) to undo all changes that were made on the host so, as M(headroom.netfilter.conntrack_rollback) does with
        C(to=first). The other options are read, and have no effect then.
    type: str
    choices: [present, absent]
    default: present
  plan_only:
    description:
      - Only read and plan, without asking the host what a change of it would find, which check mode does. Refusals do not fail then.
      - It is no variable of the role.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.flow
attributes:
  action:
    support: full
    details: Reads on the host, plans on the controller, and changes on the host.
  async:
    support: none
    details: The results would come by a way on which they are not checked.
  bypass_host_loop:
    support: none
  check_mode:
    support: full
    details: The task's own, whether from C(--check) or from the keyword. All is done but the writing, on the host too.
  diff_mode:
    support: full
    details: One for each file, and one for the live values; in check mode the same as the run then has.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
    details: With O(expire_existing), entries that came meanwhile with more time left than planned are shortened again.
  platform:
    support: full
    platforms: linux
notes:
  - Needs root for a change, and Python 3.6 or later on the host.
  - No facts are set for the host. What was read is in the result.
seealso:
  - module: headroom.netfilter.conntrack_facts
  - module: headroom.netfilter.conntrack_settings
  - module: headroom.netfilter.conntrack_rollback
  - plugin: headroom.netfilter.conntrack_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Room for 300000 connections, and as many again
  headroom.netfilter.conntrack:
    expected_connections: 300000
  register: conntrack_result

- name: See what a smaller table would change, and change nothing
  headroom.netfilter.conntrack:
    max: 131072
    shrink: true
  check_mode: true
  diff: true

- name: As before the first change
  headroom.netfilter.conntrack:
    state: absent
"""

RETURN = r"""
before:
  description: The facts that were planned from, as M(headroom.netfilter.conntrack_facts) documents them.
  returned: with O(state=present), on success
  type: dict
  sample: {state: loaded, table: {max: 65536, buckets: 65536}}
after:
  description: The facts that were read after the change; those of RV(before) where nothing was changed.
  returned: with O(state=present) and without O(plan_only), on success
  type: dict
  sample: {state: loaded, table: {max: 1048576, buckets: 1048576}}
plan:
  description: The plan, as P(headroom.netfilter.conntrack_plan#filter) documents it.
  returned: with O(state=present), on success
  type: dict
  sample: {max: 1048576, buckets: 1048576, converged: false}
checked:
  description: Whether this was check mode.
  returned: success
  type: bool
files_only:
  description: Whether files alone are planned, as for an image.
  returned: with O(state=present), on success
  type: bool
reboot_needed:
  description: Keys whose values wait for a reboot, or for a load of the module.
  returned: with O(state=present), on success
  type: list
  elements: str
  sample: []
id:
  description: The change's name in the host's history, by which it can be undone.
  returned: when something was changed
  type: str
  sample: 20261125T101500Z-0f4a4f0d2a55
expired:
  description: What M(headroom.netfilter.conntrack_expire) has returned.
  returned: with O(expire_existing), on success
  type: dict
  sample: {examined: 60213, shortened: 41380}
pending:
  description: Whether a run has to see to the host, as it differs, is refused, or has entries to be shortened.
  returned: with O(plan_only), on success
  type: bool
refusals:
  description: What is unsafe on this host, or cannot be; a sentence each.
  returned: when refused, and with O(plan_only)
  type: list
  elements: str
undone:
  description: The changes that were undone, newest first.
  returned: with O(state=absent), on success
  type: list
  elements: str
restored:
  description: What was put back, files and values.
  returned: with O(state=absent), and when a change has failed
  type: list
  elements: str
not_restored:
  description: What could not be put back, and why.
  returned: with O(state=absent), and when a change has failed
  type: list
  elements: str
"""
