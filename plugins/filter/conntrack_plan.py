# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_plan: facts and policy to plan, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_plan
short_description: Plan the limit, buckets and timeouts of connection tracking from facts and policy
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Computes on the controller what a host's connection tracking should be, and what differs from it. Touches no host.
  - Each number comes with its reason; what would be unsafe on this host is refused with a reason.
  - Facts that are not as M(headroom.netfilter.conntrack_facts) documents them are an error, which names the path that does not fit.
  - The limit is O(policy.conntrack_max) where that is set. Otherwise it is the largest of the connections expected with
    headroom, the flows in use with headroom rounded up to a power of two, and the memory share rounded down to a power of
    two, within floor and ceiling, never above the memory share, and never below the limit in force unless
    O(policy.conntrack_shrink).
  - The most expectations at once is what the kernel itself gives the planned buckets, and never below what is in force
    unless O(policy.conntrack_shrink).
positional: policy, names
options:
  _input:
    description: The facts, C(ansible_facts.conntrack), as M(headroom.netfilter.conntrack_facts) returns them.
    type: dict
    required: true
  policy:
    description:
      - The variables of the role P(headroom.netfilter.conntrack#role), by their names; others are passed over, so that all
        variables of a host will do.
      - What is missing, V(none) or the empty string has the role's default.
    type: dict
    default: {}
    suboptions:
      conntrack_max:
        description: The limit itself, entries, 1 to 2147483647.
        type: int
      conntrack_expected_connections:
        description: Peak concurrent flows of the host.
        type: int
      conntrack_headroom:
        description: Factor on the peak.
        type: float
        default: 2.0
      conntrack_memory_percent:
        description: The most a full table may take of memory, percent.
        type: float
        default: 2
      conntrack_max_floor:
        description: The least a sized limit may be, entries.
        type: int
        default: 65536
      conntrack_max_ceiling:
        description: The most a sized limit may be, entries.
        type: int
        default: 2097152
      conntrack_entries_per_bucket:
        description: Entries to a bucket when the table is full, 1 to 8.
        type: int
        default: 1
      conntrack_hashsize:
        description: The buckets themselves, 1 to 268435455.
        type: int
      conntrack_timeout_profile:
        description: A set of timeouts.
        type: str
        choices: [kernel, server, gateway, kubernetes, dns, edge]
        default: server
      conntrack_timeouts:
        description: Single timeouts over the profile, seconds by name.
        type: dict
        default: {}
      conntrack_rfc_floors:
        description: What to do about timeouts that the RFCs find too short for a host that translates addresses.
        type: str
        choices: [enforce, warn, ignore]
        default: warn
      conntrack_tcp_loose:
        description: "Whether TCP connections are tracked that were not seen to begin (C(nf_conntrack_tcp_loose)). Unset leaves it alone."
        type: int
      conntrack_tcp_be_liberal:
        description: "Whether TCP packets out of the window are taken, but for resets (C(nf_conntrack_tcp_be_liberal)). Unset leaves it alone."
        type: int
      conntrack_shrink:
        description: Whether limit, buckets and expectations may be lowered.
        type: bool
        default: false
      conntrack_apply:
        description: Whether live values are part of the plan.
        type: bool
        default: true
      conntrack_firewall:
        description: Whether firewall services are to be kept from unloading the module.
        type: bool
        default: true
      conntrack_takeover:
        description: Whether lines of other files that would win over the plan are to be commented out, rather than refused.
        type: bool
        default: false
      conntrack_initramfs:
        description: Whether an initial RAM disk that loads the module with other settings than planned is to be renewed, rather than told of.
        type: bool
        default: false
      conntrack_size_at_boot:
        description: Whether a unit is to size limit, buckets and expectations at each boot, by the machine's own memory.
        type: bool
        default: false
      conntrack_expire_existing:
        description: Whether entries that are in the table already are to be shortened to the timeouts planned.
        type: bool
        default: false
      conntrack_expire_most:
        description: Read, and of no effect here.
        type: int
      conntrack_target:
        description: Whether the facts are those of a V(host), or of the builder of an V(image).
        type: str
        choices: [host, image]
        default: host
      conntrack_state:
        description: Read, and of no effect here.
        type: str
        choices: [present, absent]
        default: present
  names:
    description:
      - The names of the variables of the host that begin with C(conntrack_).
      - One that is nearly a variable of the role is refused and told the nearest; others are left alone.
    type: list
    elements: str
    default: []
seealso:
  - module: headroom.netfilter.conntrack_facts
"""

EXAMPLES = r"""
- name: Read the facts
  headroom.netfilter.conntrack_facts:

- name: Say what the limit should be, and why
  ansible.builtin.debug:
    msg: "{{ plan.max }}: {{ plan.reasons.max }}"
  vars:
    plan: "{{ ansible_facts.conntrack | headroom.netfilter.conntrack_plan({'conntrack_expected_connections': 300000}) }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    max:
      description: The limit, entries. V(none) where there is no connection tracking.
      type: int
      sample: 1048576
    buckets:
      description: Buckets, rounded as this kernel rounds them.
      type: int
      sample: 1048576
    hashsize:
      description: The parameter of the module that gives these buckets.
      type: int
      sample: 1048576
    expect_max:
      description: Expectations at once, C(nf_conntrack_expect_max). V(none) where the kernel has no such key.
      type: int
      sample: 16384
    timeouts:
      description: Seconds by name, those that the kernel has.
      type: dict
      sample: {tcp_established: 7440, udp: 30}
    full_bytes:
      description: Bytes a full table takes.
      type: int
      sample: 411041792
    sysctl:
      description: What sysctl.d is to say, by dotted name, in order.
      type: dict
      sample: {net.netfilter.nf_conntrack_max: 1048576}
    files:
      description: The files that this host needs.
      type: list
      elements: str
      sample: [/etc/sysctl.d/99-conntrack.conf, /etc/modprobe.d/nf_conntrack.conf]
    templates:
      description: The role's template of each of these files, but for the script of O(policy.conntrack_size_at_boot).
      type: list
      elements: str
      sample: [etc/sysctl.d/99-conntrack.conf.j2, etc/modprobe.d/nf_conntrack.conf.j2]
    contents:
      description: What each of these files is to say, by path.
      type: dict
      sample: {/etc/modules-load.d/nf_conntrack.conf: "nf_conntrack\n"}
    systemd_sysctl:
      description: The helper that the udev rule calls, as found on the host.
      type: str
      sample: /usr/lib/systemd/systemd-sysctl
    live:
      description: Options for M(headroom.netfilter.conntrack_settings).
      type: dict
      sample: {max: 1048576, buckets: 1048576, expect_max: 16384, timeouts: {tcp_established: 7440}, switches: {}}
    reasons:
      description: A sentence for C(max), C(buckets), C(expect_max), each timeout and each switch.
      type: dict
      sample: {max: "2 percent of 23.5 GiB at 392 B an entry = 1289617, rounded down to 2^20"}
    warnings:
      description: What the host's owner should know.
      type: list
      elements: str
    refusals:
      description: What is unsafe or cannot be; if there are any, nothing may be changed.
      type: list
      elements: str
    drift:
      description: What is not as planned.
      type: list
      elements: dict
      contains:
        kind:
          description: V(live), V(file), V(service) or V(line), of a firewall's or of another's file, or V(ramdisk).
          type: str
        name:
          description: Dotted sysctl name, V(hashsize), or path.
          type: str
        found:
          description: What is there.
          type: raw
        wanted:
          description: What should be there.
          type: raw
        said:
          description: The same in words.
          type: str
    converged:
      description: Whether there is neither drift nor a refusal.
      type: bool
    expected:
      description:
        - By event, C(boot) and C(reload), what will be after it, by dotted name; C(hashsize) for the buckets. These are the keys that the
          role owns on this host.
      type: dict
      sample: {boot: {net.netfilter.nf_conntrack_max: 1048576}, reload: {hashsize: 1048576}}
    lines:
      description:
        - Lines of files of services and of others that are to be swapped, each with C(path), C(found) and C(wanted).
        - One without anything found is to be added at the end.
      type: list
      elements: dict
      sample: [{path: /etc/firewalld/firewalld.conf, found: CleanupModulesOnExit=yes, wanted: CleanupModulesOnExit=no}]
    switches:
      description: V(tcp_loose) and V(tcp_be_liberal), those that are asked for.
      type: dict
      sample: {tcp_loose: 0}
    reboot_needed:
      description: Keys that only a boot makes what they are to be.
      type: list
      elements: str
      sample: []
    sized_at_boot:
      description: Whether limit, buckets and expectations are left to the unit that sizes at a boot, so that no file says them.
      type: bool
      sample: false
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def conntrack_plan(facts: Any, policy: Mapping[str, Any] | None = None, names: Iterable[str] = ()) -> dict[str, Any]:
    """The plan as a dict; input that no host could make good is refused in it like what this host cannot."""
    # Ansible loads every filter of a collection with the first one, in each worker anew: none brings its rules along.
    from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned_as_asked
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    if not isinstance(facts, Mapping) or "state" not in facts:
        raise AnsibleFilterError(
            "conntrack_plan: expected the facts of headroom.netfilter.conntrack_facts, "
            f"ansible_facts.conntrack, and found {type(facts).__name__}"
        )
    try:
        plan, _policy = planned_as_asked(facts, {} if policy is None else policy, names)
    except Misfit as misfit:
        raise AnsibleFilterError(f"conntrack_plan: {misfit}") from misfit
    return dict(untrusted(as_dict(plan)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_plan": conntrack_plan}
