# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What was predicted and what came, as docs/outcome.md: it follows from measured.json alone.

python -m tests.outcome.page --write     writes it anew
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.outcome.hosts import HOSTS

REPO = Path(__file__).resolve().parent.parent.parent
MEASURED = REPO / "tests/outcome/measured.json"
PAGE = REPO / "docs/outcome.md"
RELEASES = ("bullseye", "bookworm", "trixie")
EVENTS = {"boot": "reboot", "reload": "module loaded again"}
LIMIT = "net.netfilter.nf_conntrack_max"

TEXT = """\
<!--
SPDX-License-Identifier: GPL-3.0-or-later
Copyright: headroom.netfilter maintainers
-->

# Tomorrow's values, predicted and measured

The facts say under `outcome` what the limit, the buckets, the limit of expectations and each timeout will be after the next boot
and after the next load of the module, and which line decides it. Each host below was made on a pristine virtual machine, its
outcome was read, then the module was loaded again, and then the host was rebooted.

Written by `python -m tests.outcome.run`, which `make survival` calls, and only by it.

{summary}

*As predicted*: every value was. The limit is shown with what decides it; a limit that cannot be told is a load that fails.

{details}"""


class Case(NamedTuple):
    """One event on one host."""

    release: str
    host: str
    event: str
    limit: int | None
    """The limit that was predicted (entries); None for a load that fails."""
    source: str
    values: int
    """How many values were compared."""
    differing: list[str]


def timeout_key(name: str) -> str:
    protocol, _sep, state = name.partition("_")
    return "net.netfilter.nf_conntrack_" + protocol + "_timeout" + ("_" + state if state else "")


def case(release: str, host: str, event: str, predicted: dict[str, Any], found: dict[str, int]) -> Case:
    """Every value that there is was predicted, and every one that was predicted is there."""
    told = {key: one["value"] for key, one in predicted.items() if one["value"] is not None}
    differing = [
        f"{key}: {told.get(key)} predicted for {event}, {found.get(key)} found"
        for key in sorted({*told, *found})
        if told.get(key) != found.get(key)
    ]
    limit = predicted[LIMIT]
    return Case(release, host, event, limit["value"], limit["source"], len({*told, *found}), differing)


def summary(cases: Iterable[Case]) -> str:
    found = list(cases)
    lines = ["| host | " + " | ".join(RELEASES) + " |", "|---" * (len(RELEASES) + 1) + "|"]
    for host in HOSTS:
        words = []
        for release in RELEASES:
            here = [one for one in found if (one.release, one.host) == (release, host.name)]
            wrong = sum(len(one.differing) for one in here)
            words.append("not measured" if not here else f"**{wrong} differ**" if wrong else "as predicted")
        lines.append(f"| {host.name} | " + " | ".join(words) + " |")
    return "\n".join(lines)


def details(cases: Iterable[Case]) -> str:
    found = {(one.release, one.host, one.event): one for one in cases}
    parts = []
    for release in RELEASES:
        lines = [
            f"## {release}",
            "",
            "| host | " + " | ".join(f"limit after: {said}" for said in EVENTS.values()) + " |",
            "|---|---|---|",
        ]
        for host in HOSTS:
            here = [found.get((release, host.name, event)) for event in EVENTS]
            lines.append(f"| {host.name} | " + " | ".join(_cell(one) if one else "not measured" for one in here) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(one: Case) -> str:
    wrong = f"; **{'; '.join(one.differing)}**" if one.differing else ""
    return f"{'cannot be told' if one.limit is None else one.limit}: {one.source}{wrong}"


def measured() -> list[Case]:
    return [Case(**one) for one in json.loads(MEASURED.read_text())] if MEASURED.exists() else []


def render(cases: list[Case]) -> str:
    return TEXT.format(summary=summary(cases), details=details(cases))


def write(cases: list[Case]) -> None:
    """What was measured now takes the place of what was measured before of the same host, release and event."""
    kept = {(one.release, one.host, one.event): one for one in [*measured(), *cases]}
    names = [host.name for host in HOSTS]
    ordered = sorted(
        (one for one in kept.values() if one.host in names),
        key=lambda one: (RELEASES.index(one.release), names.index(one.host), one.event),
    )
    MEASURED.write_text(json.dumps([one._asdict() for one in ordered], indent=1) + "\n")
    PAGE.write_text(render(ordered))


if __name__ == "__main__":
    if "--write" in sys.argv:
        write([])
    elif PAGE.read_text() != render(measured()):
        sys.exit("docs/outcome.md is not what follows from tests/outcome/measured.json")
