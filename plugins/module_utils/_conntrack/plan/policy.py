# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked for: the variables of the role conntrack, read strictly. Pure; knows nothing of any host.

Everything wrong is found in one go, and each finding says the variable, the value and what would do.
"""

from typing import Any, Container, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..kernel import ENTRIES_PER_BUCKET_AT_LOAD, LARGEST_HASHSIZE, LARGEST_LIMIT, SWITCHES
from ..profiles import PROFILES, RFC_FLOORS, below_floors
from ..readers import PolicyError, Reader, Wrong, number, one_of, problem, read_each, switch, timeouts, truth, whole
from .spelling import misspelt

RFC_CHOICES = ("enforce", "warn", "ignore")
TARGETS = ("host", "image")
STATES = ("present", "absent")


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
    tcp_loose: Optional[int] = None
    tcp_be_liberal: Optional[int] = None
    shrink: bool = False
    apply: bool = True
    firewall: bool = True
    takeover: bool = False
    initramfs: bool = False
    size_at_boot: bool = False
    expire_existing: bool = False
    expire_most: Optional[int] = None
    target: str = "host"
    state: str = "present"


_PREFIX = "conntrack_"


def read(variables: Mapping[str, Any], names: Iterable[str] = ()) -> Policy:
    """The policy that ``variables`` (conntrack_max and so on; others are passed over) ask for.

    ``names`` are those of further variables; one that is nearly a variable of the role is wrong, too. Raises PolicyError.
    """
    found, wrong = read_each(variables, _READERS)
    policy = Policy(**{name[len(_PREFIX) :]: value for name, value in found.items()})
    problems = list(wrong.values()) + contradictions(policy, wrong) + misspelt(names, _READERS)
    if problems:
        raise PolicyError(problems)
    return policy


_READERS: Dict[str, Reader] = {
    "conntrack_max": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_expected_connections": whole(1, LARGEST_LIMIT, "connections"),
    "conntrack_headroom": number(1, 100, "a factor"),
    "conntrack_memory_percent": number(0.01, 50, "a percentage"),
    "conntrack_max_floor": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_max_ceiling": whole(1, LARGEST_LIMIT, "entries"),
    "conntrack_entries_per_bucket": whole(1, 8, "entries"),
    "conntrack_hashsize": whole(1, LARGEST_HASHSIZE, "buckets"),
    "conntrack_timeout_profile": one_of(PROFILES),
    "conntrack_timeouts": timeouts("conntrack_timeouts"),
    "conntrack_rfc_floors": one_of(RFC_CHOICES),
    "conntrack_tcp_loose": switch,
    "conntrack_tcp_be_liberal": switch,
    "conntrack_shrink": truth,
    "conntrack_apply": truth,
    "conntrack_firewall": truth,
    "conntrack_takeover": truth,
    "conntrack_initramfs": truth,
    "conntrack_size_at_boot": truth,
    "conntrack_expire_existing": truth,
    "conntrack_expire_most": whole(0, LARGEST_LIMIT, "entries"),
    "conntrack_target": one_of(TARGETS),
    "conntrack_state": one_of(STATES),
}


def tried(policy: Policy, fields: Mapping[str, Any]) -> Optional[Policy]:
    """``policy`` with other ``fields``, if it would be taken."""
    try:
        found: Dict[str, Any] = {
            name: value if value is None else _READERS[_PREFIX + name](value) for name, value in fields.items()
        }
    except Wrong:
        return None
    other = policy._replace(**found)
    return None if contradictions(other) else other


def timeouts_of(policy: Policy) -> Dict[str, int]:
    """The profile's timeouts with the single ones over them."""
    wanted = PROFILES[policy.timeout_profile].seconds()
    wanted.update(policy.timeouts)
    return wanted


def switches_of(policy: Policy) -> Dict[str, int]:
    """Those that are asked for, by name."""
    return {name: value for name in SWITCHES for value in [getattr(policy, name)] if value is not None}


class _Pair(NamedTuple):
    """Values that are each in order and cannot be meant together; the first is the one that is named."""

    variables: Tuple[str, ...]
    value: Any
    wanted: str


def contradictions(policy: Policy, unread: Container[str] = ()) -> List[str]:
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
        holds = peak is None or peak <= limit
        yield _Pair(
            ("conntrack_max", "conntrack_max_floor", "conntrack_shrink"),
            limit,
            "below conntrack_max_floor {0}; name at least {1}, {2}lower conntrack_max_floor{3}".format(
                policy.max_floor,
                "that" if peak is None or peak <= policy.max_floor else peak,
                "" if holds else "or ",
                ", or set conntrack_shrink=true if it is meant" if holds else "",
            ),
        )
    if limit is not None and peak is not None and limit < peak:
        yield _Pair(
            ("conntrack_max", "conntrack_expected_connections"),
            limit,
            "below conntrack_expected_connections {0}: the table would be full at the peak that is expected; "
            "raise conntrack_max or leave it unset".format(peak),
        )
    if limit is not None and buckets is not None and limit > ENTRIES_PER_BUCKET_AT_LOAD * buckets:
        least = -(-limit // ENTRIES_PER_BUCKET_AT_LOAD)
        yield _Pair(
            ("conntrack_hashsize", "conntrack_max"),
            buckets,
            "after a load of the module the limit is 8 x hashsize, below conntrack_max {0}; {1}leave it unset".format(
                limit, "use at least {0}, or ".format(least) if least <= LARGEST_HASHSIZE else ""
            ),
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
