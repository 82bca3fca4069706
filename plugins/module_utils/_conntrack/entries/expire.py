# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shorten what entries of the table have left to the timeouts wanted, while the kernel tells them.

Nothing is deleted and nothing is lengthened; an active flow gets its timeout anew with its next packet. Between the telling
of an entry and its update its flow may come to a state with a shorter timeout, as from ESTABLISHED to TIME_WAIT. Such
entries are found by a second look among those that were shortened, and get what the kernel gives to that state.
"""

import contextlib
import math
import time
from collections import Counter
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from .. import kernel
from ..host.door import Host
from ..host.netfilter import Netfilter
from ..sources.namespaces import timeouts as live_timeouts
from ..values import integer
from . import entry as entries
from .census import Kind
from .look import GONE, Aim, Label, Look, Post, has_states
from .policies import Policies
from .policies import read as read_policies
from .reading import (
    ATTEMPTS,
    LONGEST_WORK,
    NOTHING,
    Table,
    TableError,
    flavour_in_use,
    not_taken,
    read,
    why,
    within,
)
from .wanted import Match, Wanted

# Entries that may have been told and wait for their turn: 18 answers of 32 KiB, in messages of 110 bytes.
_BACKLOG = 5400
# Seconds, eleven days. What a rate may make of it at most.
_SLOWEST = 1000000.0


def expire(host: Host, wanted: Wanted, namespace: Optional[str], check: bool) -> Dict[str, Any]:
    """Shorten entries of a network namespace, the own one unless another is named. Raises TableError."""
    return within(host, namespace, lambda: _expired(host, wanted, check), LONGEST_WORK + _slowly(host, wanted))


def _slowly(host: Host, wanted: Wanted) -> float:
    """Seconds that the rate takes for as many entries as there can be."""
    if wanted.rate is None:
        return 0.0
    names = flavour_in_use(host)
    limit = integer(host.read(kernel.sysctl_path(names.prefix + "max"))) if names else None
    return min((wanted.limit or limit or kernel.LARGEST_LIMIT) / wanted.rate, _SLOWEST)


def bound(most: Optional[int], there: int) -> float:
    """Entries, of so many that are there, that may be shortened without a second word."""
    return there // 2 if most is None else most or math.inf


def _expired(host: Host, wanted: Wanted, check: bool) -> Dict[str, Any]:
    names = flavour_in_use(host)
    if names is None:
        return _told(_Through(NOTHING, Post(None, None), None), {}, 0)
    live = entries.lived_by(live_timeouts(host, names))
    timeouts = live if wanted.timeouts is None else entries.lived_by(wanted.timeouts)
    aim = Aim(
        wanted.match,
        _limit(timeouts, wanted.match),
        _delay(wanted.rate),
        Policies([]) if wanted.under_policies else read_policies(host),
    )
    limit = math.inf if wanted.limit is None else wanted.limit
    counted, most = None, math.inf
    if wanted.most is None or 0 < wanted.most < limit:
        counted = _through(host, names, aim, math.inf, math.inf, _counting)
        most = _bounded(counted, wanted.most, limit)
    if check:
        if counted is None or wanted.limit is not None:
            counted = _through(host, names, aim, limit, most, _counting)
        return _told(counted, timeouts, 0)
    with contextlib.closing(_conversation(host)) as conversation:
        post = Post(conversation, wanted.rate)
        done = _through(host, names, aim, limit, most, lambda: post)
        corrected, again = _correct(host, names, aim, live, timeouts, post)
        if post.barred() and not sum(post.shortened.values()):
            raise TableError(not_taken(max(post.barred()), 0))
        forged = done.table.forged + again.forged + conversation.forged
        table = done.table._replace(interrupted=done.table.interrupted or again.interrupted, forged=forged)
    return _told(done._replace(table=table), timeouts, corrected)


def _counting() -> Post:
    return Post(None, None)


def _bounded(counted: "_Through", asked_for: Optional[int], limit: float) -> float:
    """Entries that may be shortened, whatever comes meanwhile. Raises TableError where there are more."""
    found, there = min(sum(counted.post.shortened.values()), limit), counted.table.examined
    most = bound(asked_for, there)
    if found <= most:
        return most
    raise TableError(
        "{0} of {1} entries would be shortened, more than the {2} that one run may shorten without a second word{3}: nothing was "
        "changed. If it is meant, say most: {0}, or 0 for no bound (in the playbook relieve relieve_most, of the role "
        "conntrack_expire_most); or mean less of them, with match, longer timeouts or a limit".format(
            int(found), there, int(most), " (half of the table)" if asked_for is None else ""
        )
    )


class _Through(NamedTuple):
    """What came of it to go through the table, the last time if it was gone through anew."""

    table: Table
    post: Post
    look: "Optional[Look]"


def _through(
    host: Host, names: kernel.Flavour, aim: Aim, limit: float, most: float, a_post: Callable[[], Post]
) -> _Through:
    forged = 0
    for _attempt in range(ATTEMPTS):
        post = a_post()
        already = sum(post.shortened.values())
        look = Look(aim, post, limit - already, most - already)
        table = read(host, names, None, look.take, updating=True)
        forged += table.forged
        if not table.interrupted or table.late or sum(post.shortened.values()) == limit:
            break
    return _Through(table._replace(forged=forged), post, look)


def _conversation(host: Host) -> Netfilter:
    """One in which requests to change entries are sent. What is not the kernel's is not let in, so that no refusal is lost."""
    try:
        conversation = host.netfilter()
    except OSError as error:
        raise TableError(why(error, None)) from None
    conversation.shut_out()
    return conversation


