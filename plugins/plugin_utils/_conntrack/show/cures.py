# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cure fits which host, and the command that brings it, for people and for programs. Pure."""

import json
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.choosing import (
    EXEMPT,
    GROW,
    SHORTEN,
    UNLOAD,
    Cure,
)

_TUNE = "ansible-playbook headroom.netfilter.tune -i INVENTORY -e conntrack_hosts={host}"
_ROLE = "ansible {host} -i INVENTORY -m ansible.builtin.include_role -a name=headroom.netfilter.{role}"


class Told(NamedTuple):
    """Of a host, as the filter conntrack_cures has it."""

    host: str
    cure: str
    seen: str
    why: str
    command: str  # empty where there is nothing to do, or nothing that can be done from here
    variables: dict[str, Any]


def told(host: str, found: Cure, is_tree: bool = False) -> Told:
    """A tree is no machine: nothing can be brought to it."""
    command = "" if is_tree else _command(host, found)
    return Told(host, found.cure, found.seen, found.why, command, found.variables)


def together(cures: Sequence[Told]) -> list[Told]:
    """Those that are to be brought; hosts of which the same is said share one, and one command."""
    groups: dict[str, list[Told]] = {}
    for one in cures:
        if one.command:
            groups.setdefault(repr(one[1:4] + one[5:]), []).append(one)
    return [
        first._replace(
            host=", ".join(one.host for one in alike),
            command=_command(",".join(one.host for one in alike), Cure(*first[1:4], first.variables)),
        )
        for alike in groups.values()
        for first in alike[:1]
    ]


def _command(host: str, found: Cure) -> str:
    notrack = any(name.startswith("notrack_") for name in found.variables)
    if found.cure == UNLOAD:
        command = _ROLE.format(host=shlex.quote(host), role="conntrack_unload")
    elif found.cure == EXEMPT or notrack:
        command = _ROLE.format(host=shlex.quote(host), role="notrack")
    elif found.cure in (SHORTEN, GROW):
        command = _TUNE.format(host=shlex.quote(host))
    else:
        return ""
    return f"{command} -e {shlex.quote(json.dumps(found.variables))}" if found.variables else command
