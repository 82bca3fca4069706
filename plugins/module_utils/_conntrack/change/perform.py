# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of a host, whatever it is: locked, looked at, written down, made, proved; or undone. And where somebody is to confirm it
from outside: undone by the host itself when nobody does."""

import sys
import time
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..host.writing import WritableHost
from ..journal import heads, record, store, watch
from ..journal.record import Step, Value
from . import live, settle
from .alone import Answer, alone, refuse_held
from .failure import ChangeError, unwritten
from .undo import Given, make_so, reload
from .writes import Write, folders

_UNFINISHED = (
    "{0}: a change that is on its way, or was left unfinished: it is waited for, or undone, before another one is made; what is "
    "told here is of what there is now"
)
# Seconds in which a change is to be confirmed.
SHORTEST, LONGEST = 10, 3600
# Seconds. A change that is on its way when its time is over is waited for.
_LONGEST_WAIT = 3600


class Order(NamedTuple):
    """Who wants a change, and on which terms."""

    id: Optional[str]
    who: str
    what: str  # the module
    lock_seconds: int = 60
    confirm_seconds: int = 0  # in which it is to be confirmed; 0: it need not be
    target: str = "host"


class Work(NamedTuple):
    """What there is to be done, in this order."""

    writes: List[Write]
    live: List[live.Setting]
    steps: List[Step]

    @property
    def is_empty(self) -> bool:
        return not (self.writes or self.live or self.steps)


def _nothing() -> Answer:
    return {}


def _as_it_is(answer: Answer) -> Answer:
    return answer


class Found(NamedTuple):
    """What is asked for, beside what is there."""

    work: Work
    answer: Answer
    prove: Callable[[], Answer] = (
        _nothing  # whether all is as asked for, once it is made: raises ChangeError; more of the answer
    )


def run(
    host: WritableHost,
    order: Order,
    look: Callable[[], Found],
    check: bool = False,
    told: Callable[[Answer], Answer] = _as_it_is,
) -> Answer:
    """What a module answers. Raises ChangeError, after which the host is as it was; or the error says what of it is not. ``look``
    raises it for all that is to be refused; ``told`` has the last word on what is answered where nothing is made, or was before."""
    _refuse_odd(order)
    stored = store.changes(host)
    unfinished = [one.id for one in stored if one.state == heads.UNFINISHED]
    # What can be known without the lock; not of what somebody may be at work at, or what has been answered already.
    if check or not (unfinished or order.id in [one.id for one in stored]):
        found = look()
        if not found.work.is_empty:
            refuse_held(host)
            settle.refuse_unconfirmed(stored)
            _refuse_unconfirmable(host, order)
        if check or found.work.is_empty:
            answer = told(_answer(order, found))
            return dict(answer, warnings=[_UNFINISHED.format(name) for name in unfinished]) if unfinished else answer
    return alone(host, order.lock_seconds, order.who, partial(_locked, host, order, look, told))


def confirm(host: WritableHost, name: str, seconds: int, who: str, check: bool = False) -> Answer:
    """Keep a change that was to be confirmed; answers what was answered when it was made. Raises ChangeError where there is none, or
    it is undone."""
    if not host.is_root():
        raise ChangeError("root is needed to confirm a change; run with become")
    if check:
        return _confirmed(host, name, check)
    return alone(host, seconds, who, partial(_confirmed, host, name, check))


def overdue(host: WritableHost, name: str, arguments: Sequence[str]) -> int:
    """What the program does that is kept with a change: undo it, unless it is over. An exit code."""
    if arguments[:1] == ["check"]:
        watch.ready()
        return 0
    if arguments[:1] == ["wait"]:
        watch.ready()
        time.sleep(int(arguments[1]))
        while _undone(host, name):
            time.sleep(watch.AGAIN)
        return 0
    return _undone(host, name)


def _undone(host: WritableHost, name: str) -> int:
    try:
        said = alone(
            host, _LONGEST_WAIT, "change {0}, which was not confirmed".format(name), partial(_expired, host, name)
        )
    except (ChangeError, OSError, RuntimeError) as error:
        host.log("change {0} was not confirmed, and cannot be taken back yet: {1}".format(name, error))
        sys.stderr.write("{0}\n".format(error))
        return 1
    sys.stdout.write("change {0}: {1}\n".format(name, said["state"]))
    return 0


def _expired(host: WritableHost, name: str) -> Answer:
    for one in store.changes(host):
        if one.id == name and one.change and one.state in (heads.UNFINISHED, heads.UNCONFIRMED):
            settle.undo_unfinished(
                host, [one.change], "it was not confirmed in time, and the host has taken it back by itself"
            )
            return {"state": heads.UNDONE}
    watch.end(host, name)
    return {"state": "nothing to take back"}


def _confirmed(host: WritableHost, name: str, check: bool) -> Answer:
    stored = {one.id: one for one in settle.known(host)}
    one = stored.get(name)
    if one is None or one.change is None:
        raise ChangeError("confirm: {0}: there is no such change".format(name))
    if one.state == heads.DONE:
        return dict(store.answer(host, name) or {}, changed=False, id=name, state=heads.DONE)
    if one.state != heads.UNCONFIRMED:
        recorded = store.answer(host, name) or {}
        raise ChangeError(
            "confirm: {0} is {1}, not unconfirmed: {2}".format(name, one.state, recorded.get("msg", "it was cut off")),
            id=name,
        )
    answer = dict(store.answer(host, name) or {}, state=heads.DONE)
    if not check:
        settle.over(host, one.change, heads.DONE, answer)
    return answer


def _refuse_odd(order: Order) -> None:
    """Bounds that hold for every module; what it is given is of the right type."""
    if order.id is not None and not heads.is_name(order.id):
        raise ChangeError("id: expected up to 64 letters, digits, dots, dashes and underscores")
    if order.confirm_seconds and not SHORTEST <= order.confirm_seconds <= LONGEST:
        raise ChangeError(
            "confirm_seconds: {0} will not do; expected 0, or {1} to {2} seconds, in which the change is made and a new connection "
            "opened".format(order.confirm_seconds, SHORTEST, LONGEST)
        )


def _refuse_unconfirmable(host: WritableHost, order: Order) -> None:
    if order.confirm_seconds and not watch.is_possible(host):
        raise ChangeError(
            "confirm_seconds: nothing on this host is known that would take the change back in time and at a boot (systemd, OpenRC "
            "and Debian's init are known); set confirm_seconds=0 and have another way into it at hand"
        )


def _answer(order: Order, found: Found) -> Answer:
    return dict(found.answer, changed=not found.work.is_empty, id=order.id, state="none")


def _locked(host: WritableHost, order: Order, look: Callable[[], Found], told: Callable[[Answer], Answer]) -> Answer:
    stored = settle.known(host)
    recorded = store.answer(host, order.id) if order.id else None
    if recorded:
        return _again(recorded, told)
    unfinished = settle.unfinished(stored)
    if unfinished:
        refuse_held(host)
        undone = settle.undo_unfinished(host, unfinished)
        raise ChangeError(
            "{0}: left unfinished, and undone now, so that what was planned from may have changed; run again".format(
                ", ".join(undone.ids)
            ),
            stale=True,
            restored=undone.restored,
            not_restored=undone.not_restored,
        )
    found = look()
    if found.work.is_empty:
        return told(_answer(order, found))
    refuse_held(host)
    settle.refuse_unconfirmed(stored)
    _refuse_unconfirmable(host, order)
    return _changed(host, order._replace(id=order.id or settle.new_id(host)), found)


def _again(recorded: Answer, told: Callable[[Answer], Answer]) -> Answer:
    """What was answered the first time."""
    if recorded.pop("failed", False):
        raise ChangeError(recorded.pop("msg"), **recorded)
    return told(recorded)


def _changed(host: WritableHost, order: Order, found: Found) -> Answer:
    work, name = found.work, order.id or ""
    answer = dict(_answer(order, found), state=heads.UNCONFIRMED if order.confirm_seconds else heads.DONE)
    files = [record.entry(one.path, one.before, one.after, str(number)) for number, one in enumerate(work.writes)]
    values = [Value(one.name, one.path or "", one.found or 0, one.wanted, one.rank) for one in work.live]
    made = folders(host, [write.path for write in work.writes if write.after.kind != "none"])
    change = settle.new(host, name, order.who, files, made, values, steps=work.steps, what=order.what)
    # Of an image there is nothing to go back to: it is made anew.
    is_kept = order.target == "host"
    if is_kept:
        stored = {one.stored: write.before.content for one, write in zip(files, work.writes) if one.stored is not None}
        try:
            store.begin(host, change, stored)
        except OSError as error:
            raise unwritten(host, "keeping what is there, in", heads.HOME, error) from None
    try:
        if order.confirm_seconds:
            _watched(host, name, order.confirm_seconds)
        more = _made(host, order, work, made, found.prove)
        # Part of the change: what is not known to be over is undone by the next one.
        if is_kept:
            settle.over(host, change, str(answer["state"]), answer)
    except Exception as error:
        given = [Given(one.path, one.before, record.mark(one.after)) for one in work.writes]
        raise settle.failed(host, change, given, error, is_kept) from error
    return dict(answer, **more)


def _watched(host: WritableHost, name: str, seconds: int) -> None:
    try:
        watch.begin(host, name, seconds)
    except OSError as error:
        raise ChangeError(
            "confirm_seconds: what would take the change back cannot be set up: {0}".format(error.strerror or error)
        ) from None


def _made(
    host: WritableHost, order: Order, work: Work, made: Sequence[str], prove: Callable[[], Dict[str, Any]]
) -> Answer:
    """All of it written and proved."""
    for folder in made:
        try:
            host.make_folder(folder)
        except OSError as error:
            raise unwritten(host, "making", folder, error) from None
    for write in work.writes:
        try:
            host.put(write.path, write.after)
        except OSError as error:
            raise unwritten(host, "writing", write.path, error) from None
    live.write(host, work.live)
    if order.target == "host":
        reload(host, [write.path for write in work.writes])
    for step in work.steps:
        try:
            make_so(host, step.kind, step.after)
        except OSError as error:
            raise ChangeError("{0}: {1}".format(step.name, error.strerror or error)) from None
    return prove()
