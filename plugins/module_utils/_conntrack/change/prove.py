# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether all is as asked for, once it is written."""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ..host.writing import WritableHost
from ..values import Facts
from . import live
from .failure import ChangeError
from .request import Asked
from .writes import Write, as_wanted, there

_EVENTS = {"boot": "the next boot", "reload": "the next load of the module"}


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
