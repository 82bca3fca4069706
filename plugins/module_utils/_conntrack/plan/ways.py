# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused or warned of, with the ways out of it. Pure.

A way that sets a variable is said only if it has been tried: no value is proposed that would be refused in its turn.
"""

from typing import Any, Callable, Mapping, NamedTuple, Tuple


class Way(NamedTuple):
    said: str
    fields: Mapping[str, Any] = {}  # of the policy, that it would set; none of what nobody can try beforehand


# Of several, the first that would do is said.
Ways = Tuple[Way, ...]


class Notice(NamedTuple):
    """A refusal or a warning."""

    about: str  # a field of the policy, which has to move
    said: str
    ways: Tuple[Ways, ...] = ()


def way(said: str, **fields: Any) -> Ways:
    return (Way(said, fields),)


def values(said: str, name: str, *candidates: int) -> Ways:
    """Values of a field, the best first; ``said`` with a place for the one."""
    return tuple(Way(said.format(value), {name: value}) for value in candidates)


def told(notice: Notice, does: Callable[[Notice, Mapping[str, Any]], bool]) -> str:
    """In words. ``does`` says whether fields of the policy would do."""
    chosen = [
        next((one.said for one in ways if not one.fields or does(notice, one.fields)), None) for ways in notice.ways
    ]
    found = [said for said in chosen if said]
    if not found:
        return notice.said
    *others, last = found
    return "{0}; {1}".format(notice.said, ", ".join(others + ["or " + last]) if others else last)
