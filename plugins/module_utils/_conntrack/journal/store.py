# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where changes are kept on a host: a folder for each, with what was there before it. How they are told apart stands in heads.py."""

import contextlib
import hashlib
import json
import posixpath
from typing import Any, Dict, List, NamedTuple, Optional

from ..host.writing import Kept, WritableHost
from . import heads, record
from .heads import BEGUN, CHANGE, HOME, RESULT, UNDONE, at
from .record import Change, Entry, Mark, Unreadable

# Changes that are kept, besides the first of all.
KEPT = 5


class Stored(NamedTuple):
    """A change on a host."""

    id: str
    state: str
    change: Optional[Change]  # None where it cannot be read
    problem: str = ""  # why


def changes(host: WritableHost) -> List[Stored]:
    """All that were begun, the first of them first; those that cannot be read are the last."""
    found = [_stored(host, name) for name in heads.begun(host)]
    return sorted(found, key=lambda stored: (stored.change is None, stored.change.number if stored.change else 0))


def _stored(host: WritableHost, name: str) -> Stored:
    state = heads.state_of(heads.result(host, name))
    try:
        return Stored(name, state, record.read(host.read(at(name, CHANGE)) or ""))
    except Unreadable as why:
        return Stored(name, state, None, str(why))


def answer(host: WritableHost, name: str) -> Optional[Dict[str, Any]]:
    """What was answered for a change; None for one that was not made."""
    found = heads.result(host, name)
    return dict(found["answer"]) if found and isinstance(found.get("answer"), dict) else None


def states(stored: List[Stored]) -> Dict[str, str]:
    """By id the state of each, as heads.states has it."""
    return heads.states((one.id, one.state, one.change.undoes if one.change else ()) for one in stored)


def begin(host: WritableHost, change: Change, contents: Dict[str, bytes]) -> None:
    """Write a change down; ``contents`` by the names under which they are stored. Raises OSError, after which nothing is left."""
    sweep(host)
    for folder in missing(host, HOME):
        host.make_folder(folder, 0o700 if folder == HOME else 0o755)
    try:
        host.make_folder(at(change.id), 0o700)
        for name, content in contents.items():
            host.put(at(change.id, name), _private(host, content))
        host.put(at(change.id, CHANGE), _private(host, record.written(change)))
        host.put(at(change.id, BEGUN), _private(host, b""))
    except OSError:
        # Without ``begun`` it is nothing, and the next one that begins takes it away.
        with contextlib.suppress(OSError):
            _remove(host, change.id)
        raise


def end(host: WritableHost, name: str, state: str, said: Optional[Dict[str, Any]]) -> None:
    """The last word on a change: its state, and what is answered."""
    text = json.dumps({"version": heads.VERSION, "state": state, "answer": said}, indent=1, sort_keys=True)
    host.put(at(name, RESULT), _private(host, text.encode("ascii") + b"\n"))


def before(host: WritableHost, name: str, entry: Entry) -> Kept:
    """What was at a path before a change, whole. Raises Unreadable where that is not what was stored."""
    if entry.stored is None:
        return entry.before
    found = host.kept(at(name, entry.stored)).content
    if Mark("file", hashlib.sha256(found).hexdigest()) != entry.was:
        raise Unreadable("{0} is not what was stored there".format(at(name, entry.stored)))
    return entry.before._replace(content=found)


def prune(host: WritableHost) -> None:
    """Keep the last changes and the first of all, which takes up what those between have touched."""
    stored = [one for one in changes(host) if one.change]
    in_force = states(stored)
    first: Optional[Stored] = None
    for one in stored[:-KEPT]:
        if one.state == UNDONE:
            _remove(host, one.id)
        elif one.change and one.change.steps and in_force[one.id] != UNDONE:
            # It can be taken back by itself.
            continue
        elif first is None:
            first = one
        else:
            first = _merged(host, first, one)
            _remove(host, one.id)


def _merged(host: WritableHost, first: Stored, later: Stored) -> Stored:
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
            host.put(at(first.id, stored), _private(host, before(host, later.id, entry).content))
        files[entry.path] = entry._replace(stored=stored)
    live = {value.name: value for value in first.change.live}
    for value in later.change.live:
        live[value.name] = live[value.name]._replace(after=value.after) if value.name in live else value
    folders = first.change.folders + [path for path in later.change.folders if path not in first.change.folders]
    steps = first.change.steps + later.change.steps
    change = first.change._replace(files=list(files.values()), live=list(live.values()), folders=folders, steps=steps)
    host.put(at(first.id, CHANGE), _private(host, record.written(change)))
    return first._replace(change=change)


def sweep(host: WritableHost) -> None:
    """Take away what never began, or was on its way out."""
    for name in host.list(HOME):
        if heads.is_name(name) and not host.exists(at(name, BEGUN)):
            _remove(host, name)


def _remove(host: WritableHost, name: str) -> None:
    names = host.list(at(name))
    for inside in sorted(names, key=lambda inside: inside != BEGUN):
        host.put(at(name, inside), Kept("none"))
    if host.exists(at(name)):
        host.remove_folder(at(name))


def missing(host: WritableHost, folder: str) -> List[str]:
    """A folder and those above it that are not there, each after the one it is in."""
    found: List[str] = []
    while folder != "/" and host.mode(folder) is None:
        found.insert(0, folder)
        folder = posixpath.dirname(folder)
    return found


def _private(host: WritableHost, content: bytes) -> Kept:
    uid, gid = host.owner()
    return Kept("file", content, mode=0o600, uid=uid, gid=gid)
