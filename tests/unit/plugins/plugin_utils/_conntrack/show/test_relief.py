# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The lines of an emergency: who fills the table, and what was freed."""

import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.show.relief import Relief, errors, lines


def facts(count=900, limit=1000, **counters):
    usage = round(count / limit, 6) if limit else None
    return {"table": {"count": count, "max": limit, "usage": usage}, "counters": counters}


def census(margin=None, stale=600, **unlisted):
    by_timeout = {"entries": stale, "share": stale / 1000, "margin": margin, "timeout": 7440}
    return {
        "source": "ctnetlink",
        "groupings": [
            {
                "group_by": "state",
                "top": [{"state": "ESTABLISHED", "entries": 800, "share": 0.8, "margin": margin}],
                "others": 2,
                "missed": 0,
            },
            {
                "group_by": "protocol+destination_port",
                "top": [{"protocol": "icmp", "destination_port": None, "entries": 7, "share": 0.007, "margin": margin}],
                "others": 0,
                "missed": 0,
            },
        ],
        "stale": {
            "entries": stale,
            "share": stale / 1000,
            "margin": margin,
            "timeouts": {"tcp_established": by_timeout} if stale else {},
        },
        "total": 1000,
        "unlisted": dict({"entries": 0, "dying": 0, "unconfirmed": None, "listeners": []}, **unlisted),
    }


EXPIRED = {
    "examined": 1000,
    "shortened": 600,
    "spared": 0,
    "states": [
        {"protocol": "tcp", "state": "ESTABLISHED", "timeout": 7440, "examined": 800, "shortened": 600},
        {"protocol": "udp", "state": "REPLIED", "timeout": 120, "examined": 200, "shortened": 0},
    ],
}
RAISED = {
    "before": {"net.netfilter.nf_conntrack_max": 1000, "hashsize": 512},
    "after": {"net.netfilter.nf_conntrack_max": 4000, "hashsize": 4096},
}
UNRAISED = dict(RAISED, after=RAISED["before"])


def host(name="web01", **given):
    parts = {"before": facts(), "census": census(), "expired": EXPIRED, "raised": RAISED, "after": facts(500, 4000)}
    parts["most"] = 0
    return Relief(name, **dict(parts, **given))


def said(*hosts, **given):
    """Columns are tested with the report; here is what stands in them."""
    return [" ".join(line.split()) for line in lines(hosts, **given)]


WHO = [
    "by state entries share",
    "ESTABLISHED 800 80.0 %",
    "and 2 more",
    "by protocol and destination_port entries share",
    "icmp - 7 0.7 %",
    "stale: 600 entries (60.0 %) have more time left than the timeouts wanted",
    "600 by tcp_established (7440 s)",
]
ENDS = "600 tcp ESTABLISHED: they end in 7440 s, unless a packet comes before"


def test_what_was_done():
    assert said(host(), done=True) == [
        "web01",
        "before: 900 of 1000 entries (90.0 %); 0 packets dropped since boot",
        *WHO,
        "limit raised: from 1000 to 4000, room for 3000 more",
        "shortened: 600 of 1000 entries",
        ENDS,
        "after: 500 of 4000 entries (12.5 %); 0 packets dropped since boot",
        "freed so far: 400 entries ended meanwhile",
        "",
        "The kernel's timeouts and the files are as before. To make it last: headroom.netfilter.tune",
    ]


def test_what_would_be_done():
    assert said(host(), done=False) == [
        "web01",
        "now: 900 of 1000 entries (90.0 %); 0 packets dropped since boot",
        *WHO,
        "limit would be raised: from 1000 to 4000, room for 3000 more",
        "would be shortened: 600 of 1000 entries",
        ENDS,
        "",
        "Nothing was changed. To do it: -e relieve_confirm=true",
    ]


@pytest.mark.parametrize(
    ("most", "line"),
    [
        (
            None,
            "more than 500 (half of the table), so that none is without a second word: -e relieve_most=600, or 0 for no bound",
        ),
        (599, "more than 599, so that none is without a second word: -e relieve_most=600, or 0 for no bound"),
        (600, None),
        (0, None),
    ],
)
def test_what_takes_a_second_word_is_told_before(most, line):
    shown = said(host(most=most), done=False)
    assert [each for each in shown if "second word" in each] == ([line] if line else [])
    assert not any("second word" in each for each in said(host(most=most), done=True))


