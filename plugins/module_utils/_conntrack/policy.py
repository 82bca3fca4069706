# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked for: the variables of the role conntrack, read strictly. Pure; knows nothing of any host.

Everything wrong is found in one go, and each finding says the variable, the value and what would do.
"""

import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from .kernel import ENTRIES_PER_BUCKET_AT_LOAD, LARGEST_HASHSIZE, LARGEST_LIMIT, LONGEST_TIMEOUT, TIMEOUTS
from .profiles import PROFILES, RFC_FLOORS, below_floors

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

Reader = Callable[[Any], Any]


def read(variables: Mapping[str, Any]) -> Policy:
    """The policy that ``variables`` (conntrack_max and so on; others are passed over) ask for.

    None and the empty string, which an undefined variable becomes on its way through a template, are unset.
    Raises PolicyError.
    """
    problems: List[str] = []
    found: Dict[str, Any] = {}
    unread: Set[str] = set()
    for field, reader in _READERS.items():
        value = variables.get("conntrack_" + field)
        if value is None or value == "":
            continue
        try:
            found[field] = reader(value)
        except Wrong as wrong:
            problems.append(problem("conntrack_" + field, value, str(wrong)))
            unread.add("conntrack_" + field)
    problems += _contradictions(Policy(**found), unread)
    if problems:
        raise PolicyError(problems)
    return Policy(**found)


def problem(variable: str, value: Any, wanted: str) -> str:
    return "{0}: {1!r} will not do: {2}".format(variable, _plain(value), wanted)


def _plain(value: Any) -> Any:
    """Text and numbers without the wrappers that templating puts around them."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def whole(low: int, high: int, unit: str) -> Reader:
    """A reader of whole numbers, as numbers or as text; a truth value is none."""

    def reader(value: Any) -> int:
        wanted = "a whole number of {0} from {1} to {2}".format(unit, low, high)
        # True and False are ints, too, but their texts are no numbers.
        if not isinstance(value, (int, str)) or not _WHOLE.fullmatch(str(value).strip()):
            raise Wrong("expected " + wanted)
        number = int(value)
        if not low <= number <= high:
            raise Wrong("expected " + wanted)
        return number

    return reader


def _number(low: float, high: float, what: str) -> Reader:
    def reader(value: Any) -> float:
        wanted = "expected {0} from {1:g} to {2:g}".format(what, low, high)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise Wrong(wanted)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise Wrong(wanted) from None
        # What is not a number is not between any two.
        if not low <= number <= high:
            raise Wrong(wanted)
        return number

    return reader


def _one_of(names: Iterable[str]) -> Reader:
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


def timeouts(value: Any) -> Dict[str, int]:
    """Seconds by the names of timeouts. Raises Wrong."""
    if not isinstance(value, Mapping):
        raise Wrong("expected a mapping such as {tcp_established: 7440}")
    found = {}
    problems = []
    for name, seconds in value.items():
        if name not in TIMEOUTS:
            problems.append(
                "{0!r} is not a timeout this collection knows{1}".format(_plain(name), _near(name, TIMEOUTS))
            )
            continue
        try:
            found[str(name)] = whole(1, LONGEST_TIMEOUT, "seconds")(seconds)
        except Wrong as wrong:
            problems.append("{0}: {1!r}: {2}".format(name, _plain(seconds), wrong))
    if problems:
        raise Wrong("; ".join(problems))
    return found


def _near(value: Any, names: Iterable[str]) -> str:
    """The likeliest meaning of a name not known, a full sysctl name among the possible ones."""
    import difflib  # Slow to load, and wanted for mistakes alone.

    text = str(value).rpartition(".")[2]
    for prefix in ("nf_conntrack_", "ip_conntrack_"):
        if text.startswith(prefix):
            text = text[len(prefix) :]
    near = difflib.get_close_matches(text.replace("_timeout", ""), list(names), 1, 0.5)
    return "; did you mean {0}?".format(near[0]) if near else ""


_READERS: Dict[str, Reader] = {
    "max": whole(1, LARGEST_LIMIT, "entries"),
    "expected_connections": whole(1, LARGEST_LIMIT, "connections"),
    "headroom": _number(1, 100, "a factor"),
    "memory_percent": _number(0.01, 50, "a percentage"),
    "max_floor": whole(1, LARGEST_LIMIT, "entries"),
    "max_ceiling": whole(1, LARGEST_LIMIT, "entries"),
    "entries_per_bucket": whole(1, 8, "entries"),
    "hashsize": whole(1, LARGEST_HASHSIZE, "buckets"),
    "timeout_profile": _one_of(PROFILES),
    "timeouts": timeouts,
    "rfc_floors": _one_of(RFC_CHOICES),
    "shrink": truth,
    "apply": truth,
    "firewall": truth,
    "takeover": truth,
    "expire_existing": truth,
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


def _contradictions(policy: Policy, unread: Set[str]) -> List[str]:
    """A pair counts only where both its values were understood."""
    return [
        problem(pair.variables[0], pair.value, pair.wanted)
        for pair in _pairs(policy)
        if not unread & set(pair.variables)
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
