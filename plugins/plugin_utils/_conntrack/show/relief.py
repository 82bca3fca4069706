# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an emergency found and freed, as lines for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import readers
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.expire import bound
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import LARGEST_LIMIT
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import proc as table
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import Facts
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.table import columns, said

# Seconds. Nobody waits for longer before a terminal.
LONGEST_WAIT = 3600

_READERS: dict[str, readers.Reader] = {
    "relieve_confirm": readers.truth,
    "relieve_timeouts": readers.timeouts("relieve_timeouts"),
    "relieve_wait": readers.whole(0, LONGEST_WAIT, "seconds"),
    "relieve_most": readers.whole(0, LARGEST_LIMIT, "entries"),
}


def errors(variables: Mapping[str, Any]) -> list[str]:
    """What is wrong in the variables of the playbook, a sentence each; None and the empty string are unset."""
    _found, wrong = readers.read_each(variables, _READERS)
    return list(wrong.values())


class Relief(NamedTuple):
    """One host's: results of the modules, None where one did not run."""

    name: str
    before: Facts
    census: Mapping[str, Any] | None
    expired: Mapping[str, Any] | None
    raised: Mapping[str, Any] | None
    after: Facts | None
    refusals: Sequence[str] = ()
    most: int | None = None  # entries to shorten, as asked for


def lines(hosts: Sequence[Relief], done: bool) -> list[str]:
    """A table for each host, the fullest first; ``done`` is whether anything was changed."""
    found: list[str] = []
    for host in sorted(hosts, key=lambda host: (-(_table(host.before).get("usage") or 0), host.name)):
        found += _host(host, done) + [""]
    if found and not done:
        found += ["Nothing was changed. To do it: -e relieve_confirm=true", ""]
    elif found:
        found += ["The kernel's timeouts and the files are as before. To make it last: headroom.netfilter.tune", ""]
    return found[:-1]


def _host(host: Relief, done: bool) -> list[str]:
    if host.census and host.census.get("failed"):
        return [host.name, _failed("the table could not be read", host.census)]
    if not host.census or host.census["source"] is None:
        return [host.name, "  connection tracking is not loaded: nothing can be full"]
    parts = [[host.name, _use("now" if not done else "before", host.before)], _who(host.census), _stale(host.census)]
    parts.append(_unlisted(host.census["unlisted"], host.census["total"]))
    parts.append(_raised(host, done) + _shortened(host.expired, host.most, done))
    if done and host.after:
        parts.append(_freed(host))
    return [line for part in parts for line in part]


def _use(when: str, facts: Facts) -> str:
    values = _table(facts)
    counters = facts.get("counters") or {}
    lost = max((counters.get("drop") or 0) - table.clashes(counters), 0)
    return "  {0}: {1} of {2} entries{3}; {4} packets dropped since boot".format(
        when, said(values.get("count")), said(values.get("max")), _percent(values.get("usage")), lost
    )


def _percent(share: float | None, margin: float | None = None) -> str:
    if share is None:
        return ""
    return " ({0:.1f} %{1})".format(100 * share, " +- {0:.1f}".format(100 * margin) if margin else "")


def _who(census: Mapping[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for grouping in (each for each in census["groupings"] if each["top"]):
        rows.append(("  by " + grouping["group_by"].replace("+", " and "), "entries", "share", ""))
        for group in grouping["top"]:
            words = [_value(group[field]) for field in grouping["group_by"].split("+")]
            rows.append(("    " + " ".join(words), str(group["entries"]), "{0:.1f} %".format(100 * group["share"]), ""))
        if grouping["others"]:
            rows.append(("    and {0} more".format(grouping["others"]), "", "", ""))
    return columns(rows) if rows else []


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _stale(census: Mapping[str, Any]) -> list[str]:
    stale = census["stale"]
    share = _percent(stale["share"], stale["margin"])
    found = ["  stale: {0} entries{1} have more time left than the timeouts wanted".format(stale["entries"], share)]
    for name, part in stale["timeouts"].items():
        found.append("    {0} by {1} ({2} s)".format(part["entries"], name, part["timeout"]))
    return found


def _unlisted(unlisted: Mapping[str, Any], listed: int) -> list[str]:
    """Of those that were listed, for comparison; nothing where it is less than a hundredth of them."""
    dying, unconfirmed = (unlisted[name] or 0 for name in ("dying", "unconfirmed"))
    entries = max(unlisted["entries"] or 0, dying + unconfirmed)
    if not entries or 100 * entries < listed:
        return []
    return [
        "  counted but in no list: {0} entries, {1} of them dying, {2} not confirmed; nothing below frees these".format(
            entries, dying, "-" if unlisted["unconfirmed"] is None else unconfirmed
        ),
        "    see counted-not-listed in docs/findings.md: who listens to reliable events, and does not keep up? "
        + (", ".join(unlisted["listeners"]) or "nobody has lost any"),
    ]


def most_of(variables: Mapping[str, Any]) -> int | None:
    """What the variables of the playbook say of it; what is wrong in them is told before."""
    found, _wrong = readers.read_each(variables, {"relieve_most": _READERS["relieve_most"]})
    return found.get("relieve_most")


def _shortened(expired: Mapping[str, Any] | None, most: int | None, done: bool) -> list[str]:
    if not expired:
        return []
    if expired.get("failed"):
        return [_failed("nothing is shortened", expired)]
    verb = "shortened" if done else "would be shortened"
    found = ["  {0}: {1} of {2} entries".format(verb, expired["shortened"], expired["examined"])]
    for state in expired["states"]:
        if state["shortened"]:
            found.append(
                "    {shortened} {protocol} {state}: they end in {timeout} s, unless a packet comes before".format(
                    **state
                )
            )
    allowed = bound(most, expired["examined"])
    if not done and expired["shortened"] > allowed:
        found.append(
            "    more than {0}{1}, so that none is without a second word: -e relieve_most={2}, or 0 for no bound".format(
                int(allowed), " (half of the table)" if most is None else "", expired["shortened"]
            )
        )
    if expired["spared"]:
        found.append(
            "    {0} more {1} left alone: a timeout policy of a rule may have given them what they have left".format(
                expired["spared"], "were" if done else "would be"
            )
        )
    return found


def _raised(host: Relief, done: bool) -> list[str]:
    if host.raised and host.raised.get("failed"):
        return [_failed("limit stays", host.raised)]
    found = ["  limit stays: " + refusal for refusal in host.refusals]
    was, now = (_limit(host.raised[when]) if host.raised else 0 for when in ("before", "after"))
    if was != now:
        verb = "raised" if done else "would be raised"
        found.append("  limit {0}: from {1} to {2}, room for {3} more".format(verb, was, now, now - was))
    elif not found:
        found.append("  limit stays: it is what the plan says, or cannot be written from here")
    return found


def _failed(what: str, result: Mapping[str, Any]) -> str:
    return "  {0}: FAILED: {1}".format(what, result.get("msg"))


def _limit(values: Mapping[str, int | None]) -> int:
    return next((value for name, value in values.items() if name.endswith("conntrack_max")), None) or 0


def _freed(host: Relief) -> list[str]:
    before, after = (_table(facts).get("count") or 0 for facts in (host.before, host.after or {}))
    return [
        _use("after", host.after or {}),
        "  freed so far: {0} entries ended meanwhile".format(max(before - after, 0)),
    ]


def _table(facts: Facts) -> dict[str, Any]:
    return facts.get("table") or {}
