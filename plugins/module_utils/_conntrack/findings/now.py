# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table as it is: what is full, what was dropped, what is slow, and how long idle entries stay."""

from typing import Iterator

from ..outcome.said import CRITICAL, INFO, WARNING
from ..plan.sizing import size
from ..profiles import RFC_FLOORS, below_floors
from ..sources import proc as table
from .catalogue import (
    CHAIN_CRITICAL,
    CHAIN_WARNING,
    ESTABLISHED_DEFAULT,
    MEMORY_WARNING,
    PORTS_WARNING,
    REFUSED_WARNING,
    UNLISTED_WARNING,
    USAGE_WARNING,
    Finding,
    finding,
)
from .seen import Seen, count_of, listed, said, usage_severity


def usage(host: Seen) -> Iterator[Finding]:
    severity = usage_severity(host.usage)
    if not severity:
        return
    seen = "{0} of {1} entries in use, {2:.1f} percent".format(host.count, host.max, 100 * (host.usage or 0))
    yield finding("table-nearly-full", severity, seen)
    writable = (host.kernel.get("writable") or {}).get("max")
    if host.is_contained and not writable:
        where = host.kernel.get("container") or "another network namespace than the first"
        yield finding("limit-out-of-reach", severity, "{0}, and this is {1}".format(seen, where))


def drops(host: Seen) -> Iterator[Finding]:
    counters, log = host.part("counters"), host.part("log")
    drop, early, too_long = (counters.get(name) or 0 for name in ("drop", "early_drop", "chain_too_long"))
    clashes = table.clashes(counters)
    messages = log.get("table_full") or 0
    if messages:
        full = host.usage is None or host.usage >= USAGE_WARNING
        yield finding("dropped-table-full", CRITICAL if full else WARNING, _messages(host, messages, drop))
    if too_long:
        seen = "{0} flows refused since boot, the average chain is {1} now".format(too_long, said(host.chain))
        severity = CRITICAL if (host.chain or 0) >= CHAIN_CRITICAL else WARNING
        yield finding("dropped-chain-too-long", severity, seen)
    if clashes:
        seen = "{0} flows could not be inserted since boot".format(clashes)
        # A full table refuses flows before they are given a port.
        is_many = clashes >= REFUSED_WARNING and (host.count or 0) >= PORTS_WARNING
        is_short = host.nat and is_many and not (messages or early)
        if is_short:
            seen += ", and addresses are translated here, with {0} entries of a limit of {1}".format(
                host.count, said(host.max)
            )
        yield finding("ports-run-out" if is_short else "dropped-clash", WARNING if is_short else INFO, seen)
    if drop > clashes and not messages:
        seen = "{0} packets counted as dropped since boot, {1} of them by clashes at most".format(drop, clashes)
        if log.get("source"):
            yield finding(
                "dropped-other", INFO, seen + "; no message of a full table in {0}".format(listed(log["source"]))
            )
        else:
            yield finding("dropped-other", WARNING, seen + "; the log was not read")
    if early:
        yield finding("early-drop", WARNING, "{0} flows given up early since boot".format(early))


def unlisted(host: Seen) -> Iterator[Finding]:
    found = host.part("unlisted")
    parts = {name: found[name] for name in ("dying", "unconfirmed") if found.get(name)}
    # The rest is not to be told from what came and went between the looks, where that is little.
    leaked = (found.get("entries") or 0) - sum(parts.values())
    if host.count and leaked >= UNLISTED_WARNING * host.count:
        parts["in no list at all"] = leaked
    if host.count and sum(parts.values()) >= UNLISTED_WARNING * host.count:
        seen = ", ".join("{0} {1}".format(number, name) for name, number in parts.items())
        if found.get("listeners"):
            seen += "; {0}".format(listed(found["listeners"]))
        severity = CRITICAL if usage_severity(host.usage) == CRITICAL else WARNING
        yield finding("counted-not-listed", severity, "of {0} entries in use {1}".format(host.count, seen))


