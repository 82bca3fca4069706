# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small language for what an answer may be. A check gives the value back, rebuilt of plain kinds and with its texts
escaped, or raises Misfit with the path that does not fit, what was expected and what was found.

A check goes no deeper than it is written, whatever it is given. What it gives back it lets through again as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped

# Characters of what was found, and of a name in a path, that are shown.
LONGEST_SHOWN = 60
# Stands for what was cut off.
CUT = "..."

Check = Callable[[Any], Any]


class Misfit(Exception):
    """A value that is not as expected. Its path grows while it is handed up."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected, self.found, self.path = expected, found, ""

    def within(self, step: str) -> Misfit:
        self.path = step + ("." if self.path and not self.path.startswith("[") else "") + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path or 'the answer'}: expected {self.expected}, found {self.found}"


def found(value: Any) -> str:
    """What a value is, in a few words of a bounded length."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(_cut(value)) if len(value) <= LONGEST_SHOWN else f"{_cut(value)!r}, {len(value)} characters"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)}"
    return f"a list of {len(value)}" if isinstance(value, Sequence) else type(value).__name__


def _cut(text: str) -> str:
    return escaped(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - len(CUT)] + CUT)


@dataclass(frozen=True)
class Text:
    """A text, at most so long when it is escaped. ``pattern`` is ours, and matches it from end to end."""

    longest: int = 400
    pattern: str | None = None
    choices: Collection[str] = ()
    lines: bool = False  # whether it may have several

    def __call__(self, value: Any) -> str:
        if not isinstance(value, str):
            raise Misfit(self.wanted, found(value))
        # Not str(), which gives ansible-core's own kinds of text back. What is too long before escaping is so afterwards.
        text = escaped(str.__str__(value), self.lines) if len(value) <= self.longest else value
        if len(text) > self.longest:
            raise Misfit(self.wanted, found(value))
        if self.choices and text not in self.choices:
            raise Misfit(self.wanted, found(value))
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            raise Misfit(self.wanted, found(value))
        return text

    @property
    def wanted(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return f"a text of at most {self.longest} characters" + (f" like {self.pattern}" if self.pattern else "")


@dataclass(frozen=True)
class Whole:
    """A whole number; a truth value is none."""

    least: int = -(2**31)
    most: int = 2**63

    def __call__(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise Misfit(f"a whole number from {self.least} to {self.most}", found(value))
        return int(value)


@dataclass(frozen=True)
class Number:
    """A number that is 0 or more, and is one."""

    most: float = 2.0**63

    def __call__(self, value: Any) -> float | int:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value <= self.most:
            raise Misfit(f"a number from 0 to {self.most:g}", found(value))
        return float(value) if isinstance(value, float) else int(value)


@dataclass(frozen=True)
class Truth:
    def __call__(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise Misfit("true or false", found(value))
        return value


@dataclass(frozen=True)
class OrNone:
    """What another check lets through, or nothing."""

    check: Check

    def __call__(self, value: Any) -> Any:
        if value is None:
            return None
        try:
            return self.check(value)
        except Misfit as misfit:
            if not misfit.path:
                misfit.expected += ", or nothing"
            raise


@dataclass(frozen=True)
class ListOf:
    """A list of at most so many items, each as ``check`` has it."""

    check: Check
    most: int = 50

    def __call__(self, value: Any) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise Misfit("a list", found(value))
        if len(value) > self.most:
            raise Misfit(f"at most {self.most} items", f"{len(value)}")
        checked = []
        for item in value:
            try:
                checked.append(self.check(item))
            except Misfit as misfit:
                raise misfit.within(f"[{len(checked)}]") from None
        return checked


@dataclass(frozen=True)
class MappingOf:
    """A mapping of names to values, at most so many."""

    name: Text
    check: Check
    most: int = 200

    def __call__(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit("a mapping", found(value))
        if len(value) > self.most:
            raise Misfit(f"at most {self.most} names", f"{len(value)}")
        checked = {}
        for name, item in value.items():
            try:
                plain = self.name(name)
            except Misfit as misfit:
                misfit.expected = "names, each " + misfit.expected
                raise
            try:
                checked[plain] = self.check(item)
            except Misfit as misfit:
                raise misfit.within(f"[{_cut(plain)}]") from None
        return checked


@dataclass(frozen=True)
class Record:
    """A mapping of these names, each with a value of its own kind, and of no others."""

    fields: Mapping[str, Check]
    optional: Collection[str] = ()  # those that may be absent
    others: bool = False  # whether others may be there; they are dropped

    def __call__(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Misfit("a mapping", found(value))
        for name in value:
            if name not in self.fields and not self.others:
                raise Misfit("nothing of that name", found(value[name])).within(_cut(str(name)))
        checked = {}
        for name, check in self.fields.items():
            if name not in value:
                if name in self.optional:
                    continue
                raise Misfit("a value", "none of that name").within(name)
            try:
                checked[name] = check(value[name])
            except Misfit as misfit:
                raise misfit.within(name) from None
        return checked


@dataclass(frozen=True)
class Shown:
    """Anything that is only shown, as a difference is: texts are escaped and cut, and so is what is too long or too deep."""

    longest: int = 120000  # characters of a text
    most: int = 100  # items of a list or a mapping
    depth: int = 4

    def __call__(self, value: Any) -> Any:
        return self._shown(value, self.depth)

    def _shown(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return escaped(str.__str__(value)[: self.longest], newlines=True)
        if isinstance(value, Mapping) and depth:
            items = list(value.items())[: self.most]
            return {self._shown(str(name), 0): self._shown(item, depth - 1) for name, item in items}
        if isinstance(value, Sequence) and not isinstance(value, bytes) and depth:
            return [self._shown(item, depth - 1) for item in value[: self.most]]
        return found(value)
