# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What will be: what a boot or a load takes away, who fights over a key, and what does not come into force."""

from typing import Any, Dict, Iterator, List, Tuple

from .. import kernel
from ..files import MODPROBE
from ..outcome.fold import is_kept_out
from ..outcome.said import BEHIND, BUILT_IN, CRITICAL, INFO, LOAD, ODD, SEVERITIES, WARNING
from ..profiles import RFC_FLOORS
from .catalogue import APPLIED_BY_NOTHING, NAMED, RISKS, Finding, finding
from .seen import Seen, listed, rank, said, unloaders


def lost(host: Seen) -> Iterator[Finding]:
    if host.state == "loaded":
        yield from _lost_at(host, "reload", "".join("; " + text for text in unloaders(host)))
    if host.is_live:
        yield from _lost_at(host, "boot", "")


def _lost_at(host: Seen, event: str, note: str) -> Iterator[Finding]:
    outcome = host.outcome.get(event) or {}
    changes: Dict[str, str] = {}
    is_critical = False
    is_said = True
    for key in sorted(outcome, key=lambda key: (rank(host.label(key)), key)):
        now, then = host.live.get(key), (outcome[key] or {}).get("value")
        if now is None or then is None or not _is_worse(host, key, now, host.settled(key, then)):
            continue
        is_critical = is_critical or host.is_below_flows(key, then)
        source = outcome[key].get("source")
        # Where nothing applies sysctl.d after a load, the role's own line gives it few buckets, so that the limit stays.
        is_said = is_said and (host.own.get(key) == now or MODPROBE in (source or ""))
        changes.setdefault(
            host.label(key),
            "{0} {1} -> {2}".format(host.label(key), now, then) + (" ({0})".format(source) if source else ""),
        )
    if changes:
        seen = listed(list(changes.values()), 2 * NAMED) + note
        if is_critical:
            seen += "; {0} flows are in use".format(host.count)
        remedy = APPLIED_BY_NOTHING if is_said else ""
        yield finding("lost-at-" + event, CRITICAL if is_critical else WARNING, seen, remedy)


def _is_worse(host: Seen, key: str, now: int, then: int) -> bool:
    """Fewer entries or buckets; a longer timeout, or one that falls below its floor where addresses are translated; another switch."""
    label = host.label(key)
    if label == "limit" and not (now and then):
        # A limit of 0 is none.
        return then > now
    if label in ("limit", "buckets", "expectations"):
        return then < now
    if kernel.is_switch(key):
        return then != now
    floor = RFC_FLOORS[label].seconds if host.nat and label in RFC_FLOORS else 0
    return then > now or then < floor <= now


def others(host: Seen) -> Iterator[Finding]:
    lines = host.outcome.get("overriding") or []
    if lines:
        seen = ["{0} ({1})".format(_place(line), (line.get("text") or _pair(line)).strip()) for line in lines]
        is_critical = any(host.is_below_flows(line.get("key") or "", line.get("value")) for line in lines)
        yield finding("overridden", CRITICAL if is_critical else WARNING, listed(seen))
    fights, is_critical = _fights(host)
    if fights:
        yield finding("owners-disagree", CRITICAL if is_critical else WARNING, listed(fights))


def _fights(host: Seen) -> Tuple[List[str], bool]:
    """A phrase for each key that owners set to several values, or to another than what is in force; and whether one
    of these would refuse flows in use."""
    wanted: Dict[str, List[Tuple[int, str]]] = {}
    for owner in host.owners:
        for key, value in (owner.get("keys") or {}).items():
            if value is not None:
                said = "{0} by {1} ({2})".format(value, owner.get("name") or "another", _place(owner))
                wanted.setdefault(key, []).append((host.settled(key, value), said))
    fights, is_critical = [], False
    for key in sorted(wanted, key=lambda key: (rank(host.label(key)), key)):
        now = host.live.get(key)
        values = {value for value, _said in wanted[key]} | ({now} if now is not None else set())
        if len(values) > 1:
            phrases = [said for _value, said in wanted[key]] + (["{0} in force".format(now)] if now is not None else [])
            fights.append("{0}: {1}".format(host.label(key), ", ".join(phrases)))
            is_critical = is_critical or any(host.is_below_flows(key, value) for value, _said in wanted[key])
    return fights, is_critical


def _place(found: Dict[str, Any]) -> str:
    """Where it stands: path:line, or what else was found."""
    path, line = found.get("path"), found.get("line")
    if not path:
        return str(found.get("evidence") or "place not known")
    return path if line is None else "{0}:{1}".format(path, line)


def _pair(line: Dict[str, Any]) -> str:
    return "{0} = {1}".format(said(line.get("key")), said(line.get("value")))


# Problems by their kind; all others keep what is persisted from coming into force.
_OF_KIND = {LOAD: "modprobe-broken", ODD: "modprobe-odd", BUILT_IN: "modprobe-useless", BEHIND: "ramdisk-behind"}


def persistence(host: Seen) -> Iterator[Finding]:
    seen: Dict[str, List[str]] = {}
    worst: Dict[str, str] = {}
    kept_out = is_kept_out(host.facts)
    for problem in host.outcome.get("problems") or []:
        if kept_out and problem.get("kind") == LOAD:
            continue
        name = _OF_KIND.get(problem.get("kind"), "persistence-broken")
        severities = RISKS[name].severities
        severity = problem.get("severity") if problem.get("severity") in severities else severities[0]
        worst[name] = min(worst.get(name, INFO), severity, key=SEVERITIES.index)
        seen.setdefault(name, []).append("{0}: {1}".format(_place(problem), said(problem.get("said"))))
    if host.state == "builtin" and MODPROBE in host.files:
        seen.setdefault("modprobe-useless", []).append("{0} is there".format(MODPROBE))
    for name, texts in seen.items():
        yield finding(name, worst.get(name, INFO), listed(texts))
    if host.state == "loadable":
        yield from _not_loaded(host)


def _not_loaded(host: Seen) -> Iterator[Finding]:
    outcome = host.outcome.get("reload") or {}
    hashsize = outcome.get("hashsize") or {}
    if not hashsize and "files" not in host.facts:
        return
    is_persisted = hashsize["source"] != "kernel default" if hashsize.get("source") else MODPROBE in host.files
    if is_persisted:
        return
    seen = "the module is not loaded, and nothing says with how many buckets it is to be"
    if hashsize.get("value") is not None:
        limit = (outcome.get(host.names.prefix + "max") or {}).get("value")
        seen += "; it will have {0}, and a limit of {1}".format(hashsize["value"], said(limit))
    yield finding("not-loaded", INFO, seen)
