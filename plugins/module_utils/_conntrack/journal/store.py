# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where changes are kept on a host: a folder for each, with what was there before it.

A folder is filled and synced before ``begun`` is in it: without that nothing was changed. ``result`` ends it: without that the
change is not over. What takes a folder away takes ``begun`` first.
"""

import contextlib
import hashlib
import json
import posixpath
from typing import Any, Dict, List, NamedTuple, Optional

from ..host.door import Host
from ..host.writing import Kept
from . import record
from .record import Change, Entry, Mark, Unreadable

HOME = "/var/lib/headroom/netfilter"
# Changes that are kept, besides the first of all.
KEPT = 5

UNFINISHED, DONE, UNDONE = "unfinished", "kept", "undone"

_CHANGE, _BEGUN, _RESULT = "journal.json", "begun", "result.json"


class Stored(NamedTuple):
    """A change on a host."""

    id: str
    state: str
    change: Optional[Change]  # None where it cannot be read
    problem: str = ""  # why


def changes(host: Host) -> List[Stored]:
    """All that were begun, the first of them first; those that cannot be read are the last."""
    found = []
    for name in host.list(HOME):
        if record.is_name(name) and host.exists(_at(name, _BEGUN)):
            found.append(_stored(host, name))
    return sorted(found, key=lambda stored: (stored.change is None, stored.change.number if stored.change else 0))


def _stored(host: Host, name: str) -> Stored:
    result = _result(host, name)
    state = UNFINISHED if result is None else result["state"]
    try:
        return Stored(name, state, record.read(host.read(_at(name, _CHANGE)) or ""))
    except Unreadable as why:
        return Stored(name, state, None, str(why))


def _result(host: Host, name: str) -> Optional[Dict[str, Any]]:
    if not host.exists(_at(name, _RESULT)):
        return None
    try:
        said = json.loads(host.read(_at(name, _RESULT)) or "")
    except ValueError:
        said = None
    # That there is one says that the change is over.
    return said if isinstance(said, dict) and said.get("state") in (DONE, UNDONE) else {"state": DONE, "answer": None}


def answer(host: Host, name: str) -> Optional[Dict[str, Any]]:
    """What was answered for a change; None for one that is not over."""
    found = _result(host, name)
    return dict(found["answer"]) if found and isinstance(found.get("answer"), dict) else None


def states(stored: List[Stored]) -> Dict[str, str]:
    """By id the state of each, where a change that was taken back by a later one is undone."""
    found = {one.id: one.state for one in stored}
    for one in reversed(stored):
        if one.change and found[one.id] == DONE:
            found.update((name, UNDONE) for name in one.change.undoes if name in found)
    return found


def begin(host: Host, change: Change, contents: Dict[str, bytes]) -> None:
    """Write a change down; ``contents`` by the names under which they are stored. Raises OSError, after which nothing is left."""
    sweep(host)
    for folder in missing(host, HOME):
        host.make_folder(folder, 0o700 if folder == HOME else 0o755)
    try:
        host.make_folder(_at(change.id), 0o700)
        for name, content in contents.items():
            host.put(_at(change.id, name), _private(host, content))
        host.put(_at(change.id, _CHANGE), _private(host, record.written(change)))
        host.put(_at(change.id, _BEGUN), _private(host, b""))
    except OSError:
        # Without ``begun`` it is nothing, and the next one that begins takes it away.
        with contextlib.suppress(OSError):
            _remove(host, change.id)
        raise


def end(host: Host, name: str, state: str, said: Optional[Dict[str, Any]]) -> None:
    """The last word on a change: its state, and what is answered."""
    text = json.dumps({"version": record.VERSION, "state": state, "answer": said}, indent=1, sort_keys=True)
    host.put(_at(name, _RESULT), _private(host, text.encode("ascii") + b"\n"))


def before(host: Host, name: str, entry: Entry) -> Kept:
    """What was at a path before a change, whole. Raises Unreadable where that is not what was stored."""
    if entry.stored is None:
        return entry.before
    found = host.kept(_at(name, entry.stored)).content
    if Mark("file", hashlib.sha256(found).hexdigest()) != entry.was:
        raise Unreadable("{0} is not what was stored there".format(_at(name, entry.stored)))
    return entry.before._replace(content=found)


def prune(host: Host) -> None:
    """Keep the last changes and the first of all, which takes up what those between have touched."""
    stored = [one for one in changes(host) if one.change]
    older = stored[:-KEPT]
    first: Optional[Stored] = None
    for one in older:
        if one.state == UNDONE:
            _remove(host, one.id)
        elif first is None:
            first = one
        else:
            first = _merged(host, first, one)
            _remove(host, one.id)


def _merged(host: Host, first: Stored, later: Stored) -> Stored:
    """The first change with what the one that follows it has touched: it was so before the first as well."""
    if not (first.change and later.change):
        return first
    files = {entry.path: entry for entry in first.change.files}
    for number, entry in enumerate(later.change.files):
        if entry.path in files:
            files[entry.path] = files[entry.path]._replace(after=entry.after)
            continue
        stored = None
        if entry.stored is not None:
            stored = "{0}-{1}".format(later.change.number, number)
            host.put(_at(first.id, stored), _private(host, before(host, later.id, entry).content))
        files[entry.path] = entry._replace(stored=stored)
    live = {value.name: value for value in first.change.live}
    for value in later.change.live:
        live[value.name] = live[value.name]._replace(after=value.after) if value.name in live else value
    folders = first.change.folders + [path for path in later.change.folders if path not in first.change.folders]
    change = first.change._replace(files=list(files.values()), live=list(live.values()), folders=folders)
    host.put(_at(first.id, _CHANGE), _private(host, record.written(change)))
    return first._replace(change=change)


def sweep(host: Host) -> None:
    """Take away what never began, or was on its way out."""
    for name in host.list(HOME):
        if record.is_name(name) and not host.exists(_at(name, _BEGUN)):
            _remove(host, name)


def _remove(host: Host, name: str) -> None:
    names = host.list(_at(name))
    for inside in sorted(names, key=lambda inside: inside != _BEGUN):
        host.put(_at(name, inside), Kept("none"))
    if host.exists(_at(name)):
        host.remove_folder(_at(name))


def missing(host: Host, folder: str) -> List[str]:
    """A folder and those above it that are not there, each after the one it is in."""
    found: List[str] = []
    while folder != "/" and host.mode(folder) is None:
        found.insert(0, folder)
        folder = posixpath.dirname(folder)
    return found


def _private(host: Host, content: bytes) -> Kept:
    uid, gid = host.owner()
    return Kept("file", content, mode=0o600, uid=uid, gid=gid)


def _at(name: str, inside: str = "") -> str:
    return posixpath.join(HOME, name, inside) if inside else posixpath.join(HOME, name)