@pytest.mark.parametrize("done", [False, True])
def test_what_was_left_alone_is_told(done):
    line = "30 more {} left alone: a timeout policy of a rule may have given them what they have left"
    shown = said(host(expired=dict(EXPIRED, spared=30)), done=done)
    assert line.format("were" if done else "would be") in shown


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"raised": UNRAISED}, "limit stays: it is what the plan says, or cannot be written from here"),
        ({"raised": None, "refusals": ["max: too much"]}, "limit stays: max: too much"),
        ({"raised": {"failed": True, "msg": "held"}, "expired": None}, "limit stays: FAILED: held"),
        ({"expired": {"failed": True, "msg": "no netlink"}}, "nothing is shortened: FAILED: no netlink"),
        ({"census": {"failed": True, "msg": "no netlink"}}, "the table could not be read: FAILED: no netlink"),
        (
            {"before": facts(drop=9, insert_failed=5, chain_too_long=2)},
            "before: 900 of 1000 entries (90.0 %); 6 packets dropped since boot",
        ),
        ({"before": facts(count=None, limit=None)}, "before: - of - entries; 0 packets dropped since boot"),
        (
            {"census": census(margin=0.0123)},
            "stale: 600 entries (60.0 % +- 1.2) have more time left than the timeouts wanted",
        ),
        ({"census": census(stale=0)}, "stale: 0 entries (0.0 %) have more time left than the timeouts wanted"),
        (
            {"census": census(entries=200, dying=150)},
            "counted but in no list: 200 entries, 150 of them dying, - not confirmed; nothing below frees these",
        ),
        (
            {"census": census(entries=None, dying=10, unconfirmed=5)},
            "counted but in no list: 15 entries, 10 of them dying, 5 not confirmed; nothing below frees these",
        ),
        (
            {"census": census(dying=150)},
            "see counted-not-listed in docs/findings.md: who listens to reliable events, and does not keep up? nobody has lost any",
        ),
        (
            {"census": census(dying=150, listeners=["a (8): 9 events lost", "? (7): 1 events lost"])},
            "see counted-not-listed in docs/findings.md: who listens to reliable events, and does not keep up? "
            "a (8): 9 events lost, ? (7): 1 events lost",
        ),
        ({"after": facts(950, 4000)}, "freed so far: 0 entries ended meanwhile"),
    ],
    ids=[
        "limit as planned",
        "refused",
        "not raised",
        "not shortened",
        "not read",
        "clashes are no drops",
        "unreadable",
        "sample",
        "nothing stale",
        "leaked",
        "dying",
        "whose fault is not known",
        "whose fault",
        "more than before",
    ],
)
def test_single_lines(given, line):
    assert line in said(host(**given), done=True)


def test_a_few_that_are_in_no_list_are_not_told():
    assert not [line for line in said(host(census=census(entries=9, dying=9)), done=False) if "in no list" in line]


def test_the_fullest_host_is_first():
    hosts = [host("a", before=facts(100)), host("b", before=facts(900)), host("c", before=facts(900))]
    assert [line for line in said(*hosts, done=True) if len(line) == 1] == ["b", "c", "a"]


@pytest.mark.parametrize("unread", [None, dict(census(), source=None)])
def test_a_host_without_connection_tracking(unread):
    assert said(host(census=unread), done=False)[:2] == [
        "web01",
        "connection tracking is not loaded: nothing can be full",
    ]


def test_an_empty_table_has_no_heads():
    empty = [dict(grouping, top=[], others=0) for grouping in census()["groupings"]]
    assert not [line for line in said(host(census=dict(census(stale=0), groupings=empty)), done=True) if " by " in line]
    assert said(host(census=dict(census(), groupings=empty)), done=True)[2].startswith("stale: ")


def test_no_hosts():
    assert lines([], done=True) == []


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("relieve_confirm", "maybe", "expected true or false"),
        ("relieve_confirm", "yes", None),
        ("relieve_confirm", True, None),
        ("relieve_confirm", "", None),
        ("relieve_confirm", None, None),
        ("relieve_timeouts", {"tcp_established": 600}, None),
        ("relieve_timeouts", '{"tcp_established": 600}', None),
        ("relieve_timeouts", "tcp_established=600", """-e '{"relieve_timeouts": {"tcp_established": 7440}}'"""),
        ("relieve_timeouts", {"tcp_establish": 600}, "did you mean tcp_established?"),
        ("relieve_wait", "10", None),
        ("relieve_wait", 3601, "from 0 to 3600"),
        ("relieve_most", "0", None),
        ("relieve_most", "", None),
        ("relieve_most", "half", "expected a whole number of entries"),
        ("relieve_most", -1, "expected a whole number of entries"),
    ],
)
def test_errors(name, value, wrong):
    found = errors({name: value})
    assert len(found) == (wrong is not None)
    assert all(sentence.startswith(name + ": ") and wrong in sentence for sentence in found)
