# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What conntrack_census_info is asked and what it returns: samples, resizes meanwhile, hosts without a table."""

import errno
import re
import socket

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import DYING, UDP, Entry, TableHost, done, refused
from ansible_collections.headroom.netfilter.tests.unit.fakes import COUNT, HASHSIZE

OPTIONS = {
    "sample": 20000,
    "group_by": ["protocol"],
    "top": 10,
    "prefix_lengths": {"ipv4": 24, "ipv6": 64},
    "anonymise": False,
    "timeout_profile": "server",
    "timeouts": {},
}
TABLE = [Entry(left=7441 if port < 300 else 7440, ports=(port, 443)) for port in range(600)]
TABLE += [Entry(UDP, ports=(port, 53), left=121) for port in range(400)]


def asked(**options):
    return read_options(dict(OPTIONS, **options))


def test_all():
    found = examine(TableHost(TABLE, count=1000), asked(), None)
    assert found == {
        "source": "ctnetlink",
        "total": 1000,
        "examined": 1000,
        "exact": True,
        "groupings": [
            {
                "group_by": "protocol",
                "top": [
                    {"protocol": "tcp", "entries": 600, "share": 0.6, "margin": None},
                    {"protocol": "udp", "entries": 400, "share": 0.4, "margin": None},
                ],
                "others": 0,
                "missed": 0,
            }
        ],
        "stale": {
            "entries": 700,
            "share": 0.7,
            "margin": None,
            "timeouts": {
                "udp_stream": {"entries": 400, "share": 0.4, "margin": None, "timeout": 120},
                "tcp_established": {"entries": 300, "share": 0.3, "margin": None, "timeout": 7440},
            },
        },
        "unread": {"entries": 0, "attributes": 0},
        "forged": 0,
        "unlisted": {"entries": 0, "dying": None, "unconfirmed": None, "listeners": []},
    }
    assert list(found["stale"]["timeouts"]) == ["udp_stream", "tcp_established"]


def test_a_sample_is_brought_up_to_the_count():
    found = examine(TableHost(TABLE[:600], count=100000), asked(sample=500), None)
    assert (found["total"], found["examined"], found["exact"]) == (100000, 500, False)
    (group,) = found["groupings"][0]["top"]
    assert (group["entries"], group["share"]) == (100000, 1.0)
    assert 0 < group["margin"] < 0.02
    assert found["stale"]["entries"] == 60000
    assert found["stale"]["timeouts"]["tcp_established"]["entries"] == 60000
    assert 0.05 < found["stale"]["margin"] < 0.06


def test_the_count_of_a_table_that_is_read_whole_is_that_of_its_entries():
    """The kernel's count has entries that end, and those that are not told any more."""
    assert examine(TableHost(TABLE, count=1007), asked(sample=0), None)["total"] == 1000


@pytest.mark.parametrize(
    ("counted", "wrong", "sample", "entries"),
    [(1300, None, 0, 300), (1007, None, 0, 7), (1300, None, 500, None), (1000, "interrupted", 0, None)],
    ids=["leaked", "a moment's", "a sample", "interrupted"],
)
def test_what_is_counted_and_not_listed(monkeypatch, counted, wrong, sample, entries):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    host = TableHost(TABLE, count=counted, module=False)
    host.table.before_dump = lambda number: wrong
    host.table.policies = {DYING: [Entry().told() * 5, done()]}
    found = examine(host, asked(sample=sample), None)
    assert found["unlisted"]["entries"] == entries
    assert found["unlisted"]["dying"] == 5


@pytest.mark.parametrize("count", [None, 3])
def test_the_total_is_never_below_what_was_seen(count):
    host = TableHost(TABLE, count=5)
    host.values[COUNT] = count
    if count is None:
        del host.values[COUNT]
    assert examine(host, asked(sample=500), None)["total"] == 500


def test_several_groupings_in_their_order():
    found = examine(TableHost(TABLE), asked(group_by=["state", "destination_port + protocol"], top=1), None)
    assert [counted["group_by"] for counted in found["groupings"]] == ["state", "destination_port+protocol"]
    assert found["groupings"][1]["top"] == [
        {"destination_port": 443, "protocol": "tcp", "entries": 600, "share": 0.6, "margin": None}
    ]
    assert found["groupings"][1]["others"] == 1


def test_no_groupings():
    assert examine(TableHost(TABLE), asked(group_by=[]), None)["groupings"] == []


