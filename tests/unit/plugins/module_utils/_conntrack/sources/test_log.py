# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Messages of a full table, from lines as kernels and loggers write them."""

import json
import os
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.log import TAIL, log
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.log import Log

BOOT = 1795322461  # 2026-11-22T04:41:01Z
FULL = "nf_conntrack: nf_conntrack: table full, dropping packet"
RING = "kernel ring buffer"
NOTHING = Log(0, 0, None, None, [], [])


@pytest.fixture(autouse=True)
def _in_new_york(monkeypatch):
    """Five hours behind UTC in November, four in July."""
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def read(tmp_path):
    """The log of a host with these files, up for four hours."""

    def of(ring=None, uptime="14400.52 28000.10\n", journal=None, dropped=False, **logs):
        files = {
            "proc/stat": "cpu 1 2\nbtime {0}\nprocesses 3\n".format(BOOT),
            "proc/uptime": uptime,
            "proc/kmsg": ring,
            "usr/bin/journalctl": journal,
            "run/systemd/system/x": None if journal is None else "",
        }
        files.update(("var/log/" + name.replace("_", "."), text) for name, text in logs.items())
        for path, text in files.items():
            if text is not None:
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return log(Host(str(tmp_path)), dropped)

    return of


def test_none(read, tmp_path):
    assert read() == NOTHING
    assert log(Host(str(tmp_path / "empty")), dropped=True) == NOTHING


@pytest.mark.parametrize(
    ("text", "netns"),
    [
        ("nf_conntrack: table full, dropping packet", []),
        ("nf_conntrack: table full, dropping packet.", []),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", []),
        ("nf_conntrack: table full in netns 4026532000, dropping packet", [4026532000]),
        ("nf_conntrack: nf_conntrack: table full in netns 4026532000, dropping packet", [4026532000]),
        ("ip_conntrack: table full, dropping packet.", []),
        # OpenVZ, by the age of its kernels: 2.6.18, 2.6.32, 3.10.
        ("ip_conntrack: VPS 101 table full, dropping packet.", []),
        ("ip_conntrack: CT 101: table full, dropping packet.", []),
        ("CT101: nf_conntrack: table full, dropping packet", []),
        ("VE101: nf_conntrack: table full, dropping packet.", []),
        ("VE0f8fad5b-d9cb-469f-a165-70867728950e: nf_conntrack table full, dropping packet", []),
    ],
)
@pytest.mark.parametrize("start", ["<4>[   61.500000] ", "<4>[   61.500000][    C1] ", "<4>[   61.500000][  T1234] "])
def test_texts_of_the_kernel(read, text, netns, start):
    moment = "2026-11-22T04:42:02Z"
    assert read(start + text + "\n") == Log(1, 0, moment, moment, netns, [RING])


@pytest.mark.parametrize(
    "line",
    [
        "<4>[   61.5] nf_conntrack: expectation table full",
        "<4>[   61.5] xnf_conntrack: table full, dropping packet",
        # Written to /dev/kmsg by a process.
        "<12>[   61.5] " + FULL,
        "<30>[   61.5] grep: " + FULL,
        "[   61.5] " + FULL,
    ],
)
def test_what_is_no_such_message(read, line):
    assert read(line + "\n").table_full == 0


def test_a_source_without_such_a_message_has_been_read(read):
    assert read("<4>[   61.5] eth0: link up\n", syslog="\n") == NOTHING._replace(source=[RING, "/var/log/syslog"])


def test_a_ring_buffer_without_times_is_counted(read):
    assert read("<4>{0}\n<4>{0}\n".format(FULL)) == Log(2, 0, None, None, [], [RING])


def test_first_and_last_of_many(read):
    ring = "".join("<4>[{0}.000000] {1}\n".format(second, FULL) for second in range(1, 5))
    assert read(ring)[:4] == (4, 0, "2026-11-22T04:41:02Z", "2026-11-22T04:41:05Z")


SUPPRESSED = "<4>[    5.000000] net_ratelimit: 41 callbacks suppressed\n"
ONE = "<4>[    6.000000] " + FULL + "\n"
ELSE = "<6>[    5.500000] IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready\n"


