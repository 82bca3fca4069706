# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else writes what the plan writes: step aside for programs, take lines over or refuse, never fight. Pure."""

import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple

from ..files import MODPROBE, SYSCTL
from ..values import Facts

# Files elsewhere belong to packages, which would bring a line back.
_OWN = "/etc/"
# What had to be escaped, or was cut, is not the name of a file.
_PLAIN = re.compile(r"/[\w./@:+,=~-]{1,299}", re.ASCII)
# A line that says this one thing and can go as a whole, which a line of a script cannot. Of plain characters: what had to be
# escaped, or was cut, is not what the file has.
_SINGLE = re.compile(r"(?:-[ \t]*)?[\w./]+[ \t]*=[ \t]*[\w+-]+|options[ \t]+[\w-]+[ \t]+hashsize=[\w+]+", re.ASCII)
HASHSIZE = "hashsize"
_EVENTS = (("boot", "the next boot"), ("reload", "the next load of the module"))


class Held(NamedTuple):
    """A value that a program sets at each of its starts, from arguments or a configuration of its own."""

    value: int
    owner: str
    remedy: str


class Line(NamedTuple):
    """A line of somebody else's file that would win over the plan."""

    path: str
    text: str
    said: str
    remedy: str  # where it cannot be commented out; empty where it can


def held(facts: Facts) -> Dict[str, Held]:
    """By key. What a line of a file sets is no such value: the line can go."""
    found = {}
    for owner in facts.get("owners") or ():
        for key, value in owner["keys"].items():
            if owner["at_boot"] and not owner["path"] and value:
                found[key] = Held(value, owner["evidence"], owner["remedy"])
    return found


def exposed(facts: Facts) -> Dict[str, str]:
    """By path, who else than root may write a file that is applied, or a folder of the role's own files. What such a file says is
    nobody's word: it moves no number, and keeps no run from its work."""
    return {one["path"]: one["why"] for one in facts.get("exposed") or ()}


def lines(facts: Facts, wanted: Mapping[str, int]) -> List[Line]:
    """Those that say something else than ``wanted``, values by key."""
    found = []
    for one in (facts.get("outcome") or {}).get("overriding", ()):
        key, path = one["key"], one["path"]
        if key in wanted and one["value"] != wanted[key]:
            said = "{0}: {1}:{2} says {3!r} and is applied after {4}, which says {5}".format(
                key, path, one["line"], one["text"].strip(), MODPROBE if key == HASHSIZE else SYSCTL, wanted[key]
            )
            found.append(Line(path, one["text"], said, _remedy(path, one["text"])))
    return found


def _remedy(path: str, text: str) -> str:
    if not _PLAIN.fullmatch(path):
        return "take it out there"
    if not path.startswith(_OWN):
        return "that file is a package's: put a file or a link of the name {0} in its place below /etc".format(
            path.rpartition("/")[2]
        )
    return "" if _SINGLE.fullmatch(text.strip()) else "take it out there"


def refusal(line: Line, takeover: bool) -> str:
    """Why the line keeps the host from being changed; empty where it can be taken over, and may be."""
    if takeover and not line.remedy:
        return ""
    remedy = line.remedy or "remove that line, ask for its value, or set conntrack_takeover=true"
    return "{0}; {1}".format(line.said, remedy)


def commented_out(line: Line) -> Tuple[str, str]:
    """What finds the line, and what takes its place."""
    return "^" + re.escape(line.text.rstrip()) + r"\s*$", "# " + line.text.strip()


def differing(facts: Facts, wanted: Mapping[str, int]) -> Iterator[Tuple[str, Any, str]]:
    """Key, value and a sentence for each value that will not be as ``wanted`` after a boot or a load."""
    outcome: Dict[str, Any] = facts.get("outcome") or {}
    programs = held(facts)
    nobodys = outcome.get("exposed") or ()
    for event, said in _EVENTS:
        for key, value in wanted.items():
            will = outcome.get(event, {}).get(key)
            if will and will["value"] not in (None, value) and key not in programs and key not in nobodys:
                yield (
                    key,
                    will["value"],
                    "{0}: {1} after {2} ({3}), {4} planned".format(key, will["value"], said, will["source"], value),
                )
