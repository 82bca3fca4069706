# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user asks for, read strictly: numbers, words and timeouts, as they come from a playbook or from a command line. Pure.

A reader makes a value of what it is given, or raises Wrong, whose text says what would do.
"""

import json
import re
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, Mapping, Tuple

from .kernel import LONGEST_ANYWHERE, SWITCHES, TIMEOUTS
from .shown import escaped


class Wrong(Exception):
    """A value that will not do; the text says what would."""


# ASCII digits alone; longer numbers are beyond every bound here.
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?[0-9.]{1,40}(?:[eE][+-]?[0-9]{1,3})?")
# In a sentence: characters of a value, and timeouts that are wrong.
_LONGEST = 100
_MOST = 10

Reader = Callable[[Any], Any]


class PolicyError(Exception):
    """Input that no host could make good; its text has a line for each finding."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def read_each(values: Mapping[str, Any], readers: Mapping[str, Reader]) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """What each reader makes of the value of its name, and by name a sentence for each that will not do.

    None and the empty string, which an undefined variable becomes on its way through a template, are unset.
    """
    found = {}
    wrong = {}
    for name, reader in readers.items():
        value = values.get(name)
        if value is None or value == "":
            continue
        try:
            found[name] = reader(value)
        except Wrong as error:
            wrong[name] = problem(name, value, str(error))
    return found, wrong


def problem(variable: str, value: Any, wanted: str) -> str:
    return "{0}: {1} will not do: {2}".format(variable, shown(value), wanted)


def shown(value: Any) -> str:
    """A value in a sentence: as Python writes it, but for the wrappers that templating puts around it; escaped, and cut."""
    text = escaped(_written(value, _LONGEST + 1)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _written(value: Any, room: int) -> str:
    """A value as Python writes it. Of a long one at least the first ``room`` characters are right, and not much more is looked at."""
    if room <= 0:
        return ""
    if isinstance(value, str):
        return repr(str.__str__(value)[:room])
    if isinstance(value, Mapping):
        pairs = (_written(name, room - 1) + ": " + _written(item, room - 1) for name, item in value.items())
        return "{" + _joined(pairs, room) + "}"
    if isinstance(value, list):
        return "[" + _joined((_written(item, room - 1) for item in value), room) + "]"
    if isinstance(value, int) and value.bit_length() > 4 * _LONGEST:
        # In digits, Python writes it slowly or not at all.
        return hex(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return repr(kind(value))
    return repr(value)


def _joined(parts: Iterable[str], room: int) -> str:
    text = ""
    for part in parts:
        text += ", " + part if text else part
        if len(text) > room:
            break
    return text


def whole(low: int, high: int, unit: str) -> Reader:
    """A reader of whole numbers, as numbers or as text; a truth value is none."""
    wanted = "expected a whole number of {0} from {1} to {2}".format(unit, low, high)

    def reader(value: Any) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(wanted)
        return int(value)

    return reader


def number(low: float, high: float, what: str) -> Reader:
    wanted = "expected {0} from {1:g} to {2:g}".format(what, low, high)

    def reader(value: Any) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
            try:
                value = float(value)
            except ValueError:
                raise Wrong(wanted) from None
        # What is not a number is not between any two.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Wrong(wanted)
        return float(value)

    return reader


def one_of(names: Iterable[str]) -> Reader:
    choices = list(names)

    def reader(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Wrong("expected one of " + ", ".join(choices) + _near(value, choices))
        return str(value)

    return reader


def truth(value: Any) -> bool:
    # Extra variables arrive as text; these four are what Ansible's users write.
    words = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise Wrong("expected true or false")


def switch(value: Any) -> int:
    """A truth value as the kernel writes it, which it may be written as."""
    for reader in (whole(0, 1, ""), truth):
        with suppress(Wrong):
            return int(reader(value))
    raise Wrong("expected true or false, or 1 or 0")


def switches(value: Any) -> Dict[str, int]:
    """Of tcp, by name."""
    if not isinstance(value, Mapping) or not set(value) <= set(SWITCHES):
        raise Wrong("expected a mapping of " + ", ".join(SWITCHES))
    return {str(name): switch(item) for name, item in value.items()}


def timeouts(variable: str = "") -> Reader:
    """A reader of seconds by the names of timeouts. A variable's may be JSON: what comes with ``-e NAME=`` is text."""
    wanted = "expected a mapping such as {tcp_established: 7440}"
    if variable:
        wanted += '; on a command line -e \'{{"{0}": {{"tcp_established": 7440}}}}\''.format(variable)
    # What the kernel of a host takes its plan knows, and what none takes is no seconds.
    seconds = whole(1, LONGEST_ANYWHERE, "seconds")

    def reader(value: Any) -> Dict[str, int]:
        if variable and isinstance(value, str):
            value = _json(value)
        if not isinstance(value, Mapping):
            raise Wrong(wanted)
        found = {}
        problems = []
        for name, item in value.items():
            try:
                found[_timeout(name)] = seconds(item)
            except Wrong as wrong:
                problems.append("{0}: {1}: {2}".format(name, shown(item), wrong) if name in TIMEOUTS else str(wrong))
            if len(problems) > _MOST:
                problems[_MOST:] = ["and more"]
                break
        if problems:
            raise Wrong("; ".join(problems))
        return found

    return reader


def _timeout(name: Any) -> str:
    if name not in TIMEOUTS:
        raise Wrong("{0} is not a timeout this collection knows{1}".format(shown(name), _near(name, TIMEOUTS)))
    return str(name)


def _json(text: str) -> Any:
    """What a text says as JSON, or None; numbers stay text, because one reader reads them all."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _near(value: Any, names: Iterable[str]) -> str:
    """The likeliest meaning of a name not known, a full sysctl name among the possible ones."""
    import difflib  # Slow to load, and wanted for mistakes alone.

    # What is longer than any of them is near to none, and takes long to compare.
    text = str(value)[:_LONGEST].rpartition(".")[2] if isinstance(value, str) else ""
    for prefix in ("nf_conntrack_", "ip_conntrack_"):
        if text.startswith(prefix):
            text = text[len(prefix) :]
    near = difflib.get_close_matches(text.replace("_timeout", ""), list(names), 1, 0.5)
    return "; did you mean {0}?".format(near[0]) if near else ""


def wants_machine(root: str) -> str:
    """What is said where a host is a tree, and a machine is wanted."""
    return problem(
        "conntrack_root",
        root,
        "a tree is only read, by the module conntrack_facts and the playbook headroom.netfilter.audit; for a machine leave it unset",
    )
