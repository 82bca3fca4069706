# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook tune cures, finding by finding: a file of variables, and the hosts concerned for --limit. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from shlex import quote
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import RISKS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model

# First line of each file; a file without it is somebody's own.
MARK = "# Written by headroom.netfilter.audit: audit_remedies."


class Cure(NamedTuple):
    """Variables for tune; and some that a person has to think about first."""

    variables: Mapping[str, Any] = {}
    perhaps: Mapping[str, Any] = {}


_PEAK = Cure(perhaps={"conntrack_expected_connections": 300000})
_TAKEOVER = Cure({"conntrack_takeover": True})
_BUCKETS = Cure({"conntrack_entries_per_bucket": 1})
# None of the others is cured by tune.
CURES: dict[str, Cure] = {
    "table-nearly-full": _PEAK,
    "dropped-table-full": _PEAK,
    "early-drop": _PEAK,
    "namespace-dropping": _PEAK,
    "dropped-chain-too-long": _BUCKETS,
    "chains-long": _BUCKETS,
    "lost-at-reload": Cure(),
    "lost-at-boot": Cure(),
    "not-loaded": Cure(),
    "persistence-broken": Cure(),
    "modprobe-useless": Cure(),
    "overridden": _TAKEOVER,
    "owners-disagree": _TAKEOVER,
    "established-five-days": Cure({"conntrack_timeout_profile": "server"}),
    "below-rfc-floors": Cure({"conntrack_rfc_floors": "enforce"}),
    "picked-up-midstream": Cure(perhaps={"conntrack_tcp_loose": False}),
    "cut-at-reload": Cure({"conntrack_firewall": True}),
    "invalid-dropped": Cure(perhaps={"conntrack_tcp_be_liberal": True}),
    "memory-unsafe": Cure({"conntrack_shrink": True}),
    "ramdisk-behind": Cure({"conntrack_initramfs": True}),
}


def names() -> list[str]:
    """Of all files that there may be; what says whose they are comes last."""
    return [name + end for name in RISKS for end in (".limit", ".yml")]


def files(report: model.Report, where: str) -> dict[str, str]:
    """By name, what each file is to say; nothing for findings that no host has, or that are accepted."""
    concerned: dict[str, list[str]] = {}
    for host in report["hosts"]:
        for name in {finding["id"] for finding in host["findings"] if not finding["accepted"]}:
            concerned.setdefault(name, []).append(host["name"])
    found = {}
    for name, hosts in sorted(concerned.items()):
        found[name + ".limit"] = "".join(pattern(host) + "\n" for host in sorted(hosts))
        found[name + ".yml"] = _variables(name, len(hosts), where)
    return found


def _variables(name: str, hosts: int, where: str) -> str:
    cure = CURES.get(name)
    lines = [MARK, f"# {name}, on {hosts} {'host' if hosts == 1 else 'hosts'}: {RISKS[name].why}", "#"]
    if cure is None:
        lines += ["# tune does not cure it. " + RISKS[name].remedy, "---", "{}"]
    else:
        limit, given = (quote(f"@{escaped(where)}/{name}{end}") for end in (".limit", ".yml"))
        options = f"--limit {limit} -e {given}"
        lines += [f"# ansible-playbook headroom.netfilter.tune -i INVENTORY {options} --check --diff"]
        lines += [
            f"# Perhaps, with a value of yours: {one}: {json.dumps(value)}" for one, value in cure.perhaps.items()
        ]
        lines += ["---", *(f"{one}: {json.dumps(value)}" for one, value in cure.variables.items())]
        lines += [] if cure.variables else ["{}"]
    return "\n".join(lines) + "\n"


# What Ansible takes for the name that it is, in a pattern of hosts.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def pattern(host: str) -> str:
    """What matches that host, and no other. Any other name is told letter by letter."""
    return host if _PLAIN.fullmatch(host) else "~" + "".join(map(_letter, host)) + r"\Z"


def _letter(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
