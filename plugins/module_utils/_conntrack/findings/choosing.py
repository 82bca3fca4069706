# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cure fits a host: to unload connection tracking, to exempt traffic from it, to shorten entries, or to grow the table. Pure.

A census counts what anybody can send who reaches the host. So a cure is told with what it was seen by, for somebody to decide, and
nothing here is ever done by itself. docs/choosing.md has the figures.
"""

import ipaddress
import math
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..entries.entry import UNREPLIED
from ..entries.own import CLIENT, FORWARD, SERVER
from ..plan.plan import Plan
from ..values import Facts
from .seen import Seen, listed, said

UNLOAD, EXEMPT, SHORTEN, GROW, NOTHING = "unload", "exempt", "shorten", "grow", "none"

# The groupings of the census that is asked for.
BY_STATE = "role+protocol+destination_port+state"
BY_DESTINATION = "role+protocol+destination_port+destination"
# Share of all entries that a flow has at least, to be among those that are left untracked together; and that they have together.
FLOW_SHARE = 0.1
MOST_OF_ALL = 0.5
# Entries. A share of fewer says nothing.
ENTRIES_WORTH = 1000
# Destinations that are few enough to be named, and their part of the flow.
FEW, NEARLY_ALL = 8, 0.9
# Seconds. As long as a late packet of a connection that has closed takes.
SHORT_TIME_WAIT = 10

_ROLES = (SERVER, CLIENT, FORWARD)


class Cure(NamedTuple):
    cure: str
    seen: str
    why: str
    variables: Dict[str, Any] = {}  # of the role that brings it


class Evidence(NamedTuple):
    """What is known of a host; None for what was not looked at."""

    facts: Facts
    census: Optional[Mapping[str, Any]] = None  # of conntrack_census_info, by BY_STATE and BY_DESTINATION
    needed_by: Optional[Sequence[Mapping[str, Any]]] = None  # of conntrack_unload
    plan: Optional[Plan] = None
    asked: Mapping[str, Any] = {}  # notrack_flows and notrack_timeouts, as the host has them


class _Flow(NamedTuple):
    """Traffic that a rule could name."""

    role: str
    protocol: str
    port: int
    entries: int
    least: float  # share of all, surely

    def said(self) -> str:
        what = "{0}/{1}".format(self.protocol, self.port)
        return {SERVER: "{0} to this host", CLIENT: "{0} from this host", FORWARD: "{0} through it"}[self.role].format(
            what
        )


def fitting(evidence: Evidence) -> Cure:
    """The one that goes farthest of those that fit."""
    host = Seen(evidence.facts)
    return next(found for rule in _RULES for found in [rule(host, evidence)] if found)


def _untracked(host: Seen, evidence: Evidence) -> Optional[Cure]:
    if host.is_live or not host.state:
        return None
    seen = "no connection tracking in this kernel" if host.state == "absent" else "the module is not loaded"
    return Cure(NOTHING, seen, "Nothing is tracked here.")


def _unneeded(host: Seen, evidence: Evidence) -> Optional[Cure]:
    if evidence.needed_by is None or evidence.needed_by:
        return None
    seen = "no rule, service or module here needs connection tracking"
    if host.state == "loaded":
        return Cure(UNLOAD, seen, "What nobody needs costs memory and a lookup for each packet, and can be full.")
    if host.count:
        # Entries that somebody has, who was not seen.
        return None
    return Cure(NOTHING, seen, "It is built in, and tracks nothing unless a rule asks for it.")


def _exempt(host: Seen, evidence: Evidence) -> Optional[Cure]:
    """Questions and answers in single packets leave an entry for each question."""
    flows = _flows(evidence.census, lambda group: group["protocol"] == "udp" and _is_answered(group))
    if not _is_most(flows):
        return None
    return _left_untracked(
        flows,
        evidence,
        "A flow that is left untracked takes no entry, no memory and no lookup, and a full table does not stop it.",
    )


def _closing(host: Seen, evidence: Evidence) -> Optional[Cure]:
    """Connections that are over, as those of health checks."""
    flows = _flows(evidence.census, lambda group: group["protocol"] == "tcp" and group["state"] == "TIME_WAIT")
    if not _is_most(flows):
        return None
    seconds = host.timeouts.get("tcp_time_wait")
    asked = _asked(evidence, "notrack_timeouts")
    is_known = any(_has(asked + _asked(evidence, "notrack_flows"), flow) for flow in flows)
    if is_known or (seconds is not None and seconds <= SHORT_TIME_WAIT):
        return _left_untracked(
            flows, evidence, "They are short already; a flow that is left untracked takes no entry at all."
        )
    added = [dict(_named(flow, evidence.census), timeouts={"tcp_time_wait": SHORT_TIME_WAIT}) for flow in flows]
    why = "Such an entry stays for tcp_time_wait, {0} s, and stands for a connection that is over; with {1} s there are as many fewer.".format(
        said(seconds), SHORT_TIME_WAIT
    )
    return Cure(SHORTEN, _seen(flows, evidence, "in TIME_WAIT"), why, {"notrack_timeouts": asked + added})


def _stale(host: Seen, evidence: Evidence) -> Optional[Cure]:
    if evidence.census is None:
        return None
    stale = evidence.census["stale"]
    if stale["share"] - (stale["margin"] or 0) < MOST_OF_ALL or stale["entries"] < ENTRIES_WORTH:
        return None
    most = math.ceil((stale["share"] + (stale["margin"] or 0)) * evidence.census["total"])
    seen = "{0} of {1} entries have more time left than the timeouts planned would give them ({2})".format(
        stale["entries"], evidence.census["total"], listed(list(stale["timeouts"]))
    )
    why = "A lower timeout does not shorten the entries that are there: a full table stays full."
    return Cure(SHORTEN, seen, why, {"conntrack_expire_existing": True, "conntrack_expire_most": most})


def _planned(host: Seen, evidence: Evidence) -> Cure:
    plan = evidence.plan
    why = "Most of what is tracked here is to be tracked: the table has to hold it."
    if evidence.census is None:
        why = "Who fills the table, and who needs it, was not looked at: that takes root, and a table."
    if plan is None or plan.converged:
        return Cure(NOTHING, "limit {0}, as planned".format(said(host.max)) if plan else "not planned", why)
    if plan.refusals:
        return Cure(NOTHING, "tune is refused here: {0}".format(plan.refusals[0]), why)
    seen = "limit {0} -> {1}; not as planned: {2}".format(
        said(host.max), said(plan.max), listed([drift.name for drift in plan.drift])
    )
    return Cure(GROW, seen, why)


_RULES: Tuple[Callable[[Seen, Evidence], Optional[Cure]], ...] = (
    _untracked,
    _unneeded,
    _exempt,
    _closing,
    _stale,
    _planned,
)


def _groups(census: Optional[Mapping[str, Any]], group_by: str) -> Iterator[Mapping[str, Any]]:
    for grouping in census["groupings"] if census else ():
        if grouping["group_by"] == group_by:
            yield from grouping["top"]


def _flows(census: Optional[Mapping[str, Any]], counts: Callable[[Mapping[str, Any]], bool]) -> List[_Flow]:
    """Of what a rule could name, the largest first."""
    found: Dict[Tuple[str, str, int], _Flow] = {}
    for group in _groups(census, BY_STATE):
        key = (group["role"], group["protocol"], group["destination_port"])
        if group["role"] in _ROLES and group["destination_port"] and counts(group):
            least = max(0.0, group["share"] - (group["margin"] or 0))
            known = found.get(key, _Flow(*key, entries=0, least=0.0))
            found[key] = known._replace(entries=known.entries + group["entries"], least=known.least + least)
    flows = [
        flow
        for flow in found.values()
        # What goes through a host is told by where it goes to.
        if flow.least >= FLOW_SHARE and (flow.role != FORWARD or _destinations(flow, census))
    ]
    return sorted(flows, key=lambda flow: (-flow.entries, flow))


def _is_answered(group: Mapping[str, Any]) -> bool:
    """Whether it is a service's: what nobody has answered may be anybody's flood."""
    return bool(group["role"] == CLIENT or group["state"] != UNREPLIED)


def _is_most(flows: Sequence[_Flow]) -> bool:
    return sum(flow.least for flow in flows) >= MOST_OF_ALL and sum(flow.entries for flow in flows) >= ENTRIES_WORTH


def _destinations(flow: _Flow, census: Optional[Mapping[str, Any]]) -> List[str]:
    """Where it goes to, if nearly all of it goes to a few. It becomes part of a command: what is no address is none."""
    groups = [
        group
        for group in _groups(census, BY_DESTINATION)
        if (group["role"], group["protocol"], group["destination_port"]) == (flow.role, flow.protocol, flow.port)
    ][:FEW]
    enough = sum(group["entries"] for group in groups) >= NEARLY_ALL * flow.entries
    found = [group["destination"] for group in groups]
    return found if enough and all(map(_is_address, found)) else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # Of IPv6 with a zone anything may be behind the sign.
    return "%" not in text


def _named(flow: _Flow, census: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """As the role notrack has flows."""
    found = {
        "name": "{0}-{1}-{2}".format(flow.protocol, flow.port, flow.role),
        "protocol": flow.protocol,
        "ports": [flow.port],
        "role": flow.role,
    }
    networks = [] if flow.role == SERVER else _destinations(flow, census)
    return dict(found, networks=networks) if networks else found


def _left_untracked(flows: List[_Flow], evidence: Evidence, why: str) -> Cure:
    asked, timed = _asked(evidence, "notrack_flows"), _asked(evidence, "notrack_timeouts")
    added = [_named(flow, evidence.census) for flow in flows if not _has(asked, flow)]
    # The role takes a list for all there is: what the host has stays in it, but for what would be there twice.
    variables = {"notrack_flows": asked + added}
    rest = [one for one in timed if not any(_has([one], flow) for flow in flows)]
    if rest != timed:
        variables["notrack_timeouts"] = rest
    return Cure(EXEMPT, _seen(flows, evidence), why, variables)


def _asked(evidence: Evidence, variable: str) -> List[Any]:
    asked = evidence.asked.get(variable)
    return list(asked) if isinstance(asked, list) else []


def _has(asked: Sequence[Any], flow: _Flow) -> bool:
    """Whether a flow is among those that the host has, by its ports one by one."""
    return any(
        isinstance(one, Mapping)
        and (one.get("role"), one.get("protocol")) == (flow.role, flow.protocol)
        and isinstance(one.get("ports"), (list, tuple))
        and str(flow.port) in map(str, one["ports"])
        for one in asked
    )


def _seen(flows: List[_Flow], evidence: Evidence, how: str = "") -> str:
    census = evidence.census or {}
    parts = [
        "{0} at least {1:.0f} %".format(" ".join(filter(None, [flow.said(), how])), math.floor(100 * flow.least))
        for flow in flows
    ]
    return "{0} of {1} entries, {2} of them looked at".format(listed(parts), census["total"], census["examined"])
