# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows left untracked as asked: what differs on a host, and one change that makes it so."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .. import readers
from ..change.alone import Answer
from ..change.diff import diff
from ..change.failure import ChangeError
from ..change.perform import Found, Order, Work, confirm, run
from ..change.writes import Write, as_wanted, refuse_exposed, there
from ..host.writing import Kept, WritableHost
from ..journal.record import Step
from ..kernel import TIMEOUTS, sysctl_path, timeout_key
from ..readers import PolicyError
from ..ruleset.reading import Programs, programs
from ..values import integer
from . import iptables, nftables, units
from .counting import counted
from .flows import Wanted, read
from .obstacles import Judged, judged
from .seen import seen

_SYSTEMD = "/run/systemd/system"
# Seconds. What a look at rules or units may take.
_LONGEST = 60.0
# Seconds, within which a change is to be confirmed; and in which another one may be on its way.
_TIMES = {"confirm_seconds": (0, 3600), "lock_seconds": (0, 3600)}


class Terms(NamedTuple):
    """How a change is made."""

    id: Optional[str]
    who: str
    confirm_seconds: int
    lock_seconds: int
    confirm: Optional[str]  # the change to be kept, in place of a new one
    state: str


class Backend(NamedTuple):
    name: str
    versions: Tuple[int, ...]  # of IP, that have rules of their own


def answer(host: WritableHost, options: Mapping[str, Any], check: bool = False) -> Answer:
    """What the module conntrack_notrack answers. Raises ChangeError."""
    terms = _terms(options)
    if terms.confirm:
        return dict(
            confirm(host, terms.confirm, terms.lock_seconds, terms.who, check),
            backend="",
            flows=[],
            accepted=[],
            diff=[],
        )
    try:
        wanted = read(options) if terms.state == "present" else Wanted()
    except PolicyError as error:
        raise ChangeError("; ".join(error.problems)) from None
    if not host.is_root():
        raise ChangeError("root is needed to read the rules of this host; run with become")
    order = Order(terms.id, terms.who, "conntrack_notrack", terms.lock_seconds, terms.confirm_seconds)
    return run(host, order, lambda: _look(host, wanted), check)


def _terms(options: Mapping[str, Any]) -> Terms:
    reader = {name: readers.whole(low, high, "seconds") for name, (low, high) in _TIMES.items()}
    reader["state"] = readers.one_of(("present", "absent"))
    found, wrong = readers.read_each(
        {"notrack_" + name: options.get(name) for name in reader},
        {"notrack_" + name: one for name, one in reader.items()},
    )
    if wrong:
        raise ChangeError("; ".join(wrong.values()))
    return Terms(
        options.get("id"),
        options.get("who") or "",
        found.get("notrack_confirm_seconds", 0),
        found.get("notrack_lock_seconds", 60),
        options.get("confirm"),
        found.get("notrack_state", "present"),
    )


def _look(host: WritableHost, wanted: Wanted) -> Found:
    there_now = programs(host)
    backend = _backend(host, wanted, there_now)
    found = seen(host, there_now)
    verdict = Judged([], []) if wanted.is_empty else judged(wanted, found)
    refusals = [*_unservable(host, wanted, backend, there_now), *verdict.refusals]
    accepted = _accepted(verdict) if not refusals else []
    if refusals:
        raise ChangeError("refused: " + "; ".join(refusals))
    wanted_files = files(host, wanted, backend, accepted)
    writes = _writes(host, wanted_files)
    told = {
        "backend": "" if wanted.is_empty else backend.name,
        "flows": counted(host, wanted.flows),
        "accepted": [
            {"flow": one.flow, "direction": one.direction, "table": one.table, "chain": one.chain, "rule": one.rule}
            for one in accepted
        ],
        "diff": diff(writes, {}, {}),
    }
    if verdict.warnings:
        told["warnings"] = list(verdict.warnings)
    steps = _steps(host, wanted, backend, writes)
    return Found(Work(writes, [], steps), told, lambda: _proved(host, wanted, writes, there_now))


def _backend(host: WritableHost, wanted: Wanted, found: Programs) -> Backend:
    name = wanted.backend
    if name == "auto":
        # What is there already stays.
        there_already = [one for one in units.RULES if any(host.exists(path) for path in units.RULES[one])]
        name = (there_already or ["nftables" if found.nft else "iptables"])[0]
    if name == "nftables":
        return Backend(name, ())
    return Backend(name, tuple(sorted(found.iptables)))


