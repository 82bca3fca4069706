# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a change ends, and what a change that was left unfinished comes to."""

import contextlib
import os
from typing import Any, Dict, List, NamedTuple, Sequence

from ..host.writing import WritableHost
from ..journal import heads, record, store, watch
from ..journal.record import Change, Entry, Step, Unreadable, Value
from ..shown import escaped
from .failure import ChangeError, unwritten
from .undo import Given, Undone, undo

# Characters of a line of the log; syslog takes 1024 everywhere.
_LONGEST_LINE = 900
_AGAIN = "what had been changed is again what it was before"


class Told(NamedTuple):
    """What became of changes that had been left unfinished."""

    ids: List[str]
    restored: List[str]
    not_restored: List[str]


def known(host: WritableHost) -> List[store.Stored]:
    """All changes. Raises ChangeError where one cannot be read: what was done before or after it could not be told."""
    found = store.changes(host)
    why = host.exposed(heads.HOME)
    if why:
        raise ChangeError("{0}: {1}, so that nothing can be kept there; chown root, chmod go-w".format(heads.HOME, why))
    for one in found:
        if one.change is None:
            raise ChangeError(
                "{0}/{1}: this change cannot be read: {2}; use the collection that has made it, or a later one; or take that "
                "folder away and so keep what it has changed".format(heads.HOME, one.id, one.problem)
            )
    return found


def unfinished(stored: Sequence[store.Stored]) -> List[Change]:
    return [one.change for one in stored if one.change and one.state == heads.UNFINISHED]


def unconfirmed(stored: Sequence[store.Stored]) -> List[Change]:
    return [one.change for one in stored if one.change and one.state == heads.UNCONFIRMED]


def refuse_unconfirmed(stored: Sequence[store.Stored]) -> None:
    for change in unconfirmed(stored):
        raise ChangeError(
            "{0} of {1} is still to be confirmed, or to be taken back by the host itself; wait for that, or take it back "
            "(conntrack_rollback), and run again".format(change.id, change.who or "a run that gave no name")
        )


def undo_unfinished(
    host: WritableHost, changes: Sequence[Change], why: str = "it was left unfinished, and undone by a later run"
) -> Told:
    """Nobody works at them, since the lock is held: the last one first, all is as it was before. Raises ChangeError where it
    cannot be."""
    told = Told([], [], [])
    for change in reversed(changes):
        given = [given_back(host, change, entry) for entry in change.files]
        is_here = change.machine == machine(host)
        live, steps = (change.live, change.steps) if is_here else ([], [])
        found = undo(host, given, change.folders, live, steps)
        names = [] if is_here else [one.name for one in change.live] + [one.name for one in change.steps]
        left = ["{0}: it was another machine's".format(name) for name in names]
        if not found.is_over:
            raise ChangeError(
                "{0}: this change was left unfinished and cannot be undone: {1}; mend that and run again, or take {2}/{0} away "
                "and so keep what is there".format(change.id, "; ".join(found.not_restored), heads.HOME),
                id=change.id,
                state=heads.UNFINISHED,
                restored=found.restored,
                not_restored=found.not_restored,
            )
        told = Told(
            told.ids + [change.id], told.restored + found.restored, told.not_restored + found.not_restored + left
        )
        answer = _failure(why, change.id, heads.UNDONE, found._replace(not_restored=found.not_restored + left))
        # Who asks for it again, over a connection that was lost with it, may plan anew.
        over(host, change, heads.UNDONE, dict(answer, stale=True))
    return told


def given_back(host: WritableHost, change: Change, entry: Entry) -> Given:
    try:
        return Given(entry.path, store.before(host, change.id, entry), entry.after)
    except (OSError, Unreadable):
        return Given(entry.path, None, entry.after)


def new(
    host: WritableHost,
    name: str,
    who: str,
    files: List[Entry],
    folders: List[str],
    live: List[Value],
    undoes: Sequence[str] = (),
    steps: Sequence[Step] = (),
    what: str = "",
) -> Change:
    numbers = [one.change.number for one in store.changes(host) if one.change]
    now = host.now()
    number = max(numbers, default=0) + 1
    return Change(name, number, machine(host), who, now, files, folders, live, list(undoes), list(steps), what)


def new_id(host: WritableHost) -> str:
    return "{0}-{1}".format(host.now().replace("-", "").replace(":", ""), os.urandom(3).hex())


def machine(host: WritableHost) -> str:
    return (host.read("/etc/machine-id") or "").strip()


def failed(
    host: WritableHost, change: Change, given: Sequence[Given], error: Exception, is_written: bool
) -> ChangeError:
    """Undo a change at which something failed; what there is to tell of both. ``is_written``: whether there is a journal of it."""
    try:
        undone = undo(host, given, change.folders, change.live, change.steps)
    except Exception as another:
        undone = Undone([], ["all of it: {0}".format(another)], False)
    state = heads.UNDONE if undone.is_over else heads.UNFINISHED
    answer = _failure(_said(host, error), change.id, state, undone)
    if is_written and undone.is_over:
        # What cannot be noted is undone once more by the next one.
        with contextlib.suppress(OSError):
            over(host, change, state, answer)
    return ChangeError(answer.pop("msg"), **{name: told for name, told in answer.items() if name != "failed"})


def _said(host: WritableHost, error: Exception) -> str:
    if isinstance(error, OSError):
        return str(unwritten(host, "keeping what came of it, in", heads.HOME, error))
    return str(error) if isinstance(error, ChangeError) else repr(error)


def _failure(why: str, name: str, state: str, undone: Undone) -> Dict[str, Any]:
    left = undone.not_restored
    return {
        "failed": True,
        "msg": "{0}; {1}".format(why, "not all could be put back: " + "; ".join(left) if left else _AGAIN),
        "id": name,
        "state": state,
        "restored": undone.restored,
        "not_restored": left,
    }


def over(host: WritableHost, change: Change, state: str, answer: Dict[str, Any]) -> None:
    """Note what became of a change, then tell the host's log of it. Raises OSError."""
    store.end(host, change.id, state, answer)
    if state != heads.UNCONFIRMED:
        # What is left of it finds nothing to take back, and goes by itself.
        with contextlib.suppress(OSError):
            watch.end(host, change.id)
    values = ["{0} {1} -> {2}".format(one.name, one.before, one.after) for one in change.live]
    files = ["{0} {1} -> {2}".format(one.path, _short(one.was), _short(one.after)) for one in change.files]
    steps = [one.name for one in change.steps]
    line = "change {0} of {1} {2}: {3}".format(
        change.id, change.who or "a run that gave no name", state, ", ".join(values + files + steps)
    )
    host.log(escaped(line)[:_LONGEST_LINE])
    with contextlib.suppress(OSError, Unreadable):
        store.prune(host)


def _short(mark: record.Mark) -> str:
    return mark.said[:12] if mark.kind == "file" else "link to " + mark.said if mark.kind == "link" else mark.kind
