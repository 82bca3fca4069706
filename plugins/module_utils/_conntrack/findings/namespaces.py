# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other network namespaces."""

from typing import Any, Dict, Iterator

from ..outcome.said import CRITICAL, INFO, WARNING
from .catalogue import Finding, finding
from .seen import Seen, known, listed, rank, said, usage_severity


def namespaces(host: Seen) -> Iterator[Finding]:
    others = [space for space in host.namespaces if not space.get("own")]
    dropping = [
        space for space in others if space.get("drop") or space.get("early_drop") or usage_severity(space.get("usage"))
    ]
    if dropping:
        is_critical = any(usage_severity(space.get("usage")) == CRITICAL for space in dropping)
        seen = listed([_space(space) for space in dropping])
        if host.count is not None and host.max:
            seen += "; the host itself has {0} of {1}".format(host.count, host.max)
        yield finding("namespace-dropping", CRITICAL if is_critical else WARNING, seen)
    differing = [text for text in (_differing(host, space) for space in others) if text]
    if differing:
        yield finding("namespace-timeouts", INFO, listed(differing))


def _space(space: Dict[str, Any]) -> str:
    seen = "{0}: {1} of {2} entries".format(_name(space), said(space.get("count")), said(space.get("max")))
    for name, word in (("drop", "dropped"), ("early_drop", "given up early")):
        if space.get(name):
            seen += ", {0} {1}".format(space[name], word)
    return seen


def _differing(host: Seen, space: Dict[str, Any]) -> str:
    """The first timeout of a namespace that is not the host's, and how many more there are; nothing if none is."""
    theirs = known(space.get("timeouts") or {})
    names = [name for name in sorted(theirs, key=lambda name: (rank(name), name)) if name in host.timeouts]
    names = [name for name in names if theirs[name] != host.timeouts[name]]
    if not names:
        return ""
    first = "{0}: {1} {2} s, {3} on the host".format(_name(space), names[0], theirs[names[0]], host.timeouts[names[0]])
    return first + (" (and {0} more)".format(len(names) - 1) if names[1:] else "")


def _name(space: Dict[str, Any]) -> str:
    inode = space.get("inode")
    return space.get("name") or ("one without a name" if inode is None else "net:[{0}]".format(inode))
