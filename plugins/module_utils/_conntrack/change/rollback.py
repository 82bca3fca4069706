# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change and every later one taken back: what was before the first of them. It is a change itself, and can be taken back."""

from functools import partial
from typing import Container, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..facts.gather import gather
from ..host.writing import WritableHost
from ..journal import heads, record, store
from ..journal.record import Change, Entry, Step, Value, mark
from ..shown import short
from . import live, settle
from .alone import Answer, alone, refuse_held
from .diff import diff
from .failure import ChangeError, unwritten
from .undo import Given, undo
from .writes import Write, as_wanted, folders, refuse_exposed, there

FIRST = "first"
_PENDING = (heads.UNFINISHED, heads.UNCONFIRMED)
_LEFT = "{0}: changed by others since; look at it, and make of it what it is to be"


class Back(NamedTuple):
    """The way back, beside what is there."""

    undoes: List[str]  # the changes whose work is gone afterwards, the last of them first
    undone: List[str]  # those of them that are in force
    writes: List[Write]
    returns: List[live.Return]
    values: List[Value]  # of the same
    steps: List[Step]  # of all of them, from the state before the first to that after the last
    made: List[str]  # folders that they have made
    left: List[str]  # what is not given back, why, and what to do
    is_begun: bool  # whether one of them was left unfinished

    @property
    def is_empty(self) -> bool:
        is_so = all(one.setting.found == one.setting.wanted for one in self.returns)
        return not (self.writes or self.steps) and is_so and not self.is_begun


def run(
    host: WritableHost, to: Optional[str], seconds: int, who: str, check: bool = False, only: bool = False
) -> Answer:
    """What the module conntrack_rollback answers. ``only``: no later changes are taken back. Raises ChangeError."""
    if not host.is_root():
        raise ChangeError("root is needed to read what was changed; run with become")
    stored = settle.known(host)
    if not (check or not stored):
        return alone(host, seconds, who, partial(_locked, host, to, who, only))
    found = _look(host, stored, to, only)
    if not found.is_empty:
        refuse_held(host)
    return _answer(found)


def _locked(host: WritableHost, to: Optional[str], who: str, only: bool) -> Answer:
    stored = settle.known(host)
    found = _look(host, stored, to, only)
    answer = _answer(found)
    unfinished = settle.unfinished(stored) + settle.unconfirmed(stored)
    if unfinished or not found.is_empty:
        refuse_held(host)
    told = settle.Told([], [], [])
    if unfinished:
        told = settle.undo_unfinished(host, unfinished, "it was not over, and is taken back")
        found = _look(host, settle.known(host), to or unfinished[-1].id, only)
    done = _answer(found) if found.is_empty else _taken_back(host, found, who)
    return dict(
        answer,
        id=done["id"],
        restored=told.restored + done["restored"],
        not_restored=told.not_restored + done["not_restored"],
    )


def _answer(found: Back) -> Answer:
    before = {one.setting.name: one.setting.found for one in found.returns}
    after = {one.setting.name: one.setting.wanted for one in found.returns}
    return {
        "changed": not found.is_empty,
        "id": None,
        "undone": [] if found.is_empty else found.undone,
        "restored": [],
        "not_restored": found.left + [_short_of(one) for one in found.returns if one.why_not],
        "diff": diff(found.writes, before, after),
    }


def _short_of(one: live.Return) -> str:
    return "{0} is {1}: {2}".format(one.setting.name, one.setting.wanted, one.why_not)


def _taken_back(host: WritableHost, found: Back, who: str) -> Answer:
    name = settle.new_id(host)
    files = [record.entry(one.path, one.before, one.after, str(number)) for number, one in enumerate(found.writes)]
    settings = [one.setting for one in found.returns]
    values = [Value(one.name, one.path or "", one.found or 0, one.wanted, one.rank) for one in settings]
    new = folders(host, [write.path for write in found.writes if write.after.kind != "none"])
    steps = [step._replace(before=step.after, after=step.before) for step in reversed(found.steps)]
    change = settle.new(host, name, who, files, new, values, found.undoes, steps)
    stored = {one.stored: write.before.content for one, write in zip(files, found.writes) if one.stored is not None}
    try:
        store.begin(host, change, stored)
    except OSError as error:
        raise unwritten(host, "keeping what is there, in", heads.HOME, error) from None
    try:
        given = [Given(one.path, one.after, mark(one.before)) for one in found.writes]
        undone = undo(host, given, found.made, found.values, found.steps)
        if not undone.is_over:
            raise ChangeError("; ".join(undone.not_restored))
        answer = dict(_answer(found), id=name, restored=undone.restored, not_restored=found.left + undone.not_restored)
        settle.over(host, change, heads.DONE, answer)
    except Exception as error:
        given = [Given(one.path, one.before, mark(one.after)) for one in found.writes]
        raise settle.failed(host, change, given, error, True) from error
    return answer


