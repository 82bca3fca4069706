# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is only described (render_machine), as the facts of one on which nobody has said anything yet. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome import inits
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import PARTS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import (
    PolicyError,
    Reader,
    Wrong,
    one_of,
    problem,
    read_each,
    truth,
    whole,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS, SYSTEMD_SYSCTL

VARIABLE = "render_machine"
# As uname -m says it; the kernels of distributions.
ARCHITECTURES = ("x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "i686", "armv7l")
PAGES = (4096, 16384, 65536)
# Where /lib and /usr/lib are one, it is there by either name; where they are two, by this one.
ANYWHERE = "/lib/systemd/systemd-sysctl"
INITS = ("systemd", "openrc", "sysvinit", "busybox")
# Bytes: less is no machine that tracks connections, and more is none.
_LEAST, _MOST = 2**24, 2**52

_UNITS = {"kB": 2**10, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MEMORY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kKMGT]i?B)")
_RELEASE = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}[A-Za-z0-9.+_~-]{0,80}")


class Machine(NamedTuple):
    memory: int  # bytes
    cpus: int | None = None
    kernel: str = ""  # its release; of none the newest is meant
    flavour: str = "nf_conntrack"
    builtin: bool = False
    architecture: str = "x86_64"
    page_size: int = 4096
    init: str = "systemd"
    systemd_sysctl: str = ANYWHERE


def _memory(value: Any) -> int:
    found = _MEMORY.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(float(found.group(1)) * _UNITS.get(found.group(2), 0)) if found else 0
    if not _LEAST <= size <= _MOST:
        raise Wrong("expected memory from 16 MiB to 4096 TiB such as 4 GiB, or 4028440 kB as /proc/meminfo has it")
    return size


def _kernel(value: Any) -> str:
    if not isinstance(value, str) or not _RELEASE.fullmatch(value):
        raise Wrong("expected the release of a kernel, as uname -r says it, in quotes, such as '6.1.0-37-amd64'")
    return str(value)


def _page(value: Any) -> int:
    size: int = whole(1, 2**20, "bytes")(value)
    if size not in PAGES:
        raise Wrong("expected bytes of a page, one of " + ", ".join(map(str, PAGES)))
    return size


_READERS: dict[str, Reader] = {
    "memory": _memory,
    "cpus": whole(1, 65536, "processors"),
    "kernel": _kernel,
    "flavour": one_of(kernel.FLAVOURS),
    "builtin": truth,
    "architecture": one_of(ARCHITECTURES),
    "page_size": _page,
    "init": one_of(INITS),
    "systemd_sysctl": one_of(SYSTEMD_SYSCTL),
}


def read(value: Any) -> Machine | None:
    """The machine that a user describes, None where there is no description. Raises PolicyError."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        # What comes with -e NAME= is text.
        with suppress(ValueError, RecursionError):
            value = json.loads(value, parse_float=str)
    if not isinstance(value, Mapping) or "memory" not in value:
        raise PolicyError(
            [problem(VARIABLE, value, "expected a mapping with at least memory, such as {memory: 4 GiB}")]
        )
    found, wrong = read_each(value, _READERS)
    problems = [f"{VARIABLE}.{said}" for said in wrong.values()]
    unknown = [str(name) for name in value if name not in _READERS]
    if unknown:
        problems.append(problem(VARIABLE, unknown, "expected of " + ", ".join(_READERS)))
    if "memory" not in found and "memory" not in wrong:
        problems.append(problem(f"{VARIABLE}.memory", value["memory"], "expected memory such as 4 GiB"))
    if problems:
        raise PolicyError(problems)
    return Machine(**found)


def facts(machine: Machine) -> Facts:
    """Of a machine on which nothing is said and no module loaded; a kernel that has conntrack built in has its own values."""
    names = kernel.FLAVOURS[machine.flavour]
    pointer = kernel.pointer_bytes(machine.architecture)
    entry = kernel.entry_bytes(kernel.object_bytes(names, machine.kernel, pointer))
    table: dict[str, Any] = dict.fromkeys(("count", "max", "buckets", "expect_max", "usage", "chain", "full_bytes"))
    timeouts: dict[str, Any] = {}
    if machine.builtin:
        buckets, limit = kernel.default_table(machine.kernel, machine.memory, machine.page_size, pointer)
        table.update(count=0, max=limit, buckets=buckets, usage=0.0, chain=0.0)
        table["expect_max"] = kernel.expect_max(buckets) if names.bounds_expectations else None
        table["full_bytes"] = kernel.full_bytes(limit, buckets, entry, pointer)
        there = (name for name in kernel.TIMEOUTS if kernel.has_timeout(name, names, machine.kernel))
        timeouts = {name: kernel.default_timeout(name, machine.kernel) for name in there}
    assigned: dict[str, Any] = {part: [] for part in PARTS}
    assigned["aliases"] = [alias for alias, key in sorted(sysctl.ALIASES.items()) if key.startswith(names.prefix)]
    if machine.init != "systemd":
        assigned["init"] = inits.untold(machine.init, inits.not_known(machine.init))
    services = dict.fromkeys(("firewalld", "iptables", "nftables", "netfilter_persistent", "ufw", "conntrackd"))
    told: Facts = {
        "state": "builtin" if machine.builtin else "loadable",
        "flavour": machine.flavour,
        "kernel": {
            "release": machine.kernel,
            "hz": None,
            "page_size": machine.page_size,
            "pointer_bytes": pointer,
            "init_netns": True,
            "container": None,
            "python": None,
            "root": True,
            "nat": False,
            "writable": dict.fromkeys(("max", "buckets", "timeouts"), True),
        },
        "memory": {"total_bytes": machine.memory, "available_bytes": None},
        "cpus": machine.cpus,
        "history": {"last": None, "unfinished": None, "changes": [], "hold": None},
        "table": {**table, "entry_bytes": entry},
        "timeouts": timeouts,
        "switches": dict(kernel.SWITCHES) if machine.builtin else {},
        "counters": {},
        "unlisted": None,
        "services": {**services, "systemd_sysctl": machine.systemd_sysctl if machine.init == "systemd" else None},
        "files": {},
        "assignments": assigned,
        "exposed": [],
        "owners": [],
        "claims": [],
        "unreadable": [],
        "untold": [],
        "left_out": {},
    }
    return foretold(FACTS(told))