def _delay(rate: Optional[int]) -> int:
    """Seconds that an entry may wait for its turn: of those that have hardly more left than they may, none is lengthened."""
    return -(-_BACKLOG // rate) if rate else 0


def _limit(timeouts: Mapping[str, int], match: Match) -> Callable[[Kind], float]:
    def limit(kind: Kind) -> float:
        label = Label.of(kind)
        if kind.status & entries.LEFT_ALONE:
            return math.inf
        if match.protocol and label.protocol not in match.protocol:
            return math.inf
        if match.state and label.state not in match.state:
            return math.inf
        return timeouts.get(label.timeout or "", math.inf)

    return limit


def _correct(
    host: Host,
    names: kernel.Flavour,
    aim: Aim,
    live: Mapping[str, int],
    timeouts: Mapping[str, int],
    post: Post,
) -> Tuple[int, Table]:
    """Shorten, of the entries that the first look has shortened, those whose flows changed their state meanwhile, and that have what
    it gave them for another one; how many, and what has been read for it.

    They get what the kernel gives to their state, or what is wanted for it where that is more.
    """
    given = {label: post.seconds[label] for label in post.shortened if has_states(entries.NUMBERS.get(label.protocol))}
    longest = max(given.values(), default=0)
    ends = {name: max(seconds, timeouts.get(name, 0)) for name, seconds in live.items()}
    shorter = {name: seconds for name, seconds in ends.items() if seconds < longest}
    if not shorter:
        return 0, NOTHING
    again = post.another()

    def suspect(left: int, name: bytes) -> bool:
        oldest = time.monotonic() - post.begun + 2
        return any(seconds - oldest <= left <= seconds for seconds in given.values()) and name in post.tried

    # Only protocols with states: of the others no flow comes to a shorter timeout.
    match = aim.match._replace(protocol=tuple({label.protocol for label in given}), state=())
    look = Look(Aim(match, _limit(shorter, match), 0, Policies([]), suspect), again, math.inf, math.inf)
    table = read(host, names, None, look.take, updating=True)
    return sum(again.shortened.values()), table


def _told(through: _Through, timeouts: Mapping[str, int], corrected: int) -> Dict[str, Any]:
    table, post, look = through
    failed = sum(post.refused.values())
    gone = sum(post.refused[number] for number in GONE)
    examined, spared = (look.examined, look.spared) if look else (Counter(), Counter())
    return {
        "source": table.source,
        "complete": table.all and not table.interrupted and not (look and look.stopped),
        "examined": table.examined,
        "shortened": sum(post.shortened.values()),
        "spared": sum(spared.values()),
        "gone": gone,
        "busy": failed - gone,
        "corrected": corrected,
        "forged": table.forged,
        "states": [
            {
                "protocol": label.protocol,
                "state": label.state,
                "timeout_class": label.timeout,
                "timeout": timeouts.get(label.timeout or ""),
                "examined": count,
                "shortened": post.shortened[label],
                "spared": spared[label],
            }
            for label, count in sorted(examined.items(), key=lambda item: (-item[1], item[0]))
        ],
    }