def _unservable(host: WritableHost, wanted: Wanted, backend: Backend, found: Programs) -> List[str]:
    if wanted.is_empty:
        return []
    refusals = []
    if not host.exists(_SYSTEMD):
        refusals.append("{0}: it is not there; what loads the rules at a boot is a unit of systemd".format(_SYSTEMD))
    others = [path for one, paths in units.RULES.items() if one != backend.name for path in paths if host.exists(path)]
    if others:
        refusals.append("{0}: made by the other backend; run with notrack_state=absent first".format(others[0]))
    if backend.name == "nftables" and not found.nft:
        refusals.append(
            "notrack_backend: nft is not there, or this kernel has no nf_tables; install it, or set iptables"
        )
    if backend.name == "iptables":
        if 4 not in backend.versions:
            refusals.append("notrack_backend: neither nft nor iptables is there; install one of them")
        if 6 not in backend.versions and host.exists("/proc/net/if_inet6"):
            refusals.append("notrack_backend: ip6tables is not there, and this host has IPv6; install it")
        if wanted.timed:
            refusals.append(
                "notrack_timeouts: timeouts of single flows need nftables, and nft is not there; install it"
            )
        elif iptables.rules_of(wanted.flows) > iptables.MOST_RULES:
            refusals.append(
                "notrack_flows: {0} rules of iptables, of which each packet goes through all; expected at most {1}: name fewer, "
                "larger networks, or install nft".format(iptables.rules_of(wanted.flows), iptables.MOST_RULES)
            )
    return refusals


def _accepted(verdict: Judged) -> List[units.Accept]:
    try:
        return units.accepts(verdict)
    except units.Unwritable as error:
        raise ChangeError("refused: {0}: a rule cannot be added there by that name".format(error)) from None


def files(
    host: WritableHost, wanted: Wanted, backend: Backend, accepted: Sequence[units.Accept]
) -> Dict[str, Optional[str]]:
    """By path what is to be in it, or that it is not to be there."""
    found: Dict[str, Optional[str]] = dict.fromkeys(units.FILES)
    if wanted.is_empty:
        return found
    if backend.name == "nftables":
        found[units.RULES["nftables"][0]] = nftables.table(wanted, _timeouts(host))
    else:
        for version in backend.versions:
            found[units.RULES["iptables"][0 if version == 4 else 1]] = iptables.restored(wanted.flows, version)
    found[units.SCRIPT] = units.script(backend.name, backend.versions, accepted)
    found.update(zip(units.UNITS, (units.LOAD_UNIT, units.WATCH_UNIT)))
    return found


def _timeouts(host: WritableHost) -> Dict[str, int]:
    """The host's own."""
    found = {
        name: integer(host.read(sysctl_path("net.netfilter.nf_conntrack_" + timeout_key(name)))) for name in TIMEOUTS
    }
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def _writes(host: WritableHost, files: Mapping[str, Optional[str]]) -> List[Write]:
    uid, gid = host.owner()
    found = []
    for path, text in files.items():
        after = Kept("none") if text is None else Kept("file", text.encode("utf-8"), "", 0o644, uid, gid)
        found.append(Write(path, there(host, path), after))
    for path, target in units.LINKS.items():
        after = Kept("none") if files[target] is None else Kept("link", target=target, uid=uid, gid=gid)
        found.append(Write(path, there(host, path), after))
    found = [one for one in found if not as_wanted(one.before, one.after)]
    for one in found:
        refuse_exposed(host, one.path)
    return found


def _steps(host: WritableHost, wanted: Wanted, backend: Backend, writes: Sequence[Write]) -> List[Step]:
    was_there = host.exists(units.SCRIPT)
    gone = units.removed(backend.name, backend.versions)
    before = units.installed(waits=False) if was_there else gone
    if wanted.is_empty:
        return [Step("commands", "flows left untracked", before, gone)] if writes else []
    if not writes and host.run(["/bin/sh", units.SCRIPT, "check"], 4096, _LONGEST) is not None:
        return []
    return [Step("commands", "flows left untracked", before, units.installed())]


def _proved(host: WritableHost, wanted: Wanted, writes: Sequence[Write], found: Programs) -> Dict[str, Any]:
    """Raises ChangeError."""
    wrong = [
        "{0}: it is not what was written".format(one.path)
        for one in writes
        if not as_wanted(there(host, one.path), one.after)
    ]
    if not wanted.is_empty:
        if host.run(["/bin/sh", units.SCRIPT, "check"], 4096, _LONGEST) is None:
            wrong.append("the rules that leave flows untracked are not there")
        for unit in (units.LOADS, units.WATCHES):
            said = host.run(["/bin/systemctl", "is-active", unit], 4096, _LONGEST)
            if (said or "").strip() != "active":
                wrong.append("{0} is not active".format(unit))
        after = seen(host, found, ours="")
        wrong += judged(wanted._replace(accept=False), after).refusals
    if wrong:
        raise ChangeError("not as asked after the change: " + "; ".join(wrong))
    return {}
