# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change as it is written down: what was there, and what is put in its place. Pure.

The form has a version. A form that is older than this one is understood; a later one is refused by its number.
"""

import base64
import hashlib
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..host.writing import Kept
from .heads import VERSION


class Mark(NamedTuple):
    """By what it is known again what stands at a path."""

    kind: str
    said: str  # the sha256 of a file, where a link points; else nothing


class Entry(NamedTuple):
    """One path of a change."""

    path: str
    before: Kept  # as it is read from a journal, without its content
    was: Mark  # of the same
    after: Mark
    stored: Optional[str] = None  # the name of the file in which the content is kept


class Value(NamedTuple):
    """One live value of a change: its name, the file it is written through, its place in the order."""

    name: str
    path: str
    before: int
    after: int
    rank: int


class Step(NamedTuple):
    """What a change does that is neither a file nor a value: the state of something before and after, as JSON has it."""

    kind: str  # who can make it so (change/undo.py)
    name: str  # for people
    before: Any
    after: Any


class Change(NamedTuple):
    id: str
    number: int  # of all changes of the host, in their order
    machine: str  # the host's own id; a copy of its disk has another
    who: str
    when: str
    files: List[Entry]
    folders: List[str]  # that are made, each after the one it is in
    live: List[Value]
    undoes: List[str]  # the changes that this one takes back; of one that takes back none, nothing
    steps: List[Step] = []  # made after all the rest, in this order
    what: str = ""  # the module that has made it


class Unreadable(Exception):
    """A journal that this collection cannot read; the text says why."""


def mark(kept: Kept) -> Mark:
    if kept.kind == "file":
        return Mark("file", hashlib.sha256(kept.content).hexdigest())
    return Mark(kept.kind, kept.target)


def entry(path: str, before: Kept, after: Kept, stored: str) -> Entry:
    return Entry(path, before, mark(before), mark(after), stored if before.kind == "file" else None)


def written(change: Change) -> bytes:
    said: Dict[str, Any] = change._asdict()
    said["version"] = VERSION
    said["files"] = [_entry(one) for one in change.files]
    said["live"] = [value._asdict() for value in change.live]
    said["steps"] = [step._asdict() for step in change.steps]
    return json.dumps(said, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _entry(one: Entry) -> Dict[str, Any]:
    before = one.before._replace(content=b"")._asdict()
    del before["content"]
    before["attributes"] = {
        name: base64.b64encode(value).decode("ascii") for name, value in one.before.attributes.items()
    }
    return {"path": one.path, "before": before, "was": list(one.was), "after": list(one.after), "stored": one.stored}


def read(text: str) -> Change:
    """What ``written`` has made of a change. Raises Unreadable."""
    try:
        said = json.loads(text)
        version = said["version"]
        if version not in _READERS:
            raise Unreadable("its form is version {0}, and this collection knows {1}".format(version, VERSION))
        return _READERS[version](said)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise Unreadable("it is damaged") from None


def _of_version_1(said: Dict[str, Any]) -> Change:
    files = []
    for one in said["files"]:
        found = dict(one["before"])
        found["attributes"] = {name: base64.b64decode(value) for name, value in found["attributes"].items()}
        files.append(Entry(one["path"], Kept(**found), Mark(*one["was"]), Mark(*one["after"]), one["stored"]))
    fields = {name: said[name] for name in ("id", "number", "machine", "who", "when", "folders", "undoes")}
    return Change(files=files, live=[Value(**value) for value in said["live"]], **fields)


def _of_version_2(said: Dict[str, Any]) -> Change:
    return _of_version_1(said)._replace(steps=[Step(**step) for step in said["steps"]], what=said["what"])


_READERS: Dict[int, Callable[[Dict[str, Any]], Change]] = {1: _of_version_1, 2: _of_version_2}
