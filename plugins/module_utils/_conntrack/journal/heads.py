# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes a host has seen, and how each has ended: what every run reads. All of one is read by store.py and record.py.

A folder is filled and synced before ``begun`` is in it: without that nothing was changed. ``result`` ends it: without that the
change is not over, and one that is to be confirmed gets a second one. What takes a folder away takes ``begun`` first.
"""

import json
import posixpath
import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..host.door import Host

HOME = "/var/lib/headroom/netfilter"
CHANGE, BEGUN, RESULT = "journal.json", "begun", "result.json"

# Not over: cut off, or at work; made, and still to be confirmed. Over.
UNFINISHED, UNCONFIRMED, DONE, UNDONE = "unfinished", "unconfirmed", "kept", "undone"

# The form of a change as it is written down, and those that are understood.
VERSION = 2
VERSIONS = (1, VERSION)
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Head(NamedTuple):
    """A change on a host. Of one that cannot be read, the id and the state."""

    id: str
    state: str
    number: Optional[int] = None  # of all changes of the host, in their order
    when: Optional[str] = None
    who: str = ""
    undoes: Sequence[str] = ()


def heads(host: Host) -> List[Head]:
    """All that were begun, the first of them first; those that cannot be read are the last."""
    found = [_head(host, name) for name in begun(host)]
    return sorted(found, key=lambda head: (head.number is None, head.number or 0))


def begun(host: Host) -> List[str]:
    return [name for name in host.list(HOME) if is_name(name) and host.exists(at(name, BEGUN))]


def is_name(text: str) -> bool:
    """Whether a change may be called so."""
    return _NAME.fullmatch(text) is not None


def at(name: str, inside: str = "") -> str:
    return posixpath.join(HOME, name, inside) if inside else posixpath.join(HOME, name)


def _head(host: Host, name: str) -> Head:
    state = state_of(result(host, name))
    said = _read(host, at(name, CHANGE))
    try:
        if said["version"] not in VERSIONS:
            return Head(name, state)
        return Head(
            name, state, int(said["number"]), str(said["when"]), str(said["who"]), list(map(str, said["undoes"]))
        )
    except (KeyError, TypeError, ValueError):
        return Head(name, state)


def result(host: Host, name: str) -> Optional[Dict[str, Any]]:
    """The last word on a change; None for one that is not made, or that was cut off."""
    if not host.exists(at(name, RESULT)):
        return None
    said = _read(host, at(name, RESULT))
    # That there is one says that the change was made.
    is_known = isinstance(said, dict) and said.get("state") in (UNCONFIRMED, DONE, UNDONE)
    return said if is_known else {"state": DONE, "answer": None}


def state_of(found: Optional[Dict[str, Any]]) -> str:
    return UNFINISHED if found is None else str(found["state"])


def _read(host: Host, path: str) -> Any:
    try:
        return json.loads(host.read(path) or "")
    except (ValueError, RecursionError):
        return None


def states(changes: Iterable[Tuple[str, str, Sequence[str]]]) -> Dict[str, str]:
    """By id the state of each, of which are told id, state and what it takes back, in their order; one that was taken back by a
    later one is undone."""
    listed = list(changes)
    found = {name: state for name, state, _undoes in listed}
    for name, _state, undoes in reversed(listed):
        if found[name] == DONE:
            found.update((other, UNDONE) for other in undoes if other in found)
    return found
