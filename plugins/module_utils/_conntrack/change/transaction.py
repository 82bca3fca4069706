# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of a host: locked, checked, written down, made, proved; or undone. In check mode all of it but the writing."""

from functools import partial
from typing import List, NamedTuple

from ..facts.gather import gather
from ..facts.history import history
from ..host.writing import WritableHost
from ..journal import heads, record, store
from ..journal.record import Value
from ..values import Facts
from . import live, settle
from .alone import Answer, alone, refuse_held
from .diff import diff
from .failure import ChangeError, unwritten
from .prove import prove, waiting
from .request import Asked
from .undo import Given, reload_udev
from .writes import Write, folders, writes

_UNFINISHED = (
    "{0}: a change that is on its way, or was left unfinished: it is waited for, or undone, before another one is made; what is "
    "told here is of what there is now"
)


class Look(NamedTuple):
    """What is asked for, beside what is there."""

    facts: Facts
    settings: List[live.Setting]
    changes: List[live.Setting]  # those of them that are to be written, in order
    writes: List[Write]
    folders: List[str]  # that have to be made
    ramdisk: bool  # whether the initial RAM disk is made anew of them

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.writes or self.ramdisk)


def run(host: WritableHost, asked: Asked, check: bool = False) -> Answer:
    """What the module conntrack_settings answers. Raises ChangeError, after which the host is as it was; or the error says what
    of it is not."""
    if asked.refusals:
        raise ChangeError("refused: " + "; ".join(asked.refusals))
    stored = store.changes(host)
    unfinished = [one.id for one in stored if one.state == heads.UNFINISHED]
    # What can be known without the lock; not of what somebody may be at work at, or what has been answered already.
    if check or not (unfinished or asked.id in [one.id for one in stored]):
        found = _look(host, asked)
        if not found.is_empty:
            refuse_held(host)
        if check or found.is_empty:
            answer = _with_facts(host, _answer(asked, found))
            return dict(answer, warnings=[_UNFINISHED.format(name) for name in unfinished]) if unfinished else answer
    return alone(host, asked.lock_seconds, asked.who, partial(_locked, host, asked))


def _look(host: WritableHost, asked: Asked) -> Look:
    """Raises ChangeError for all that is to be refused."""
    facts = gather(host, ["table"])
    written = writes(host, asked)
    settings = live.settings(host, facts, asked)
    if written and not host.is_root():
        raise ChangeError("root is needed to write {0}; run with become".format(written[0].path))
    made = folders(host, [write.path for write in written if write.after.kind != "none"])
    renews = asked.initramfs and asked.target == "host"
    if renews:
        from .ramdisk import refuse

        refuse(host)
    return Look(facts, settings, live.to_change(settings), written, made, renews)


def _answer(asked: Asked, found: Look) -> Answer:
    before = {setting.name: setting.found for setting in found.settings}
    after = {setting.name: setting.wanted for setting in found.settings}
    return {
        "changed": not found.is_empty,
        "id": asked.id,
        "state": "none",
        "before": before,
        "after": after,
        "diff": diff(found.writes, before, after),
        "reboot_needed": waiting(asked, found.facts, after),
    }


def _locked(host: WritableHost, asked: Asked) -> Answer:
    stored = settle.known(host)
    recorded = store.answer(host, asked.id) if asked.id else None
    if recorded:
        return _again(host, recorded)
    unfinished = settle.unfinished(stored)
    if unfinished:
        refuse_held(host)
        told = settle.undo_unfinished(host, unfinished)
        raise ChangeError(
            "{0}: left unfinished, and undone now, so that what was planned from may have changed; run again".format(
                ", ".join(told.ids)
            ),
            stale=True,
            restored=told.restored,
            not_restored=told.not_restored,
        )
    found = _look(host, asked)
    if found.is_empty:
        return _with_facts(host, _answer(asked, found))
    refuse_held(host)
    return _changed(host, asked._replace(id=asked.id or settle.new_id(host)), found)


def _again(host: WritableHost, recorded: Answer) -> Answer:
    """What was answered the first time."""
    if recorded.pop("failed", False):
        raise ChangeError(recorded.pop("msg"), **recorded)
    return _with_facts(host, recorded)


def _with_facts(host: WritableHost, answer: Answer) -> Answer:
    return dict(answer, facts=gather(host, ["all"]))


def _changed(host: WritableHost, asked: Asked, found: Look) -> Answer:
    answer = dict(_answer(asked, found), state=heads.DONE)
    files = [record.entry(one.path, one.before, one.after, str(number)) for number, one in enumerate(found.writes)]
    values = [Value(one.name, one.path or "", one.found or 0, one.wanted, one.rank) for one in found.changes]
    change = settle.new(host, asked.id or "", asked.who, files, found.folders, values, (), found.ramdisk)
    # Of an image there is nothing to go back to: it is made anew.
    is_kept = asked.target == "host"
    if is_kept:
        stored = {one.stored: write.before.content for one, write in zip(files, found.writes) if one.stored is not None}
        try:
            store.begin(host, change, stored)
        except OSError as error:
            raise unwritten(host, "keeping what is there, in", heads.HOME, error) from None
    try:
        facts = _made(host, asked, found)
        # Part of the change: what is not known to be over is undone by the next one.
        if is_kept:
            settle.over(host, change, heads.DONE, answer)
    except Exception as error:
        given = [Given(one.path, one.before, record.mark(one.after)) for one in found.writes]
        raise settle.failed(host, change, given, error, is_kept) from error
    return dict(answer, facts=dict(facts, history=history(host)))


def _made(host: WritableHost, asked: Asked, found: Look) -> Facts:
    """All of it written and proved; the facts of afterwards."""
    for folder in found.folders:
        try:
            host.make_folder(folder)
        except OSError as error:
            raise unwritten(host, "making", folder, error) from None
    for write in found.writes:
        try:
            host.put(write.path, write.after)
        except OSError as error:
            raise unwritten(host, "writing", write.path, error) from None
    live.write(host, found.changes)
    if asked.target == "host":
        reload_udev(host, [write.path for write in found.writes])
    if found.ramdisk:
        from .ramdisk import renewed

        why = renewed(host)
        if why:
            raise ChangeError(why)
    facts = gather(host, ["all"])
    prove(host, asked, found.settings, found.writes, facts)
    return facts
