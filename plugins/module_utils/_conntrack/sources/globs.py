# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""glob(7) of a host's files, as fnmatch(3) of glibc has it without flags, and the braces of its glob(3). Pure.

Left out: [[=x=]] and [[.x.]].
"""

import re
from functools import lru_cache
from itertools import islice
from typing import Iterator, List, Optional, Tuple

from .patterns import ANY, CLASSES, Pattern, Step, between

_BRACKET = re.compile(
    r"([!^]|(?![!^]))((?:\[:[a-z]+:\]|\\.|(?!\[:[a-z]+:\])[^\\])(?:\[:[a-z]+:\]|\\.|(?!\[:[a-z]+:\])[^\]\\])*)\]", re.S
)
# A backslash takes the next character along, which is then no brace.
_BRACE = re.compile(r"\\.|[{,}]", re.S)
# Patterns that one with braces stands for, and characters of it.
_MOST_ALTERNATIVES = 99
_LONGEST = 999
_SHORT = re.compile(r"()(:[a-z]+:)\]")
_PART = re.compile(r"\[:([a-z]+):\]|(\\.|[^\\])(?:-(\\.|[^\]\\]))?", re.S)
# Two stars do not stand side by side, what stands between takes one character, and a name has 255 (NAME_MAX).
_MOST_STEPS = 2 * 255 + 1


def alternatives(pattern: str) -> Iterator[str]:
    """The patterns that one with braces stands for (GLOB_BRACE); of very many the first."""
    return islice(_alternatives(pattern), _MOST_ALTERNATIVES) if len(pattern) <= _LONGEST else iter([pattern])


def _alternatives(pattern: str) -> Iterator[str]:
    pending = [pattern]
    while pending:
        one = pending.pop()
        divided = _divided(one)
        if divided is None:
            yield one
        else:
            pending += [divided[0] + part + divided[2] for part in reversed(divided[1])]


def _divided(pattern: str) -> Optional[Tuple[str, List[str], str]]:
    """What stands before the first braces, in them and after them; None where there are none that are closed."""
    depth, marks = 0, []
    for found in _BRACE.finditer(pattern):
        char = found.group()
        depth += (char == "{") - (char == "}" and depth > 0)
        if (char == "{" and depth == 1) or (char == "," and depth == 1):
            marks.append(found.start())
        elif char == "}" and depth == 0 and marks:
            parts = [pattern[start + 1 : end] for start, end in zip(marks, marks[1:] + [found.start()])]
            return pattern[: marks[0]], parts, pattern[found.end() :]
    return None


def matches(pattern: str, name: str) -> bool:
    """Whether a glob fits the name of a file or a module, in time that grows as the one's length times the other's."""
    compiled = _compiled(pattern)
    return compiled is not None and compiled.fits(name)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Optional[Pattern]:
    """None where no name fits."""
    try:
        steps = list(islice(_steps(pattern), _MOST_STEPS + 1))
    except KeyError:
        # A class that there is not.
        return None
    return Pattern(steps) if len(steps) <= _MOST_STEPS else None


def _steps(pattern: str) -> Iterator[Step]:
    at, closed = 0, True
    while at < len(pattern):
        char, at = pattern[at], at + 1
        # Behind one that is not closed none is but what was a class in it.
        bracket = (_BRACKET if closed else _SHORT).match(pattern, at) if char == "[" else None
        closed = closed and (char != "[" or bracket is not None)
        if char == "*":
            while pattern.startswith("*", at):
                at += 1
            yield ANY._replace(optional=True, again=True)
        elif char == "?":
            yield ANY
        elif bracket:
            yield Step(frozenset(_among(bracket.group(2))), negated=bracket.group(1) != "")
            at = bracket.end()
        elif char == "\\":
            # At the end it lets nothing fit.
            yield Step(frozenset(pattern[at : at + 1]))
            at += 1
        else:
            yield Step(frozenset(char))


def _among(inside: str) -> Iterator[str]:
    for name, first, last in _PART.findall(inside):
        if name:
            yield from CLASSES[name]
        else:
            yield first[-1]
            yield from between(first[-1], last[-1]) if last else ""
