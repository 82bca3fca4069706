# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change that the module conntrack_settings makes: files, lines and live values; and its proof, with what a boot and a load leave."""

from functools import partial
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ..facts.gather import gather
from ..facts.history import history
from ..host.writing import WritableHost
from ..journal.record import Step
from ..values import Facts
from . import live, perform
from .alone import Answer
from .diff import diff
from .failure import ChangeError
from .perform import Found, Order, Work
from .request import Asked
from .writes import Write, as_wanted, there, writes

_EVENTS = {"boot": "the next boot", "reload": "the next load of the module"}


def run(host: WritableHost, asked: Asked, check: bool = False) -> Answer:
    """What the module conntrack_settings answers. Raises ChangeError, after which the host is as it was; or the error says what
    of it is not."""
    if asked.refusals:
        raise ChangeError("refused: " + "; ".join(asked.refusals))
    order = Order(asked.id, asked.who, "conntrack_settings", asked.lock_seconds, target=asked.target)
    answer = perform.run(
        host, order, partial(_look, host, asked), check, lambda said: dict(said, facts=gather(host, ["all"]))
    )
    if "facts" in answer:
        answer["facts"] = dict(answer["facts"], history=history(host))
    return answer


def _look(host: WritableHost, asked: Asked) -> Found:
    """Raises ChangeError for all that is to be refused."""
    facts = gather(host, ["table"])
    written = writes(host, asked)
    settings = live.settings(host, facts, asked)
    if written and not host.is_root():
        raise ChangeError("root is needed to write {0}; run with become".format(written[0].path))
    before = {setting.name: setting.found for setting in settings}
    after = {setting.name: setting.wanted for setting in settings}
    answer = {
        "before": before,
        "after": after,
        "diff": diff(written, before, after),
        "reboot_needed": waiting(asked, facts, after),
    }
    return Found(
        Work(written, live.to_change(settings), _steps(host, asked)),
        answer,
        partial(_proved, host, asked, settings, written),
    )


def _steps(host: WritableHost, asked: Asked) -> List[Step]:
    if not asked.initramfs or asked.target != "host":
        return []
    # Few hosts have the module in there.
    from .ramdisk import step

    return [step(host)]


def _proved(host: WritableHost, asked: Asked, settings: List[live.Setting], written: List[Write]) -> Answer:
    facts: Facts = gather(host, ["all"])
    if "sized" in facts["assignments"]:
        # Few hosts have it.
        from ..facts.foretold import foretold
        from ..plan.boot import foreknown

        facts = foretold(facts, foreknown)
    prove(host, asked, settings, written, facts)
    return {"facts": facts}


def prove(
    host: WritableHost, asked: Asked, settings: Sequence[live.Setting], writes: Sequence[Write], facts: Facts
) -> None:
    """``facts`` are those of afterwards. Raises ChangeError, which names all that is otherwise."""
    wrong = [*_live(host, settings), *_files(host, writes), *_outcome(asked, facts)]
    if wrong:
        raise ChangeError("not as planned after the change: " + "; ".join(wrong))


def _live(host: WritableHost, settings: Sequence[live.Setting]) -> Iterator[str]:
    for setting in settings:
        found = live.now(host, setting)
        if found != setting.wanted:
            yield "{0}: {1} found, {2} asked for".format(setting.name, found, setting.wanted)


def _files(host: WritableHost, writes: Sequence[Write]) -> Iterator[str]:
    for write in writes:
        if not as_wanted(there(host, write.path), write.after):
            yield "{0}: it is not what was written".format(write.path)


def _outcome(asked: Asked, facts: Facts) -> Iterator[str]:
    for event, said in _EVENTS.items():
        will: Mapping[str, Any] = (facts.get("outcome") or {}).get(event) or {}
        for key, value in asked.expected.get(event, {}).items():
            found = will.get(key) or {"value": None, "source": "nothing is known of it"}
            # What fails or cannot be told is equal to nothing.
            if found["value"] != value or found.get("kind") in ("fails", "untold"):
                yield "{0}: {1} after {2} ({3}), {4} planned".format(key, found["value"], said, found["source"], value)


def waiting(asked: Asked, facts: Facts, after: Mapping[str, Optional[int]]) -> List[str]:
    """The keys whose live value only the next boot makes what it is to be."""
    if asked.target == "image":
        return []
    now: Dict[str, Optional[int]] = dict(live.values(facts), **after)
    boot = asked.expected.get("boot", {})
    return sorted(key for key in boot if now.get(key) is not None and now[key] != boot[key])