@pytest.mark.parametrize(
    ("text", "count", "suppressed"),
    [
        (SUPPRESSED + ONE, 1, 41),
        (SUPPRESSED + ONE + SUPPRESSED + ONE, 2, 82),
        (SUPPRESSED + ONE + ONE, 2, 41),
        (SUPPRESSED + ELSE + ONE, 1, 0),
        (ONE + SUPPRESSED, 1, 0),
        (SUPPRESSED + ELSE, 0, 0),
        (SUPPRESSED.replace("net_ratelimit", "__ratelimit") + ONE, 1, 41),
        (SUPPRESSED.replace("net_ratelimit", "printk").replace("callbacks", "messages") + ONE, 1, 41),
        (SUPPRESSED.replace("net_ratelimit", "audit_printk_skb") + ONE, 1, 0),
    ],
)
def test_suppressed(read, text, count, suppressed):
    assert read(text)[:2] == (count, suppressed)


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("Nov 22 03:13:01 web-1", "2026-11-22T08:13:01Z"),
        ("Jul  4 03:13:01 web-1", "2026-07-04T07:13:01Z"),
        # Later than now: last year's.
        ("Dec 24 03:13:01 web-1", "2025-12-24T08:13:01Z"),
        ("2026-11-22T08:13:01.123456+00:00 web-1", "2026-11-22T08:13:01Z"),
        ("2026-11-22T08:13:01.123456+05:30 web-1", "2026-11-22T02:43:01Z"),
        ("2026-11-22T08:13:01-0100 web-1", "2026-11-22T09:13:01Z"),
        ("2026-11-22T08:13:01Z web-1", "2026-11-22T08:13:01Z"),
        ("2026-11-22T03:13:01 web-1", "2026-11-22T08:13:01Z"),
        ("2026-13-42T03:13:01 web-1", None),
        ("0000-00-00T00:00:00Z web-1", None),
        ("Foo 22 03:13:01 web-1", None),
        # syslog-ng's ts-format(full), OpenWrt's logread, dates with a year of rsyslog's templates.
        ("2024 Nov 22 03:13:01 web-1", "2024-11-22T08:13:01Z"),
        ("Fri Nov 22 03:13:01 2024", "2024-11-22T08:13:01Z"),
        ("Nov 22 2024 03:13:01.123 web-1", "2024-11-22T08:13:01Z"),
        # journalctl -o short-full, short-unix and short-monotonic.
        ("Sun 2026-11-22 03:13:01 EST web-1", "2026-11-22T08:13:01Z"),
        ("Sun 2026-11-22 08:13:01 UTC web-1", "2026-11-22T08:13:01Z"),
        ("1795335181.123456 web-1", "2026-11-22T08:13:01Z"),
        ("[   61.500000] web-1", None),
        # svlogd -tt and -t.
        ("2026-11-22_08:13:01.12345", "2026-11-22T08:13:01Z"),
        ("@400000006b02a41726d9b5cc", "2026-11-22T08:13:01Z"),
    ],
)
@pytest.mark.parametrize("uptime_of_kernel", ["", "[1694413.644132] ", "[    3.644132] ", "[    3.644132][    C1] "])
def test_times_of_text_logs(read, stamp, moment, uptime_of_kernel):
    line = "{0} kernel: {1}{2}\n".format(stamp, uptime_of_kernel, FULL)
    assert read(kern_log=line) == Log(1, 0, moment, moment, [], ["/var/log/kern.log"])


