# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose doing it is, and what could not be judged."""

from typing import Iterator

from ..outcome.said import CRITICAL, INFO
from .catalogue import Finding, finding
from .seen import Seen, count_of, listed


def provenance(host: Seen) -> Iterator[Finding]:
    exposed = ["{0} ({1})".format(one["path"], one["why"]) for one in host.facts.get("exposed") or ()]
    if exposed:
        yield finding("writable-by-others", CRITICAL, listed(exposed))
    claims = [
        "{0}, of {1}: {2}".format(one["what"], one["whose"], one["why"]) for one in host.facts.get("claims") or ()
    ]
    if claims:
        yield finding("claim-ignored", INFO, listed(claims))
    untold = host.facts.get("untold") or []
    if untold:
        # A tree is read by none of its own Pythons.
        yield finding("tree" if host.kernel.get("python", "") is None else "untold", INFO, listed(untold))


def unreadable(host: Seen) -> Iterator[Finding]:
    paths = host.facts.get("unreadable") or []
    if not paths:
        return
    seen = count_of(len(paths), "path is", "paths are") + " there and could not be read: " + listed(list(paths))
    unknown = []
    if host.is_live and host.table and host.buckets is None:
        unknown.append("buckets, chains and memory")
    if "log" in host.facts and not host.part("log").get("source"):
        unknown.append("messages of a full table")
    yield finding("unreadable", INFO, seen + ("; not known: " + ", ".join(unknown) if unknown else ""))
