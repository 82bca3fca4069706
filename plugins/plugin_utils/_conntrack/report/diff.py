# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan would change on a host, as lines of a difference. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.plan import Drift, Plan


def diff(plan: Plan) -> str:
    live = [drift for drift in plan.drift if drift.kind == "live"]
    lines = ["@@ in force @@"] if live else []
    for drift in live:
        lines += _pair(f"{drift.name} = ", drift.found, drift.wanted)
    for drift in plan.drift:
        if drift.kind != "live":
            lines += _other(drift, (plan.contents or {}).get(drift.name, ""))
    return "\n".join(lines)


def _other(drift: Drift, content: str) -> Iterator[str]:
    """Of a file that is there no more than a sum was read: what it says now is told by none."""
    yield f"@@ {drift.name} @@"
    if drift.kind == "file":
        yield from () if drift.found is None else (f"- ({drift.said})",)
        yield from ("+" + line for line in content.splitlines())
    elif drift.kind == "ramdisk":
        yield from (f"- ({drift.said})", f"+ ({drift.wanted})")
    else:
        yield from _pair("", drift.found, drift.wanted)


def _pair(name: str, found: Any, wanted: Any) -> Iterator[str]:
    if found is not None:
        yield f"-{name}{found}"
    if wanted is not None:
        yield f"+{name}{wanted}"
