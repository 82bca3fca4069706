# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked for: the variables of the role conntrack, read strictly. Pure; knows nothing of any host.

Everything wrong is found in one go, and each finding says the variable, the value and what would do.
"""

import json
import re
from typing import Any, Callable, Container, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..kernel import ENTRIES_PER_BUCKET_AT_LOAD, LARGEST_HASHSIZE, LARGEST_LIMIT, LONGEST_TIMEOUT, TIMEOUTS
from ..shown import escaped
from .profiles import PROFILES, RFC_FLOORS, below_floors
from .spelling import misspelt

RFC_CHOICES = ("enforce", "warn", "ignore")


class Policy(NamedTuple):
    """The role's variables without their prefix, and their defaults."""

    max: Optional[int] = None
    expected_connections: Optional[int] = None
    headroom: float = 2.0
    memory_percent: float = 2.0
    max_floor: int = 65536
    max_ceiling: int = 2097152
    entries_per_bucket: int = 1
    hashsize: Optional[int] = None
    timeout_profile: str = "server"
    timeouts: Dict[str, int] = {}
    rfc_floors: str = "warn"
    shrink: bool = False
    apply: bool = True
    firewall: bool = True
    takeover: bool = False
    expire_existing: bool = False


class PolicyError(Exception):
    """Input that no host could make good; its text has a line for each finding."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Wrong(Exception):
    """A value that will not do; the text says what would."""


# ASCII digits alone; longer numbers are beyond every bound here.
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?[0-9.]{1,40}(?:[eE][+-]?[0-9]{1,3})?")
# In a sentence: characters of a value, and timeouts that are wrong.
_LONGEST = 100
_MOST = 10
_PREFIX = "conntrack_"

Reader = Callable[[Any], Any]


def read(variables: Mapping[str, Any], names: Iterable[str] = ()) -> Policy:
    """The policy that ``variables`` (conntrack_max and so on; others are passed over) ask for.

    ``names`` are those of further variables; one that is nearly a variable of the role is wrong, too. Raises PolicyError.
    """
    found, wrong = read_each(variables, _READERS)
    policy = Policy(**{name[len(_PREFIX) :]: value for name, value in found.items()})
    problems = list(wrong.values()) + _contradictions(policy, wrong) + misspelt(names, _READERS)
    if problems:
        raise PolicyError(problems)
    return policy


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


def _number(low: float, high: float, what: str) -> Reader:
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


def timeouts(variable: str = "") -> Reader:
    """A reader of seconds by the names of timeouts. A variable's may be JSON: what comes with ``-e NAME=`` is text."""
    wanted = "expected a mapping such as {tcp_established: 7440}"
    if variable:
        wanted += '; on a command line -e \'{{"{0}": {{"tcp_established": 7440}}}}\''.format(variable)
    seconds = whole(1, LONGEST_TIMEOUT, "seconds")

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


_READERS: Dict[str, Reader] = {
    "conntrack_max": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_expected_connections": whole(1, LARGEST_LIMIT, "connections"),
    "conntrack_headroom": _number(1, 100, "a factor"),
    "conntrack_memory_percent": _number(0.01, 50, "a percentage"),
    "conntrack_max_floor": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_max_ceiling": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_entries_per_bucket": whole(1, 8, "entries"),
    "conntrack_hashsize": whole(1, LARGEST_HASHSIZE, "buckets"),
    "conntrack_timeout_profile": one_of(PROFILES),
    "conntrack_timeouts": timeouts("conntrack_timeouts"),
    "conntrack_rfc_floors": one_of(RFC_CHOICES),
    "conntrack_shrink": truth,
    "conntrack_apply": truth,
    "conntrack_firewall": truth,
    "conntrack_takeover": truth,
    "conntrack_expire_existing": truth,
}


def timeouts_of(policy: Policy) -> Dict[str, int]:
    """The profile's timeouts with the single ones over them."""
    wanted = PROFILES[policy.timeout_profile].seconds()
    wanted.update(policy.timeouts)
    return wanted


class _Pair(NamedTuple):
    """Values that are each in order and cannot be meant together; the first is the one that is named."""

    variables: Tuple[str, ...]
    value: Any
    wanted: str


def _contradictions(policy: Policy, unread: Container[str]) -> List[str]:
    """A pair counts only where both its values were understood."""
    return [
        problem(pair.variables[0], pair.value, pair.wanted)
        for pair in _pairs(policy)
        if not any(variable in unread for variable in pair.variables)
    ]


def _pairs(policy: Policy) -> Iterator[_Pair]:
    limit, peak, buckets = policy.max, policy.expected_connections, policy.hashsize
    if policy.max_floor > policy.max_ceiling:
        yield _Pair(
            ("conntrack_max_floor", "conntrack_max_ceiling"),
            policy.max_floor,
            "above conntrack_max_ceiling {0}; lower the one or raise the other".format(policy.max_ceiling),
        )
    if limit is not None and limit < policy.max_floor and not policy.shrink:
        yield _Pair(
            ("conntrack_max", "conntrack_max_floor", "conntrack_shrink"),
            limit,
            "below conntrack_max_floor {0}; name at least that, lower conntrack_max_floor, "
            "or set conntrack_shrink=true if it is meant".format(policy.max_floor),
        )
    if limit is not None and peak is not None and limit < peak:
        yield _Pair(
            ("conntrack_max", "conntrack_expected_connections"),
            limit,
            "below conntrack_expected_connections {0}: the table would be full at the peak that is expected; "
            "raise conntrack_max or leave it unset".format(peak),
        )
    if limit is not None and buckets is not None and limit > ENTRIES_PER_BUCKET_AT_LOAD * buckets:
        yield _Pair(
            ("conntrack_hashsize", "conntrack_max"),
            buckets,
            "after a load of the module the limit is 8 x hashsize, below conntrack_max {0}; "
            "use at least {1}, or leave it unset".format(limit, -(-limit // ENTRIES_PER_BUCKET_AT_LOAD)),
        )
    if policy.timeout_profile == "gateway" and policy.rfc_floors == "enforce":
        for name in below_floors(policy.timeouts):
            yield _Pair(
                ("conntrack_timeouts", "conntrack_timeout_profile", "conntrack_rfc_floors"),
                {name: policy.timeouts[name]},
                floor_conflict(name),
            )


def floor_conflict(name: str) -> str:
    """What would do in place of a single timeout below its floor."""
    floor = RFC_FLOORS[name]
    return "{0} asks for at least {1} s where addresses are translated; use that, or conntrack_rfc_floors=warn".format(
        floor.source, floor.seconds
    )