@pytest.mark.parametrize(
    "start",
    [
        "Nov 22 03:13:01 web kern.warn kernel: ",
        "Nov 22 03:13:01 web kern.warn kernel: [  152.014434] ",
        "Nov 22 03:13:01 web kern.warn [  152.014434][  T101] ",
        "Nov 22 03:13:01 web user.warn kernel: ",
        "Nov 22 03:13:01 kernel: ",
        "Nov 22 03:13:01 web kern.warning kernel:[  152.014434] ",
        "Nov 22 03:13:01 <kern.warn> web kernel: ",
        "Nov 22 03:13:01 [kernel] [  152.014434] ",
        "<4>Nov 22 03:13:01 web kernel: ",
        "<4>1 2026-11-22T03:13:01-05:00 web kernel - - - [  152.014434] ",
        "<4>1 2026-11-22T03:13:01-05:00 web kernel - - - \ufeff",
        '<4>1 2026-11-22T03:13:01-05:00 web kernel - - [meta sequenceId="1"][x y="[z\\]"] [  152.1][    C1] ',
        "2026-11-22_08:13:01.12345 kern.warn: ",
        "2026-11-22_08:13:01.12345 kern.warn: Nov 22 03:13:02 kernel: ",
        "Sun Nov 22 03:13:01 2026 kern.warn kernel: [  152.014434] ",
        "1795335181 web kernel: ",
    ],
)
def test_what_daemons_put_before_the_kernels_words(read, start):
    moment = "2026-11-22T08:13:01Z"
    said = "{0}net_ratelimit: 83 callbacks suppressed\n{0}{1}\n".format(start, FULL)
    assert read(messages=said) == Log(1, 83, moment, moment, [], ["/var/log/messages"])


def test_a_line_without_a_time(read):
    assert read(messages="kern.warn: kernel: " + FULL) == Log(1, 0, None, None, [], ["/var/log/messages"])


@pytest.mark.parametrize("name", ["kernel.log", "kernel/current", "socklog/kernel/current"])
def test_where_else_daemons_write(tmp_path, name):
    target = tmp_path / "var/log" / name
    target.parent.mkdir(parents=True)
    target.write_text("Nov 22 03:13:01 web kernel: " + FULL + "\n")
    assert log(Host(str(tmp_path)), dropped=False).source == ["/var/log/" + name]


def test_a_year_that_cannot_be_told_is_no_time(read):
    assert read(uptime="?", messages="Nov 22 03:13:01 web kernel: " + FULL) == Log(
        1, 0, None, None, [], ["/var/log/messages"]
    )


@pytest.mark.parametrize(
    "line",
    [
        "Nov 22 03:13:01 web sudo: root : COMMAND=/bin/grep kernel: " + FULL,
        "Nov 22 03:13:01 web python3[77]: kernel: " + FULL,
        "Nov 22 03:13:01 web kernel: said " + FULL,
        "Nov 22 03:13:01 web user.notice " + FULL,
        "Nov 22 03:13:01 web user.notice python3: kernel: " + FULL,
        "Nov 22 03:13:01 web kern.warn python3: kernel: " + FULL,
        "<12>Nov 22 03:13:01 web kernel: " + FULL,
        "<13>1 2026-11-22T03:13:01-05:00 web kernel - - - " + FULL,
        "<4>1 2026-11-22T03:13:01-05:00 web python3 - - - kernel: " + FULL,
        '<4>1 2026-11-22T03:13:01-05:00 web python3 - - [x y="kernel - - -"] ' + FULL,
        "Nov 22 03:13:01 [python3] [kernel] " + FULL,
        "Nov 22 03:13:01 python3: kernel: " + FULL,
        "web kernel: " + FULL,
        "kernel: " + FULL,
        FULL,
    ],
)
def test_words_of_others_are_not_the_kernels(read, line):
    assert read(syslog=line + "\n").table_full == 0


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(read, end):
    """A logger writes down what anybody says, all of these in it."""
    said = "Nov 22 08:13:01 web nobody: x{0}Nov 22 08:13:01 web kernel: {1}\n".format(end, FULL)
    assert read("<4>[   61.5] x{0}<4>[   61.5] {1}\n".format(end, FULL), syslog=said).table_full == 0


def test_lines_of_others_between_two_of_the_kernel(read):
    text = (
        "Nov 22 03:13:01 web kernel: net_ratelimit: 7 callbacks suppressed\n"
        "Nov 22 03:13:01 web CRON[1]: (root) CMD (true)\n"
        "Nov 22 03:13:01 web kernel: " + FULL + "\n"
    )
    assert read(messages=text)[:2] == (1, 7)


