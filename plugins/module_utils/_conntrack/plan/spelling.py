# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that are nearly those of the collection, and so have no effect. Pure."""

from typing import Any, Collection, Iterable, List

from ..shown import escaped

# A name with more characters is nobody's slip.
_LONGEST = 64
# Slips: in a name with at least so many letters two, else one.
_LONG = 6


def misspelt(names: Iterable[Any], known: Collection[str]) -> List[str]:
    """A sentence for each of ``names`` that is none of the variables ``known``, but nearly one of them.

    Nearly is: the same up to the first underscore; and after it, without regard to case and underscores, at most two slips, or
    one where the variable's name has less than six letters there. A slip is a letter too many, one that is missing, or two that
    have changed places; a wrong letter is two. A name with all the words of a variable and more is no slip: conntrack_max_alert
    is somebody's own.
    """
    firsts = tuple({one.partition("_")[0] + "_" for one in known})
    found = []
    for name in sorted(map(str, names)):
        # Nearly all are of others, and end here.
        if name.lower().startswith(firsts) and name not in known and len(name) <= _LONGEST:
            near = [(slips, one) for one in known for slips in _slips(name, one)]
            if near:
                found.append("{0}: there is no such variable; did you mean {1}?".format(escaped(name), min(near)[1]))
    return found


def _slips(name: str, known: str) -> List[int]:
    """How many slips away, if they are few enough."""
    first, *words = name.lower().split("_")
    wanted_first, *wanted_words = known.split("_")
    letters, wanted = "".join(words), "".join(wanted_words)
    allowed = 2 if len(wanted) >= _LONG else 1
    if first != wanted_first or set(words) > set(wanted_words) or abs(len(letters) - len(wanted)) > allowed:
        return []
    slips = _distance(letters, wanted)
    return [slips] if slips <= allowed else []


def _distance(one: str, other: str) -> int:
    """The fewest slips that make ``other`` of ``one``."""
    before = last = list(range(len(other) + 1))
    for row, letter in enumerate(one):
        now = [row + 1]
        for column, wanted in enumerate(other):
            now.append(min(last[column + 1], now[column]) + 1)
            if letter == wanted:
                now[-1] = min(now[-1], last[column])
            if row and column and (one[row - 1], letter) == (wanted, other[column - 1]):
                now[-1] = min(now[-1], before[column - 1] + 1)
        before, last = last, now
    return last[-1]
