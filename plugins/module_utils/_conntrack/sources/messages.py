# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What logs say of a full table, line by line: how often, when, and in which network namespaces."""

import re
import time
from datetime import datetime
from functools import partial
from typing import Callable, List, Match, NamedTuple, Optional, Pattern, Sequence, Set, Tuple

from ..host.door import Host
from .log import RING, TELLING, Log

# Seconds. How far a clock of a log may be ahead.
_DAY = 86400.0
# Seconds since 1970: the year 2100, where it is not known what is now.
_LATEST = 4102444800.0

# Of the kernel alone, whose facility is 0; the caller in brackets is there with CONFIG_PRINTK_CALLER.
_RING_LINE = re.compile(r"<[0-7]>(?:\[ *(?P<seconds>[0-9]{1,9}\.[0-9]+)\](?:\[ *[CT][0-9]+\])? )?(?P<text>.*)")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_FILE_LINE = re.compile(
    r"(?:(?P<month>[A-Z][a-z]{2}) +(?P<day>[0-9]{1,2})|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})T)"
    r" ?(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:[.,][0-9]+)?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?"
    r" \S+ kernel: *(?:\[ *[0-9.]+\] *)?(?P<text>.*)"
)
# nf_conntrack_core.c: older kernels without a prefix; since 6.17 the namespace, unless it is the first; ip_conntrack of 2.6.
_FULL = re.compile(
    r"(?:message repeated ([0-9]{1,9}) times: \[ *(?:\[ *[0-9.]+\] *)?)?"
    r"(?:nf_conntrack: )?(?:nf|ip)_conntrack: table full(?: in netns ([0-9]{1,10}))?, dropping packet\b"
)
# lib/ratelimit.c, before the first message that is let through again.
_SUPPRESSED = re.compile(r"(?:__ratelimit|net_ratelimit|printk): ([0-9]{1,18}) (?:callbacks|messages) suppressed\b")


class _Tally(NamedTuple):
    source: str
    table_full: int
    suppressed: int
    times: List[float]  # of the first and the last, seconds since 1970
    netns: Set[int]


def read(host: Host, sources: Sequence[Tuple[str, str]]) -> Log:
    """Of the texts of logs, each with its name; the kernel's own has lines of another kind."""
    boot, now = _boot_and_now(host)
    tallies = [
        _tally(name, text, _RING_LINE, partial(_since_boot, boot=boot))
        if name == RING
        else _tally(name, text, _FILE_LINE, partial(_moment, now=now))
        for name, text in sources
    ]
    tallies.sort(key=lambda tally: -tally.table_full)
    # What a line says that anybody may have sent: not before 1970, and not after tomorrow.
    latest = _LATEST if now is None else now + _DAY
    times = sorted(moment for tally in tallies for moment in tally.times if 0 <= moment <= latest)
    return Log(
        table_full=tallies[0].table_full,
        suppressed=tallies[0].suppressed,
        first_seen=_iso(times[0]) if times else None,
        last_seen=_iso(times[-1]) if times else None,
        netns=sorted(set().union(*(tally.netns for tally in tallies))),
        source=[tally.source for tally in tallies],
    )


def _boot_and_now(host: Host) -> Tuple[Optional[float], Optional[float]]:
    """Seconds since 1970: when this kernel was started, and now."""
    found = re.search(r"^btime ([0-9]{1,11})$", host.read("/proc/stat") or "", re.M)
    uptime = re.match(r"[0-9]{1,10}\b", host.read("/proc/uptime") or "")
    boot = float(found.group(1)) if found else None
    return boot, boot + float(uptime.group()) if boot is not None and uptime else None


def _tally(source: str, log_text: str, line: Pattern[str], moment: Callable[[Match[str]], Optional[float]]) -> _Tally:
    """The messages among the lines of the kernel; lines of others may stand between them, and hold all but a line feed."""
    full, suppressed, pending = 0, 0, 0
    lines: List[Match[str]] = []  # the first and the last
    netns: Set[int] = set()
    everything = log_text if TELLING in log_text else ""
    for said in filter(None, map(line.match, everything.split("\n"))):
        found = _FULL.match(said.group("text"))
        if found:
            full += int(found.group(1) or 1)
            suppressed += pending
            lines[1:] = [said]
            if found.group(2):
                netns.add(int(found.group(2)))
        # What was suppressed counts when the next message is one of these.
        kept_back = _SUPPRESSED.match(said.group("text"))
        pending = int(kept_back.group(1)) if kept_back else 0
    moments = [moment(said) for said in lines]
    return _Tally(source, full, suppressed, [seconds for seconds in moments if seconds is not None], netns)


def _since_boot(line: Match[str], boot: Optional[float]) -> Optional[float]:
    seconds = line.group("seconds")
    return boot + float(seconds) if seconds and boot is not None else None


def _moment(line: Match[str], now: Optional[float]) -> Optional[float]:
    """Seconds since 1970; a time without zone is the host's, one without year of the last twelve months."""
    clock, zone = line.group("time"), line.group("zone")
    try:
        if line.group("date"):
            return _seconds(line.group("date"), clock, zone)
        if now is None:
            return None
        date = "{0:04d}-{1:02d}-{2:02d}".format
        year, month, day = time.localtime(now).tm_year, _MONTHS.index(line.group("month")) + 1, int(line.group("day"))
        this_year = _seconds(date(year, month, day), clock, zone)
        return this_year if this_year <= now + _DAY else _seconds(date(year - 1, month, day), clock, zone)
    except (ValueError, OverflowError):
        return None


def _seconds(date: str, clock: str, zone: Optional[str]) -> float:
    moment = datetime.strptime(date + " " + clock, "%Y-%m-%d %H:%M:%S")
    if zone is None:
        return moment.timestamp()
    minutes = 0 if zone == "Z" else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[-2:]))
    return (moment - datetime(1970, 1, 1)).total_seconds() - 60 * minutes


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