@pytest.mark.parametrize("inner", ["", " ", " [  123.456] "])
def test_repeats_that_rsyslog_took_together(read, inner):
    line = "Nov 22 03:13:02 web kernel: {0}message repeated 3 times: [{0}{1}]\n".format(inner, FULL)
    assert read(syslog="Nov 22 03:13:01 web kernel: " + FULL + "\n" + line).table_full == 4


HEAD = "Nov 22 03:13:01 web "


@pytest.mark.parametrize(
    ("again", "count"),
    [
        (HEAD + "last message repeated 3 times", 4),
        (HEAD + "syslogd: last message repeated 3 times", 4),
        (HEAD + "--- last message repeated 3 times ---", 4),
        ("<46>" + HEAD + "last message repeated 3 times", 1),
        (HEAD + "kernel: Last message 'nf_conntrack: nf_con' repeated 3 times, suppressed by syslog-ng on web", 4),
        (
            HEAD
            + "CRON[1]: x\n"
            + HEAD
            + "kernel[77]: Last message 'nf_conntrack: nf_con' repeated 3 times, suppressed by x",
            4,
        ),
        (HEAD + "kernel[77]: Last message 'it's eth0: link up' repeated 3 times, suppressed by syslog-ng on web", 1),
        (HEAD + "CRON[1]: Last message 'nf_conntrack: nf_con' repeated 3 times, suppressed by syslog-ng on web", 1),
        ("                - Last output repeated 3 times -", 4),
        ("                - Last output repeated twice -", 2),
        (HEAD + "last message repeated 3 times\n" + HEAD + "last message repeated 2 times", 6),
        (HEAD + "CRON[1]: x\n" + HEAD + "last message repeated 3 times", 1),
        (HEAD + "kernel: eth0: up\n" + HEAD + "last message repeated 3 times", 1),
        (HEAD + "CRON[1]: last message repeated 3 times", 1),
        (HEAD + "last message buffered 3 times", 1),
        ("", 1),
    ],
    ids=repr,
)
def test_lines_that_stand_for_the_one_before(read, again, count):
    assert read(syslog=HEAD + "kernel: " + FULL + "\n" + again + "\n").table_full == count


def test_a_repetition_that_stands_before_what_it_repeats(read):
    """A thread of syslog-ng has overtaken another."""
    again = HEAD + "kernel[77]: Last message '{0}' repeated 3 times, suppressed by syslog-ng on web\n"
    text = again.format("nf_conntrack: nf_con") + again.format("nf_conntrack: expect") + HEAD + "kernel: " + FULL + "\n"
    assert read(syslog=text).table_full == 4


def test_the_time_of_a_repetition(read):
    lines = HEAD + "kernel: " + FULL + "\nNov 22 03:14:01 web last message repeated 3 times\n"
    assert read(syslog=lines)[2:4] == ("2026-11-22T08:13:01Z", "2026-11-22T08:14:01Z")
    lines = HEAD + "kernel: " + FULL + "\n                - Last output repeated twice -\n"
    assert read(syslog=lines)[2:4] == ("2026-11-22T08:13:01Z", "2026-11-22T08:13:01Z")


def test_a_host_of_alpines(read):
    """Read of a real one: busybox writes facility and level between host and program."""
    text = (
        "Jun  4 09:24:12 alpine daemon.info init: starting pid 1906\n"
        "Jun  4 09:24:12 alpine kern.warn kernel: [  152.014434] nf_conntrack: nf_conntrack: table full, dropping packet\n"
        "Jun  4 09:24:17 alpine kern.warn kernel: [  157.027681] net_ratelimit: 83 callbacks suppressed\n"
        "Jun  4 09:24:17 alpine kern.warn kernel: [  157.027684] nf_conntrack: nf_conntrack: table full, dropping packet\n"
    )
    assert read(messages=text) == Log(2, 83, "2026-06-04T13:24:12Z", "2026-06-04T13:24:17Z", [], ["/var/log/messages"])


def test_what_a_repetition_stands_for_leaves_what_was_suppressed(read):
    """The kernel's own words after it count for the next message."""
    once = HEAD + "kernel: net_ratelimit: 7 callbacks suppressed\n" + HEAD + "kernel: " + FULL + "\n"
    assert read(syslog=once + HEAD + "last message repeated 9 times\n" + once)[:2] == (11, 14)


