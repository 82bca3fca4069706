# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else writes what the plan writes: step aside for programs, take lines over or refuse, never fight. Pure."""

import re
from typing import Dict, NamedTuple, Optional

from ..kernel import COMMAND_LINE, is_switch
from ..outcome.fold import Contest
from ..outcome.said import SET, Line
from ..sources.modprobe import place
from ..values import Facts

# Files elsewhere belong to packages, which would bring a line back.
_OWN = "/etc/"
# What had to be escaped, or was cut, is not the name of a file.
_PLAIN = re.compile(r"/[\w./@:+,=~-]{1,299}", re.ASCII)
# A line that says this one thing and can go as a whole, which a line of a script cannot. Of plain characters: what had to be
# escaped, or was cut, is not what the file has.
_SINGLE = re.compile(
    r"(?:-[ \t]*)?[\w./]+[ \t]*=[ \t]*[\w+-]+|options[ \t]+[\w-]+[ \t]+hashsize[ \t]*=[ \t]*[\w+]+", re.ASCII
)
_EVENTS = {
    "boot": "the next boot",
    "reload": "the next load of the module",
    "applied": "a boot that applies sysctl.d",
}


class Held(NamedTuple):
    """A value that a program sets at each of its starts, from arguments or a configuration of its own."""

    value: int
    owner: str
    remedy: str


def held(facts: Facts) -> Dict[str, Held]:
    """By key. What a line of a file sets is no such value: the line can go."""
    found = {}
    for owner in facts.get("owners") or ():
        for key, value in owner["keys"].items():
            if owner["at_boot"] and not owner["path"] and (value or (value == 0 and is_switch(key))):
                found[key] = Held(value, owner["evidence"], owner["remedy"])
    return found


def exposed(facts: Facts) -> Dict[str, str]:
    """By path, who else than root may write a file that is applied, or a folder of the role's own files. What such a file says is
    nobody's word: it moves no number, and keeps no run from its work."""
    return {one["path"]: one["why"] for one in facts.get("exposed") or ()}


def said(contest: Contest) -> str:
    value, line = contest.decision.value, contest.decision.line
    source = value.source
    if line is not None and line.text and line.file and line.text.strip() not in source:
        where = place(line.file, line.line)
        source += "{0}: {1!r}".format("" if source.endswith(where) else ", because of " + where, line.text.strip())
    return "{0}: {1} after {2} ({3}), {4} planned".format(
        contest.key, "nothing" if value.value is None else value.value, _EVENTS[contest.event], source, contest.wanted
    )


def refusal(contest: Contest, takeover: bool) -> str:
    """Why it keeps the host from being changed; empty where a line can be taken over, and may be."""
    line = contest.decision.line
    if takeover and can_go(line):
        return ""
    return "{0}; {1}".format(said(contest), _remedy(contest))


def can_go(line: Optional[Line]) -> bool:
    """Whether a line can be commented out."""
    return (
        line is not None
        and line.file is not None
        and line.file.startswith(_OWN)
        and _PLAIN.fullmatch(line.file) is not None
        and _SINGLE.fullmatch(line.text.strip()) is not None
    )


def _remedy(contest: Contest) -> str:
    line, kind = contest.decision.line, contest.decision.value.kind
    if line is None:
        return "look at what is there; nothing is written that would not hold"
    if can_go(line):
        asked = ", ask for its value" if kind == SET else ""
        return "remove that line{0}, or set conntrack_takeover=true".format(asked)
    if line.path == COMMAND_LINE:
        return "take {0} off it, and boot".format(line.text)
    if line.remedy:
        return line.remedy
    path, file = line.path or "", line.file or ""
    if not _PLAIN.fullmatch(path) or not _PLAIN.fullmatch(file) or file.startswith(_OWN):
        return "take it out there"
    if path.startswith(_OWN):
        return "that file is a package's: let {0}, which leads there, lead to /dev/null".format(path)
    return "that file is a package's: put a file or a link of the name {0} in its place below /etc".format(
        path.rpartition("/")[2]
    )
