# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What logs say of a full table, line by line: how often, when, and in which network namespaces.

What stands between a line's beginning and the kernel's words was seen in files that busybox, inetutils, rsyslog, socklog and
syslog-ng wrote (tests/integration/test_syslog_oracle.py), or read in the sources of metalog, OpenWrt's logread, journalctl
and svlogd.
"""

import json
import re
import time
from datetime import datetime
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Match, NamedTuple, Optional, Pattern, Sequence, Set, Tuple

from ..host.door import Host
from .log import RING, TELLING, Log

# Seconds. How far a clock of a log may be ahead.
_DAY = 86400.0
# Seconds since 1970: the year 2100, where it is not known what is now.
_LATEST = 4102444800.0
# Of TAI64N, as daemontools and runit count.
_TAI64 = 2**62 + 10

# The caller in brackets is there with CONFIG_PRINTK_CALLER.
_CALLER = r"\[ *[CT][0-9]+\]"
# Of the kernel alone, whose facility is 0.
_RING_LINE = re.compile(r"<[0-7]>(?:\[ *(?P<seconds>[0-9]{1,9}\.[0-9]+)\](?:" + _CALLER + r")? )?(?P<text>.*)")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_STAMP = (
    r"(?P<stamp>(?:[A-Z][a-z]{2} )?(?:(?:(?P<before>(?:19|20)[0-9]{2}) )?(?P<month>[A-Z][a-z]{2}) +(?P<day>[0-9]{1,2})"
    r"(?: (?P<behind>(?:19|20)[0-9]{2}))? |(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:T| |(?P<utc>_)))"
    r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,][0-9]+)?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2}| (?:UTC|GMT)(?= ))?"
    r"(?: (?P<last>(?:19|20)[0-9]{2})| [A-Z]{2,5}| [+-][0-9]{2,4})?"
    r"|(?P<since1970>[0-9]{9,11})(?:\.[0-9]+)?|@(?P<tai64n>[0-9a-f]{24})|\[ *[0-9]+\.[0-9]+\]) "
)
# Other than the name of a program, which may follow the time at once.
_HOST = r"[^\s\[](?:\S*[^\s:])? "
# The facility before or behind the host is kern, or user where syslog(3) of glibc has made that of it for busybox klogd.
_FACILITY = r"[<\[]?(?:kern|user)\.[a-z]{4,7}[>\]]?:? "
_PROGRAM = r"(?:kernel(?:\[[0-9]+\])?:|\[kernel\])"
# What says whose words a line has: the program's name or, where there is none, the facility.
_WHOSE = "|".join(
    (
        # RFC 5424: host, program, process, message, structured data.
        _HOST + r"kernel \S+ \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) ",
        # The second time is the sender's, which socklog leaves where it was.
        "(?:{0})?(?:{1})?(?:{0})?(?:[A-Z][a-z]{{2}} +[0-9]{{1,2}} [0-9:]{{8}} )?{2}".format(_FACILITY, _HOST, _PROGRAM),
        "(?:" + _HOST + ")?" + _FACILITY.replace("(?:kern|user)", "kern"),
    )
)
_SINCE_BOOT = r" *(?:\[ *[0-9.]+\] *)?(?:" + _CALLER + " *)?"
_FILE_LINE = re.compile(
    r"(?:<[0-7]>(?:1 )?)?(?:" + _STAMP + r"|(?=kern\.))(?:" + _WHOSE + r")\ufeff?" + _SINCE_BOOT + "(?P<text>.*)"
)
# nf_conntrack_core.c: older kernels without a prefix; since 6.17 the namespace, unless it is the first; ip_conntrack of 2.6.
# OpenVZ names the container before the message (2.6.32 and 3.10) or within it (2.6.18).
_CONTAINER = r"(?:(?:CT|VE|VPS) ?[0-9a-fA-F-]{1,36}:? )?"
_FULL = re.compile(
    r"(?:message repeated (?P<times>[0-9]{1,9}) times: \[" + _SINCE_BOOT + ")?"
    r"(?:nf_conntrack: )?" + _CONTAINER + "(?:nf|ip)_conntrack:? " + _CONTAINER + "table full"
    r"(?: in netns (?P<netns>[0-9]{1,10}))?, dropping packet\b"
)
# Instead of the line before it once more: of syslogd and its kin, and of metalog. What syslog-ng quotes, as if the kernel said
# it, may stand elsewhere: its threads overtake each other.
_AGAIN = re.compile(
    r"(?:" + _STAMP + "(?:" + _HOST + ")?(?:" + _FACILITY + r")?(?:syslogd?(?:\[[0-9]+\])?: )?)?"
    r" *(?:-+ )?[Ll]ast (?:message|output) (?:'(?P<quoted>.*)' )?repeated (?:(?P<times>[0-9]{1,9}) times|twice)"
)
# lib/ratelimit.c, before the first message that is let through again.
_SUPPRESSED = re.compile(r"(?:__ratelimit|net_ratelimit|printk): ([0-9]{1,18}) (?:callbacks|messages) suppressed\b")
# Characters that syslog-ng quotes.
_QUOTED = 20
# The fields of journalctl -o export that count.
_FIELD = re.compile("^(MESSAGE|SYSLOG_FACILITY|_TRANSPORT|__REALTIME_TIMESTAMP)=(.*)$", re.M)


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
    was_full = False  # the line before
    beginnings: Set[str] = set()
    quoted: Dict[str, int] = {}
    lines: List[Match[str]] = []  # the first and the last
    netns: Set[int] = set()
    for whole in _lines(log_text) if TELLING in log_text else ():
        said = line.match(whole)
        text = said.group("text") if said else ""
        again = _AGAIN.match(text if said else whole) if "repeated" in whole else None
        if again and again.group("quoted"):
            quote = again.group("quoted")
            quoted[quote] = quoted.get(quote, 0) + int(again.group("times") or 1) * (said is not None)
            continue
        if again and was_full:
            full += int(again.group("times") or 1)
            lines[1:] = [said or again] if said or again.group("stamp") else lines[1:]
            continue
        found = _FULL.match(text)
        was_full = found is not None
        if said and found:
            full += int(found.group("times") or 1)
            beginnings.add(text[:_QUOTED])
            suppressed += pending
            lines[1:] = [said]
            if found.group("netns"):
                netns.add(int(found.group("netns")))
        if said:
            # What was suppressed counts when the next message is one of these.
            kept_back = _SUPPRESSED.match(text)
            pending = int(kept_back.group(1)) if kept_back else 0
    full += sum(times for quote, times in quoted.items() if quote in beginnings)
    moments = [moment(said) for said in lines]
    return _Tally(source, full, suppressed, [seconds for seconds in moments if seconds is not None], netns)


def _lines(text: str) -> Iterator[str]:
    """The lines of a log; of what journalctl -o json and -o export say those of the kernel, as -o short-unix has them."""
    if "__REALTIME_TIMESTAMP" not in text:
        yield from text.split("\n")
        return
    for block in text.split("\n\n"):
        for record in map(_of_json, block.split("\n")) if block.startswith("{") else [dict(_FIELD.findall(block))]:
            # Processes write to /dev/kmsg under another facility.
            if (record.get("_TRANSPORT"), record.get("SYSLOG_FACILITY")) == ("kernel", "0"):
                moment, said = str(record.get("__REALTIME_TIMESTAMP"))[:-6], str(record.get("MESSAGE"))
                yield "{0} - kernel: {1}".format(moment, said.replace("\n", " "))


def _of_json(line: str) -> Dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _since_boot(line: Match[str], boot: Optional[float]) -> Optional[float]:
    seconds = line.group("seconds")
    return boot + float(seconds) if seconds and boot is not None else None


def _moment(line: Match[str], now: Optional[float]) -> Optional[float]:
    """Seconds since 1970; a time without zone is the host's, one without year of the last twelve months."""
    found = line.groupdict()
    if found["since1970"]:
        return float(found["since1970"])
    if found["tai64n"]:
        return float(int(found["tai64n"][:16], 16) - _TAI64)
    if not found["time"]:
        return None
    # svlogd -tt.
    clock, zone = found["time"], "Z" if found["utc"] else found["zone"]
    year = found["before"] or found["behind"] or found["last"]
    try:
        if found["date"]:
            return _seconds(found["date"], clock, zone)
        if now is None and not year:
            return None
        date = "{0:04d}-{1:02d}-{2:02d}".format
        month, day = _MONTHS.index(found["month"]) + 1, int(found["day"])
        if year or now is None:
            return _seconds(date(int(year), month, day), clock, zone)
        this_year = time.localtime(now).tm_year
        moment = _seconds(date(this_year, month, day), clock, zone)
        return moment if moment <= now + _DAY else _seconds(date(this_year - 1, month, day), clock, zone)
    except (ValueError, OverflowError):
        return None


def _seconds(date: str, clock: str, zone: Optional[str]) -> float:
    moment = datetime.strptime(date + " " + clock, "%Y-%m-%d %H:%M:%S")
    if zone is None:
        return moment.timestamp()
    minutes = 0 if zone[0] not in "+-" else int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[-2:]))
    return (moment - datetime(1970, 1, 1)).total_seconds() - 60 * minutes


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
