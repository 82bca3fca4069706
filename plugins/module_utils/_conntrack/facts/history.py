# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed on a host by this collection, and whether it is to be changed at all."""

from typing import Any, Dict, Optional

from ..host.door import Host
from ..journal import heads
from ..shown import short
from ..values import Facts

LOCK = "/run/headroom.netfilter.lock"
# A file that keeps a host from being changed; it says why.
HOLD = "/etc/headroom/netfilter.hold"

RUNNING = "running"


def history(host: Host) -> Facts:
    """The changes that are kept, the first of them first; the last of all; the one that is not over, though nobody works at it."""
    found = [] if host.exposed(heads.HOME) else heads.heads(host)
    states = heads.states((head.id, head.state, head.undoes) for head in found)
    if heads.UNFINISHED in states.values() and host.is_locked(LOCK):
        states = {name: RUNNING if state == heads.UNFINISHED else state for name, state in states.items()}
    changes = [_told(one, states[one.id]) for one in found]
    unfinished = [one["id"] for one in changes if one["state"] == heads.UNFINISHED]
    return {
        "last": changes[-1] if changes else None,
        "unfinished": unfinished[-1] if unfinished else None,
        "changes": changes,
        "hold": hold(host),
    }


def _told(head: heads.Head, state: str) -> Dict[str, Any]:
    return {"id": head.id, "state": state, "when": head.when, "who": short(head.who)}


def hold(host: Host) -> Optional[str]:
    """Why the host is not to be changed; None where it may be. What others than root may write is nobody's word."""
    if not host.exists(HOLD) or host.exposed(HOLD):
        return None
    return short((host.read(HOLD) or "").strip()) or "no reason is given"