MICROSECONDS = "1795335181123456"
RECORD = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "__REALTIME_TIMESTAMP": MICROSECONDS, "MESSAGE": FULL}


def exported(**fields):
    return "".join("{0}={1}\n".format(*item) for item in dict(RECORD, **fields).items()) + "\n"


def as_json(**fields):
    return json.dumps(dict(RECORD, **fields)) + "\n"


@pytest.mark.parametrize("record", [exported, as_json])
def test_a_journal_that_was_exported(read, record):
    text = record() + record(MESSAGE="net_ratelimit: 9 callbacks suppressed") + record() + record(_TRANSPORT="syslog")
    text += record(SYSLOG_FACILITY="3")
    moment = "2026-11-22T08:13:01Z"
    assert read(syslog=text) == Log(2, 9, moment, moment, [], ["/var/log/syslog"])


@pytest.mark.parametrize(
    "text",
    [
        "{" * 99999 + "}",
        '{"__REALTIME_TIMESTAMP": [], "MESSAGE": {}, "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0"}',
        as_json(MESSAGE=[110, 102]),
        as_json(MESSAGE="x\n" + HEAD + "kernel: " + FULL),
        "[]\n{}\n3\n",
    ],
    ids=lambda text: text[:40],
)
def test_records_that_say_nothing(read, text):
    assert read(syslog=as_json(MESSAGE="table full") + text).table_full == 0


def test_what_stands_in_several_sources_is_counted_once(read):
    line = "{0} web kernel: nf_conntrack: table full in netns {1}, dropping packet\n"
    assert read(
        SUPPRESSED + "<4>[   10.000000] nf_conntrack: table full in netns 5, dropping packet\n",
        kern_log=line.format("Nov 21 03:13:01", 7) + line.format("Nov 21 03:13:02", 6),
        syslog=line.format("Nov 20 03:13:02", 6),
    ) == Log(
        table_full=2,
        suppressed=0,
        first_seen="2026-11-20T08:13:02Z",
        last_seen="2026-11-22T04:41:11Z",
        netns=[5, 6, 7],
        source=["/var/log/kern.log", RING, "/var/log/syslog"],
    )


