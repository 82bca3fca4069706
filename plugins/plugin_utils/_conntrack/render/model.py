# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host of a pipeline is to have, from which each form is made. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import Policy
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError, Wrong
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render import machine as machines
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.change import planned
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.machine import Machine
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.script import script

# Where the script lies on a host that one of the forms has put it on.
SCRIPT = "/usr/local/sbin/headroom-netfilter"
# Of what a file is in the folder and on the host.
PLAIN, RUNNABLE = "0644", "0755"


class File(NamedTuple):
    path: str
    text: str
    mode: str = PLAIN


class Model(NamedTuple):
    plan: Plan
    files: tuple[File, ...]  # as they lie on the host, by absolute path
    arguments: tuple[str, ...]  # of the kernel, that say of it what modprobe.d does
    script: str


# The text of a form; None where there is nothing to say in it.
Form = Callable[[Model], "str | None"]


def model(policy: Policy, machine: Machine | None = None) -> Model:
    """By the role's variables; of a machine that is not described, what is the same on all. Raises PolicyError."""
    try:
        text = script(policy)
    except Wrong as wrong:
        raise PolicyError(str(wrong).splitlines()) from None
    sized = bool(machine or policy.max or policy.expected_connections)
    # What is rendered is written before there is anything live; what is not sized here, a boot sizes.
    policy = policy._replace(
        apply=True, target="host" if machine else "image", size_at_boot=policy.size_at_boot or not sized
    )
    plan = planned(machines.facts(machine or _ANY), policy)
    if plan.refusals:
        raise PolicyError(plan.refusals)
    contents = plan.contents or {}
    flavour = kernel.FLAVOURS[machine.flavour if machine else _ANY.flavour]
    arguments = [] if plan.sized_at_boot else [f"{flavour.module}.hashsize={plan.hashsize}"]
    return Model(plan, tuple(File(path, contents[path]) for path in plan.files), tuple(arguments), text)


# What it says of memory is asked by nobody where an image is meant.
_ANY = Machine(2**30)
