# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""apply.sh: one POSIX script that sizes, persists and applies on the machine that runs it, with what was asked for written in. Pure.

Its rules are those of plan/sizing.py, in shell; every number in them comes from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files, kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts import history
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.reading import TRANSLATORS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import (
    Policy,
    switches_of,
    timeouts_of,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.profiles import RFC_FLOORS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import Wrong, problem
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import SYSTEMD_SYSCTL
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.render.files import HEADER, sketched

# Under /run; as the modules of this collection have it.
JOURNAL = "/var/lib/headroom/apply"

_TEMPLATE = Path(__file__).with_name("apply.sh.in")
_PLACE = "### What was asked for, and the kernel's rules: written here by headroom.netfilter.render. ###\n"
_DECIMALS = 4
_BEGIN, _END = (f"# {word} {files.MARK}" for word in ("BEGIN", "END"))


def script(policy: Policy) -> str:
    """The script for a policy. Raises Wrong for what a script cannot do; the text has a line for each."""
    problems = list(_problems(policy))
    if problems:
        raise Wrong("\n".join(problems))
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split(_PLACE)
    return "#!/bin/sh\n" + head + "\n".join([*_constants(policy), *_texts()]) + "\n" + tail


def _problems(policy: Policy) -> Iterator[str]:
    lacking = {
        "takeover": "a script takes nobody's lines over, it refuses and names them; leave it unset",
        "initramfs": "a script makes no initial RAM disk; leave it unset",
        "expire_existing": "a script shortens no entries; leave it unset",
    }
    for name, wanted in lacking.items():
        if getattr(policy, name):
            yield problem(f"conntrack_{name}", True, wanted)
    if policy.state != "present":
        yield problem("conntrack_state", policy.state, "a script gives back what was with --undo; leave it unset")
    for name in ("memory_percent", "headroom"):
        value = getattr(policy, name)
        if round(value, _DECIMALS) != value:
            yield problem(f"conntrack_{name}", value, f"a script reckons with {_DECIMALS} decimals; name no more")
    for name, seconds in timeouts_of(policy).items():
        if seconds > kernel.LONGEST_TIMEOUT:
            wanted = f"expected at most {kernel.LONGEST_TIMEOUT} seconds, which every kernel takes"
            yield problem(f"conntrack_timeouts: {name}", seconds, wanted)


def _constants(policy: Policy) -> Iterator[str]:
    share = Fraction(repr(policy.memory_percent)) / 100
    headroom = Fraction(repr(policy.headroom))
    expected = policy.expected_connections or 0
    yield "# What was asked for."
    yield from _numbers(
        MAX=policy.max or 0,
        EXPECTED=expected,
        EXPECTED_ROOM=math.ceil(expected * policy.headroom),
        HEADROOM=headroom.numerator,
        HEADROOM_OF=headroom.denominator,
        SHARE=share.numerator,
        SHARE_OF=share.denominator,
        FLOOR=policy.max_floor,
        CEILING=policy.max_ceiling,
        PER_BUCKET=policy.entries_per_bucket,
        HASHSIZE=policy.hashsize or 0,
        SHRINK=int(policy.shrink),
        APPLY=int(policy.apply),
        FIREWALL=int(policy.firewall),
    )
    timeouts = {kernel.timeout_key(name): seconds for name, seconds in sorted(timeouts_of(policy).items())}
    floors = {
        kernel.timeout_key(name): floor.seconds for name, floor in RFC_FLOORS.items() if policy.rfc_floors == "enforce"
    }
    yield from _words(
        PROFILE=[policy.timeout_profile],
        TIMEOUTS=_pairs(timeouts),
        NAMED=[kernel.timeout_key(name) for name in policy.timeouts],
        FLOORS=_pairs(floors),
        SWITCHES=_pairs(switches_of(policy)),
    )
    yield "# The kernel's."
    yield from _numbers(
        AT_LOAD=kernel.ENTRIES_PER_BUCKET_AT_LOAD,
        LARGEST_HASHSIZE=kernel.LARGEST_HASHSIZE,
        LONGEST_CHAIN=kernel.LONGEST_CHAIN,
        EXTENSION=kernel.EXTENSION_BYTES,
        OBJECT_BEFORE=kernel.OBJECT_BYTES[1][1],
        OBJECT_RECENT=kernel.OBJECT_BYTES[0][1],
        OBJECT_32=kernel.OBJECT_BYTES_32,
        OBJECT_IP=kernel.FLAVOURS["ip_conntrack"].object_bytes,
        EXPECTATIONS=kernel.EXPECTATIONS,
        BUCKETS_AN_EXPECTATION=kernel.BUCKETS_AN_EXPECTATION,
        GIB=kernel.GIB,
        BYTES_A_POINTER=kernel.BYTES_A_POINTER,
        RECENT_LEAST=kernel.RECENT.least,
        RECENT_LARGE=kernel.RECENT.large,
        RECENT_LARGER=kernel.RECENT.larger,
        EARLIER_LEAST=kernel.EARLIER.least,
        EARLIER_LARGE=kernel.EARLIER.large,
        EARLIER_LARGER=kernel.EARLIER.larger,
        EARLIER_EACH=kernel.EARLIER.each,
    )
    yield from _words(
        RECENT=[_release(kernel.RECENT.since)],
        EARLIER_LARGER_SINCE=[_release(kernel.EARLIER.larger_since)],
        OBJECT_SINCE=[_release(kernel.OBJECT_BYTES[0][0])],
        FAMILIES_WITHIN=[_release(kernel.FAMILIES_WITHIN)],
        LACKING_IP=[kernel.timeout_key(name) for name in kernel.FLAVOURS["ip_conntrack"].lacks],
        GONE=[f"{name}:{_release(since)}" for name, since in kernel.GONE],
        TRANSLATORS=sorted(TRANSLATORS),
    )
    yield "# Files."
    yield from _words(
        SYSCTL=[files.SYSCTL],
        MODPROBE=[files.MODPROBE],
        MODULES_LOAD=[files.MODULES_LOAD],
        UDEV=[files.UDEV],
        UNLOAD=[files.UNLOAD],
        FIREWALLD=[files.FIREWALLD],
        IPTABLES=[files.IPTABLES],
        SYSTEMD_SYSCTL=SYSTEMD_SYSCTL,
        HEADER=[HEADER],
        BEGIN=[_BEGIN],
        END=[_END],
        HOLD=[history.HOLD],
        LOCK=[history.LOCK.rpartition("/")[2]],
        LOCK_SECONDS=["60"],
        JOURNAL=[JOURNAL],
        ALL_FILES=[
            *files.MANAGED,
            files.FIREWALLD,
            files.IPTABLES,
            "/etc/sysctl.conf",
            "/etc/modprobe.conf",
            "/etc/modules",
            *(f"/etc/sysconfig/modules/{flavour}.modules" for flavour in kernel.FLAVOURS),
        ],
    )


def _texts() -> Iterator[str]:
    """The role's own files, each a function: its words are filled in by the shell."""
    lines = "@lines@"
    texts = {
        "sysctl": sketched(files.SYSCTL, sysctl={lines: lines}).replace(f"{lines} = {lines}", "$(lines_of_settings)"),
        "modprobe": sketched(files.MODPROBE, module="${flavour}", hashsize="${hashsize}"),
        "modules_load": sketched(files.MODULES_LOAD, module="${flavour}"),
        "udev": sketched(files.UDEV, module="${flavour}", systemd_sysctl="${systemd}"),
    }
    for name, text in texts.items():
        yield f"text_of_{name}() {{\n    cat <<END\n{text}END\n}}"


def _numbers(**values: int) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={int(value)}"


def _words(**values: list[str] | tuple[str, ...]) -> Iterator[str]:
    """Words that this collection has chosen; none has a quote in it."""
    for name, words in values.items():
        yield f"{name}='{' '.join(words)}'"


def _pairs(values: dict[str, int]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _release(since: tuple[int, int]) -> str:
    return f"{since[0]}.{since[1]}"