def test_the_end_of_a_log_is_read_and_no_more(read):
    old = "Nov 20 03:13:01 web kernel: " + FULL + "\n"
    rest = ("Nov 21 03:13:01 web x: y\n" * (TAIL // 25 + 1)) + "Nov 22 03:13:01 web kernel: " + FULL + "\n"
    assert read(syslog=old + rest).table_full == 1


def test_bytes_that_are_no_text(read):
    noise = bytes(range(256)) * 50
    line = ("\nNov 22 03:13:01 web kernel: " + FULL + "\n").encode()
    assert read(noise.replace(b"\n", b""), syslog=noise + line + noise).table_full == 1


@pytest.mark.parametrize(
    "line",
    [
        "<4>[999999999.999999] " + FULL,
        "<4>[9999999999999999999.9] " + FULL,
        "<4>[1.1] nf_conntrack: table full in netns 99999999999999, dropping packet",
        "<4>[1.1] net_ratelimit: 99999999999999999999 callbacks suppressed",
        "<4>[1.1] message repeated 99999999999 times: [ " + FULL,
    ],
)
def test_numbers_of_any_length(read, line):
    read(line + "\n" + ONE)
    for stamp in ("9999-12-31T23:59:59-99:99", "0001-01-01T00:00:00+9999", "2026-11-22T99:99:99Z", "Feb 99 99:99:99"):
        assert read(kern_log="{0} web kernel: {1}\n".format(stamp, FULL)).table_full >= 1


# As journalctl 252 wrote it, from a journal that systemd-journal-remote 252 made. A zone with a colon is read too.
JOURNAL = """\
2026-11-22T09:43:00+0000 web-1 kernel: nf_conntrack: nf_conntrack: table full, dropping packet
2026-11-22T09:42:52+0000 web-1 kernel: nf_conntrack: nf_conntrack: table full, dropping packet
2026-11-22T09:42:51+0000 web-1 kernel: nf_conntrack: nf_conntrack: table full, dropping packet
"""
IN_JOURNAL = Log(3, 0, "2026-11-22T09:42:51Z", "2026-11-22T09:43:00Z", [], ["journal"])


def test_the_journal(read):
    assert read(journal=JOURNAL, dropped=True) == IN_JOURNAL
    assert read(journal=JOURNAL.replace("+0000", "+05:30"), dropped=True)[2] == "2026-11-22T04:12:51Z"


def test_the_journal_after_logs_that_say_nothing(read):
    ring = "<4>[   61.5] eth0: link up\n"
    sources = ["journal", RING, "/var/log/syslog"]
    assert read(ring, syslog="", journal=JOURNAL, dropped=True) == IN_JOURNAL._replace(source=sources)


@pytest.mark.parametrize("said", ["", "-- No entries --\n", "\xff\x00\n", "2026-11-22T09:42:51+0000 w kernel: x\n"])
def test_a_journal_that_says_nothing_of_it_is_no_source(read, said):
    assert read(ONE[:9], journal=said.encode("latin-1"), dropped=True) == NOTHING._replace(source=[RING])


def test_bytes_that_are_no_text_in_the_journal(read):
    noise = bytes(range(256)) * 50
    assert read(journal=noise + b"\n" + JOURNAL.encode() + noise, dropped=True) == IN_JOURNAL


def test_the_newest_of_a_journal_is_read_and_no_more(read):
    """Of the last line there is a part only."""
    line = JOURNAL.splitlines(True)[0]
    assert read(journal=line * (TAIL // len(line) + 9), dropped=True).table_full == TAIL // len(line)


class Asked(Host):
    """Gives these answers to the runs of a program, and keeps what was run."""

    def __init__(self, root, *answers):
        super().__init__(root)
        self.answers, self.ran = list(answers), []

    def run(self, argv, limit, longest=1.0):
        self.ran.append(argv)
        return self.answers.pop(0)


@pytest.fixture
def asked(tmp_path):
    """A host with systemd, and with the other files."""

    def of(*answers, **files):
        for name in ("run/systemd/system/x", "usr/bin/journalctl"):
            if name not in files.get("without", ()):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text("")
        for name, text in files.get("logs", {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return Asked(str(tmp_path), *answers)

    return of


@pytest.mark.parametrize(
    ("dropped", "files"),
    [
        (False, {}),
        (True, {"without": ["run/systemd/system/x"]}),
        (True, {"without": ["usr/bin/journalctl"]}),
        (True, {"logs": {"proc/kmsg": ONE}}),
        (True, {"logs": {"var/log/syslog": "Nov 22 03:13:01 web kernel: " + FULL}}),
    ],
    ids=["nothing dropped", "no systemd", "no journalctl", "ring buffer has it", "text log has it"],
)
def test_the_journal_is_not_asked(asked, dropped, files):
    host = asked(**files)
    assert "journal" not in log(host, dropped).source
    assert host.ran == []


def test_the_journal_is_asked_for_texts(asked):
    host = asked(JOURNAL)
    assert log(host, dropped=True) == IN_JOURNAL
    (argv,) = host.ran
    assert argv[0] == "/usr/bin/journalctl"
    assert "SYSLOG_FACILITY=0" in argv
    texts = [word[len("MESSAGE=") :] for word in argv if word.startswith("MESSAGE=")]
    assert sorted(texts) == [
        "nf_conntrack: nf_conntrack: table full, dropping packet",
        "nf_conntrack: nf_conntrack: table full, dropping packet.",
        "nf_conntrack: table full, dropping packet",
        "nf_conntrack: table full, dropping packet.",
    ]


def test_the_ring_buffer_of_this_machine():
    """It can be read or not, and is never longer than asked for."""
    host = Host()
    text = host.kernel_log(4096)
    assert text is None or len(text.encode()) <= 3 * 4096
    assert text is not None or host.unreadable in ([], ["/dev/kmsg"])
    if os.geteuid() == 0 and text:
        assert text.startswith("<")
