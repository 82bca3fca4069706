# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter conntrack_wave: the next wave of a rollout, or why there is none."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conntrack_wave
short_description: The next wave of a rollout, or why there is none
version_added: 0.1.0
author: headroom.netfilter maintainers (@headroom)
description:
  - Decides, from what became of the hosts of the waves before, whether there is another one, and who is in it.
  - Hosts that need nothing are in none. Those that differ from their plans, were refused, or could not be read, are.
options:
  _input:
    description: The variables of each host, after the first play of the playbook headroom.netfilter.tune.
    type: list
    elements: dict
    required: true
  before:
    description: What this filter has made for the wave before; nothing for the first one.
    type: dict
  sizes:
    description: Of the waves, as C(tune_waves).
    type: list
    elements: raw
    default: [1, 10%, 100%]
  most:
    description: Hosts that may have failed, been refused or undone, or be unreachable.
    type: int
    default: 0
  checked:
    description: Whether this is check mode, which has one wave.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See whether to go on
  ansible.builtin.set_fact:
    __tune_wave: "{{ ansible_play_hosts_all | map('extract', hostvars) | headroom.netfilter.conntrack_wave }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(number) of the wave and C(of) how many, its C(hosts), those of each wave C(later), the C(names) of all these, and C(stop), why
      nobody is changed any more.
  type: dict
"""

from collections.abc import Iterable, Mapping
from typing import Any


def conntrack_wave(
    hosts: Iterable[Mapping[str, Any]],
    before: Mapping[str, Any] | None = None,
    sizes: Any = None,
    most: Any = None,
    checked: bool = False,
) -> dict[str, Any]:
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.fleet import rollout
    from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.untrusted import untrusted

    known = [variables for variables in hosts if rollout.is_pending(variables)]
    asked = rollout.asked({"tune_waves": ["100%"] if checked else sizes, "tune_max_failures": most})
    wave = rollout.next_wave([rollout.host_of(variables) for variables in known], before, *asked)
    return dict(untrusted(wave._asdict()))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"conntrack_wave": conntrack_wave}