@pytest.mark.parametrize("wrong", ["interrupted", refused(errno.ENOBUFS), "resize"], ids=["told", "lost", "resized"])
@pytest.mark.parametrize(("times", "exact"), [(0, True), (1, True), (2, True), (3, False), (9, False)])
def test_what_is_interrupted_is_read_anew_twice(wrong, times, exact):
    host = TableHost(TABLE)

    def before(number):
        if number > times:
            return None
        if wrong == "resize":
            host.values[HASHSIZE] *= 2
            return None
        return wrong

    host.table.before_dump = before
    found = examine(host, asked(sample=0), None)
    assert (found["exact"], host.table.dumps) == (exact, min(times + 1, 3))
    if exact:
        assert (found["examined"], found["total"]) == (1000, 1000)
        assert found["groupings"][0]["top"][0]["entries"] == 600
        assert found["stale"]["entries"] == 700


def test_what_would_take_too_long_again_is_not_read_anew():
    host = TableHost(TABLE)
    host.table.before_dump = lambda number: refused(errno.ETIMEDOUT)
    found = examine(host, asked(sample=0), None)
    assert (found["exact"], host.table.dumps) == (False, 1)


def test_what_others_say_is_counted_over_all_attempts():
    host = TableHost(TABLE)
    host.table.before_dump = lambda number: "interrupted" if number == 1 else None
    host.table.forged = lambda dumps: 7 if dumps == 0 else 30
    found = examine(host, asked(sample=0), None)
    assert (found["exact"], found["total"], found["forged"]) == (True, 1000, 37)


def test_elsewhere_it_is_the_same():
    host = TableHost(TABLE, count=1000)
    host.texts["/var/run/netns/web"] = ""
    assert examine(host, asked(), "web") == examine(TableHost(TABLE, count=1000), asked(), None)
    assert host.entered == ["/var/run/netns/web"]


def test_nothing_is_opened_where_there_is_no_table():
    host = TableHost(TABLE, module=False, refused=AssertionError("that would load it"))
    host.values.clear()
    del host.texts["/sys/module/nf_conntrack"]
    found = examine(host, asked(), None)
    assert (found["source"], found["total"], found["examined"], found["exact"]) == (None, 0, 0, True)
    assert found["groupings"] == [{"group_by": "protocol", "top": [], "others": 0, "missed": 0}]
    assert found["stale"] == {"entries": 0, "share": 0.0, "margin": None, "timeouts": {}}


def test_without_the_right():
    host = TableHost(TABLE)
    host.table.refuse = errno.EPERM
    with pytest.raises(TableError, match="CAP_NET_ADMIN"):
        examine(host, asked(), None)


# Other names.


def sources(found):
    return [group["source"] for group in found["groupings"][0]["top"]]


def test_other_names_differ_from_run_to_run():
    options = {"anonymise": True, "group_by": ["source"]}
    first, second = (sources(examine(TableHost(TABLE), asked(**options), None)) for _run in range(2))
    assert len(first) == len(second) == 1
    assert first != second
    assert re.fullmatch("ipv4-[0-9a-f]{8,}", first[0])


def test_within_a_run_an_address_has_one_name():
    entries = [Entry(source="10.0.0.1", destination="10.0.0.2"), Entry(source="10.0.0.2", destination="10.0.0.1")]
    found = examine(
        TableHost(entries), asked(anonymise=True, group_by=["source", "destination", "source_network"]), None
    )
    by_source, by_destination, networks = found["groupings"]
    assert {group["source"] for group in by_source["top"]} == {group["destination"] for group in by_destination["top"]}
    assert networks["top"][0]["source_network"].endswith("/24")


# Options.


def test_options():
    wanted = asked(sample=0, prefix_lengths={"ipv6": "48"}, group_by=["source", "zone+mark"], timeouts={"udp": 5})
    assert wanted.sample is None
    assert wanted.groupings == [("source",), ("zone", "mark")]
    assert wanted.terms.prefix_lengths == {socket.AF_INET: 24, socket.AF_INET6: 48}
    assert wanted.terms.pseudonyms is None
    assert (wanted.timeouts["udp"], wanted.timeouts["tcp_established"]) == (5, 7440)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample": -1}, "sample: -1 will not do: expected a whole number of entries"),
        ({"top": 0}, "top: 0 will not do"),
        ({"top": 10001}, "top: 10001 will not do"),
        (
            {"prefix_lengths": {"ipv4": 33}},
            "prefix_lengths: 33 will not do: expected a whole number of bits from 0 to 32",
        ),
        ({"prefix_lengths": {"ipv6": 129}}, "prefix_lengths: 129 will not do"),
        ({"prefix_lengths": {"ip": 1}}, "prefix_lengths: 'ip' is neither ipv4 nor ipv6"),
        ({"group_by": ["sauce"]}, "group_by: 'sauce' has 'sauce', which is none of protocol, state"),
        ({"group_by": ["state", "source+"]}, "group_by: 'source+' has ''"),
        ({"timeouts": {"udp": 0}}, "timeouts: {'udp': 0} will not do: udp: 0: expected"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(TableError) as caught:
        asked(**options)
    assert said in str(caught.value)