def counters(host: Seen) -> Iterator[Finding]:
    # A tree is read by none of its own Pythons.
    if host.is_live and host.facts.get("counters") == {} and host.kernel.get("python"):
        yield finding("counters-untold", INFO, "neither /proc/net/stat nor ctnetlink tells the counters of this kernel")


def cloud(host: Seen) -> Iterator[Finding]:
    """What the card has dropped is lost whatever the table holds; that it has none left, is so now."""
    for card in host.facts.get("cloud") or ():
        exceeded, available = card.get("exceeded") or 0, card.get("available")
        if exceeded or available == 0:
            seen = "{0}: {1} dropped since the driver started".format(
                card.get("interface") or "a card", count_of(exceeded, "packet", "packets")
            )
            if available is not None:
                seen += ", and {0} can be tracked now".format(
                    count_of(available, "more connection", "more connections")
                )
            yield finding("cloud-allowance", CRITICAL if available == 0 else WARNING, seen)


def _messages(host: Seen, messages: int, drop: int) -> str:
    log = host.part("log")
    seen = "{0} in the log".format(count_of(messages, "message of a full table", "messages of a full table"))
    if log.get("suppressed"):
        seen += " and {0} held back".format(log["suppressed"])
    if log.get("first_seen") and log.get("last_seen"):
        seen += ", from {first_seen} to {last_seen}".format(**log)
    names = {space.get("inode"): space.get("name") for space in host.namespaces}
    inodes = [
        "{0} ({1})".format(inode, names[inode]) if names.get(inode) else str(inode) for inode in log.get("netns") or []
    ]
    if inodes:
        seen += ", of network namespace " + listed(inodes)
    return seen + ("; {0} packets counted as dropped since boot".format(drop) if drop else "")


def chains(host: Seen) -> Iterator[Finding]:
    if not host.buckets or not host.is_live:
        return
    now, full = host.chain or 0, 2 * (host.max or 0) / host.buckets
    if now <= CHAIN_WARNING and full <= CHAIN_WARNING:
        return
    seen = "{0} buckets for a limit of {1}: chains are {2:.1f} long on average, and {3:.1f} with a full table".format(
        host.buckets, said(host.max), now, full
    )
    yield finding("chains-long", CRITICAL if now >= CHAIN_CRITICAL else WARNING, seen)


def followers(host: Seen) -> Iterator[Finding]:
    keeps = host.part("services").get("conntrackd") or {}
    if keeps.get("active") and keeps.get("sync") and host.max and (keeps.get("hash_limit") or host.max) < host.max:
        seen = "HashLimit {0}, and a limit of {1} here".format(keeps["hash_limit"], host.max)
        yield finding("conntrackd-keeps-less", WARNING, seen)


def memory(host: Seen) -> Iterator[Finding]:
    total, full = host.part("memory").get("total_bytes"), host.table.get("full_bytes")
    if total and full and host.is_live and full > MEMORY_WARNING * total:
        yield finding(
            "memory-unsafe",
            WARNING,
            "a full table of {0} entries takes {1}, {2:.1f} percent of {3}".format(
                said(host.max), size(full), 100.0 * full / total, size(total)
            ),
        )


def timeouts(host: Seen) -> Iterator[Finding]:
    established = host.timeouts.get("tcp_established")
    if established is not None and established >= ESTABLISHED_DEFAULT:
        severity = WARNING if usage_severity(host.usage) else INFO
        yield finding("established-five-days", severity, "tcp_established {0} s".format(established))
    low = below_floors(host.timeouts) if host.nat else []
    if low:
        seen = ("{0} {1} s (at least {2}, {3})".format(name, host.timeouts[name], *RFC_FLOORS[name]) for name in low)
        yield finding("below-rfc-floors", WARNING, ", ".join(seen))
