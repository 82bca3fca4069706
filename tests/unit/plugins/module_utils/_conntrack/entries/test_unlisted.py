# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Entries that are counted and in no list: what differs for a moment is not told, what stays is."""

import errno

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import unlisted as subject
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.unlisted import unlisted
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.kernel import FLAVOURS
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    DYING,
    UNCONFIRMED,
    Entry,
    TableHost,
    done,
    refusal,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import COUNT

NAMES = FLAVOURS["nf_conntrack"]
OLD, NEW = "5.10.0-30-amd64\n", "6.1.0-37-amd64\n"


class Lists(dict):
    """Of each look, how many there are; None where the kernel does not tell."""

    def get(self, request, other):
        number = self[request].pop(0)
        return other if number is None else [Entry().told() * number + done()]


@pytest.fixture
def looks(monkeypatch):
    """A host, looked at twice: (entries in the table, counted, dying, unconfirmed) of each look."""

    def look(*states, release=NEW, whole=True, seen=None):
        host = TableHost(
            [Entry(ports=(number, 80)) for number in range(states[0][0])], count=states[0][1], module=False
        )
        host.texts["/proc/sys/kernel/osrelease"] = release
        host.table.policies = Lists(
            {DYING: [state[2] for state in states], UNCONFIRMED: [state[3] for state in states]}
        )
        pauses = []

        def pause(seconds):
            pauses.append(seconds)
            host.table.entries = host.table.entries[: states[1][0]]
            host.values[COUNT] = states[1][1]

        monkeypatch.setattr(subject.time, "sleep", pause)
        told = unlisted(host, NAMES, whole, seen)
        assert told.pop("listeners") == []
        return told, len(pauses)

    return look


@pytest.mark.parametrize(
    ("states", "told", "pauses"),
    [
        ([(1000, 1000, 0, 0)], (0, 0, 0), 0),
        ([(1000, 1009, 9, 0)], (9, 9, 0), 0),
        ([(900, 1000, 80, 20), (900, 1000, 80, 20)], (100, 80, 20), 1),
        ([(900, 1000, 80, 20), (890, 900, 10, 0)], (10, 10, 0), 1),
        ([(900, 1000, 10, 0), (850, 1000, 90, 5)], (100, 10, 0), 1),
        ([(900, 1000, 0, 0), (900, 900, 0, 0)], (0, 0, 0), 1),
        # More are told than there are by the time that they are counted.
        ([(1000, 900, 0, 0)], (0, 0, 0), 0),
        ([(0, 0, 0, 0)], (0, 0, 0), 0),
        ([(0, 1, 1, 0), (0, 1, 1, 0)], (1, 1, 0), 1),
        ([(900, 1000, None, None), (900, 1000, None, None)], (100, None, None), 1),
        ([(900, 1000, 50, None), (900, 1000, None, None)], (100, None, None), 1),
    ],
)
def test_what_stays(looks, states, told, pauses):
    assert looks(*states, release=OLD) == (dict(zip(("entries", "dying", "unconfirmed"), told)), pauses)


def test_later_kernels_have_no_list_of_what_is_not_confirmed(looks):
    assert looks((900, 1000, 20, 0), (900, 1000, 20, 0))[0] == {"entries": 100, "dying": 20, "unconfirmed": None}


def test_the_table_is_gone_through_only_where_that_is_asked_for(looks):
    assert looks((900, 1000, 20, 0), (900, 1000, 20, 0), whole=False)[0] == {
        "entries": None,
        "dying": 20,
        "unconfirmed": None,
    }


def test_what_has_just_been_listed_is_believed(looks):
    told, pauses = looks((900, 1000, 0, 0), (900, 1000, 0, 0), seen=1000)
    assert (told["entries"], pauses) == (0, 0)
    told, pauses = looks((990, 1000, 0, 0), (1000, 1000, 0, 0), seen=900)
    assert (told["entries"], pauses) == (10, 1)


def test_without_ctnetlink_nothing_is_known():
    host = TableHost(count=1000)
    host.table.refuse = errno.EPERM
    host.table.policies = {DYING: [refusal(errno.EPERM)]}
    assert unlisted(host, NAMES, True) == {"entries": None, "dying": None, "unconfirmed": None, "listeners": []}


NETLINK = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000041939a31 0   0          00000000 0        0        0     2        0        9313748
00000000443dd291 12  812        00000004 7680     0        0     2        3020     9314661
00000000443dd292 12  813        00000007 0        0        0     2        0        9314662
00000000443dd293 12  814        00000003 7680     0        0     2        5        9314663
00000000443dd294 12  4294963202 000000ff 7680     0        0     2        7        9314664
00000000443dd295 16  815        00000004 7680     0        0     2        9        9314665
00000000443dd296 12  816        0000000c 7680     0        0     2        10000    9314666
00000000443dd297 12  817        00000004 7680     0        0     2        1        9314667
"""


def test_who_has_lost_events_is_named(monkeypatch):
    monkeypatch.setattr(subject.time, "sleep", lambda seconds: None)
    host = TableHost(count=100, module=False)
    host.texts.update({"/proc/net/netlink": NETLINK, "/proc/812/comm": "conntrackd\n", "/proc/816/comm": "exporter\n"})
    host.table.policies = {DYING: [Entry().told() * 40, done()]}
    assert unlisted(host, NAMES, False)["listeners"] == [
        "exporter (816): 10000 events lost",
        "conntrackd (812): 3020 events lost",
        "? (4294963202): 7 events lost",
    ]


@pytest.mark.parametrize("text", ["", "sk Eth Pid\n0 12\n", NETLINK.replace("3020", "a"), "\n\n", NETLINK[:400]])
def test_what_cannot_be_read_of_listeners_breaks_nothing(monkeypatch, text):
    monkeypatch.setattr(subject.time, "sleep", lambda seconds: None)
    host = TableHost(count=100, module=False)
    host.texts["/proc/net/netlink"] = text
    host.table.policies = {DYING: [Entry().told() * 40, done()]}
    assert unlisted(host, NAMES, False)["dying"] == 40
