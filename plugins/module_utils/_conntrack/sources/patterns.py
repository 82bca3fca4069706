# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions of a host's files, in time that grows as the length of one times that of the text. Pure.

Python's engine, which may take for ever, sees none of them. Of POSIX's extended ones this understands characters, ``.``,
brackets, anchors, ``* + ?`` behind a single character, and alternatives that are in no parentheses.
"""

import string
from functools import lru_cache
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Tuple

# Characters. Of what is longer nothing is said.
_LONGEST = 999

_ASCII = frozenset(map(chr, range(128)))
# As the C locale has them.
CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, range(32))) + "\x7f",
    "digit": string.digits,
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "lower": string.ascii_lowercase,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "punct": string.punctuation,
    "space": string.whitespace,
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


class Step(NamedTuple):
    """What takes one character of the text; or an end of the text, which takes none."""

    among: FrozenSet[str] = frozenset()
    negated: bool = False
    optional: bool = False
    again: bool = False
    end: str = ""  # ^ or $


ANY = Step(negated=True)


class Pattern:
    """Steps, one after the other.

    Where a text may have come to after each of its characters is held as a number: its nth bit says that n steps are done.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._optional, self._again = _bits(step.optional for step in steps), _bits(step.again for step in steps)
        self._start, self._end = _bits(step.end == "^" for step in steps), _bits(step.end == "$" for step in steps)
        self._takes: Dict[str, int] = {}

    def fits(self, text: str, anywhere: bool = False) -> bool:
        """Whether the steps take the whole text or, ``anywhere``, a part of it."""
        done, places = 1 << len(self._steps), 1
        for at in range(len(text) + 1):
            skipped = self._optional | (self._start if at == 0 else 0) | (self._end if at == len(text) else 0)
            places |= anywhere
            # The sum carries each place over all steps in a row that may be skipped.
            places |= (skipped + (places & skipped)) ^ skipped
            if places & done and (anywhere or at == len(text)):
                return True
            if at == len(text) or not places:
                break
            taken = places & self._taking(text[at])
            places = taken << 1 | taken & self._again
        return False

    def _taking(self, char: str) -> int:
        if char not in self._takes:
            self._takes[char] = _bits((char in step.among) != step.negated for step in self._steps)
        return self._takes[char]


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << at for at, flag in enumerate(flags) if flag)


def finds(pattern: str, text: str) -> Optional[bool]:
    """Whether an extended regular expression fits a part of the text, as in regexec(3); None if it is not understood."""
    branches = _understood(pattern)
    return None if branches is None else any(branch.fits(text, anywhere=True) for branch in branches)


@lru_cache(maxsize=8)
def _understood(pattern: str) -> Optional[List[Pattern]]:
    """The alternatives of an extended regular expression; None where anything in it is more than is known here."""
    if len(pattern) > _LONGEST or not _ASCII.issuperset(pattern):
        return None
    branches: List[List[Step]] = [[]]
    at = 0
    try:
        while at < len(pattern):
            char, at = pattern[at], at + 1
            if char == "|":
                branches.append([])
            elif char in "*+?":
                branches[-1][-1] = _repeated(branches[-1][-1], char)
            else:
                step, at = _step(pattern, char, at)
                branches[-1].append(step)
    except (IndexError, ValueError):
        return None
    return [Pattern(steps) for steps in branches]


def _step(pattern: str, char: str, at: int) -> Tuple[Step, int]:
    """What begins with ``char``, and where it ends. Raises ValueError or IndexError for what is not understood."""
    if char in "(){}":
        raise ValueError(char)
    if char in "^$":
        return Step(end=char), at
    if char == ".":
        return ANY, at
    if char == "[":
        return _bracket(pattern, at)
    if char == "\\":
        # Before a letter, a digit and some other characters it means more, to glibc.
        if pattern[at] not in r".[]{}()*+?^$|\/-_:":
            raise ValueError(pattern[at])
        return Step(frozenset(pattern[at])), at + 1
    return Step(frozenset(char)), at


def _repeated(step: Step, how: str) -> Step:
    if step.end or step.optional or step.again:
        raise ValueError(how)
    return step._replace(optional=how != "+", again=how != "?")


def _bracket(pattern: str, at: int) -> Tuple[Step, int]:
    negated = pattern[at] == "^"
    at = start = at + int(negated)
    found: List[str] = []
    while pattern[at] != "]" or at == start:
        if pattern[at] == "[" and pattern[at + 1] in ".=:":
            end = pattern.index(":]", at)
            # Raises ValueError for a collating symbol, which is no class.
            found += _class(pattern[at:end])
            at = end + 2
        elif pattern[at + 1] == "-" and pattern[at + 2] != "]":
            if pattern[at + 2] == "[" or pattern[at + 2] < pattern[at] or pattern[at + 3] == "-":
                raise ValueError(pattern)
            found += between(pattern[at], pattern[at + 2])
            at += 3
        else:
            found.append(pattern[at])
            at += 1
    return Step(frozenset(found), negated), at + 1


def _class(name: str) -> str:
    """[:alpha without its end."""
    if name[2:] not in CLASSES or name[1] != ":":
        raise ValueError(name)
    return CLASSES[name[2:]]


def between(first: str, last: str) -> List[str]:
    """The characters of a range, as far as ASCII goes."""
    return [chr(code) for code in range(ord(first), min(ord(last), 127) + 1)]