def _look(host: WritableHost, stored: Sequence[store.Stored], to: Optional[str], only: bool) -> Back:
    states = store.states(list(stored))
    listed = _from(stored, states, to)
    chosen = [one for one in (listed[:1] if only else listed) if one.change and one.state != heads.UNDONE]
    changes = [one.change for one in chosen if one.change]
    unfinished = {one.id for one in chosen if one.state in _PENDING}
    back = Back(
        [one.id for one in reversed(chosen)],
        [one.id for one in reversed(chosen) if states[one.id] != heads.UNDONE],
        [],
        [],
        [],
        _steps([change for change in changes if change.machine == settle.machine(host)]),
        [folder for change in changes for folder in change.folders],
        [],
        bool(unfinished),
    )
    for path, (first, last) in _files(changes).items():
        try:
            back.writes.extend(_write(host, path, first, last, last[0].id in unfinished))
        except ChangeError as error:
            back.left.append(str(error))
    values, left = _values(host, changes, unfinished)
    returns = live.returns(host, gather(host, ["table"]), values) if values else []
    return back._replace(returns=returns, values=values, left=[short(said) for said in back.left + left])


def _from(stored: Sequence[store.Stored], states: Dict[str, str], to: Optional[str]) -> Sequence[store.Stored]:
    """The changes from one on. Which one that is by default: what was left unfinished, or else the last that is none that takes
    back others; nothing is left of that where it is taken back already."""
    if to == FIRST:
        return stored
    names = [one.id for one in stored]
    if to is None:
        last = [
            one.id
            for one in stored
            if one.state in _PENDING or (one.change and not one.change.undoes and one.state == heads.DONE)
        ]
        if not last or states[last[-1]] == heads.UNDONE:
            return []
        to = last[-1]
    if to not in names:
        raise ChangeError(
            "to: {0}: there is no such change; expected {1}".format(to, ", ".join([FIRST] + names) if names else "none")
        )
    return stored[names.index(to) :]


_Ends = Tuple[Tuple[Change, Entry], Tuple[Change, Entry]]


def _files(changes: Sequence[Change]) -> Dict[str, _Ends]:
    """By path, the first and the last change of it."""
    found: Dict[str, _Ends] = {}
    for change in changes:
        for entry in change.files:
            here = (change, entry)
            found[entry.path] = (found[entry.path][0] if entry.path in found else here, here)
    return found


def _steps(changes: Sequence[Change]) -> List[Step]:
    """What is done about each thing, from the first change to the last, where that comes to anything."""
    found: Dict[Tuple[str, str], Step] = {}
    for change in changes:
        for step in change.steps:
            first = found.pop((step.kind, step.name), step)
            found[step.kind, step.name] = step._replace(before=first.before)
    return [step for step in found.values() if step.before != step.after]


def _write(
    host: WritableHost, path: str, first: Tuple[Change, Entry], last: Tuple[Change, Entry], is_unfinished: bool
) -> List[Write]:
    """Raises ChangeError for what is left as it is."""
    now, wanted = there(host, path), settle.given_back(host, *first).before
    if wanted is None:
        raise ChangeError("{0}: what was there cannot be read from the journal".format(path))
    if as_wanted(now, wanted):
        return []
    if mark(now) != last[1].after and not (is_unfinished and mark(now) == last[1].was):
        raise ChangeError(_LEFT.format(path))
    refuse_exposed(host, path)
    return [Write(path, now, wanted)]


def _values(host: WritableHost, changes: Sequence[Change], unfinished: Container[str]) -> Tuple[List[Value], List[str]]:
    """What is to be given back, and what is left as it is."""
    found: Dict[str, Value] = {}
    last: Dict[str, str] = {}
    machine = settle.machine(host)
    for change in changes:
        for value in change.live if change.machine == machine else ():
            found[value.name] = value._replace(before=found[value.name].before) if value.name in found else value
            last[value.name] = change.id
    given, left = [], []
    for name, value in found.items():
        now = live.now(host, value)
        if now == value.before:
            continue
        if now is None:
            left.append("{0}: there is no such value now; once there is, it is what files say".format(name))
        elif now != value.after and last[name] not in unfinished:
            left.append(
                "{0} is {1}, no more the {2} that was set: ".format(name, now, value.after) + "changed by others since"
            )
        else:
            given.append(value)
    return given, left
