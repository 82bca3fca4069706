# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""glob(7), as far as sysctl.d has it. Pure."""

import re
from typing import Iterator, Optional, Tuple

_BRACKET = re.compile(r"([!^]?)((?:\\.|[^\\])(?:\\.|[^\]\\])*)\]", re.S)
_RANGE = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.S)


def matches(pattern: str, name: str) -> bool:
    """Whether a glob fits what stands between two slashes, in time that grows only as the product of both lengths."""
    places = {0}
    for character in _characters(pattern):
        if character is None:
            places = set(range(min(places), len(name) + 1))
        else:
            negated, among = character
            places = {at + 1 for at in places if at < len(name) and (name[at] in among) != negated}
        if not places:
            return False
    return len(name) in places


def _characters(pattern: str) -> Iterator[Optional[Tuple[bool, str]]]:
    """What a glob wants, character by character: one of these, or (True) none of these; None for any number of any."""
    at = 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        bracket = _BRACKET.match(pattern, at) if char == "[" else None
        if char == "*":
            yield None
        elif char == "?":
            yield True, ""
        elif bracket:
            yield bracket.group(1) != "", _among(bracket.group(2))
            at = bracket.end()
        elif char == "\\" and at < len(pattern):
            yield False, pattern[at]
            at += 1
        else:
            yield False, char


def _among(inside: str) -> str:
    """The characters between brackets, ranges written out as far as ASCII goes."""
    found = ""
    for first, last in _RANGE.findall(inside):
        found += first[-1] + "".join(map(chr, range(ord(first[-1]), min(ord(last[-1]), 127) + 1)) if last else "")
    return found
