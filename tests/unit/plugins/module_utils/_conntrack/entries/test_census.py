# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Counting: bounds where groups are dropped, margins of samples, networks, other names."""

import random
import socket
from collections import Counter

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import (
    Census,
    Terms,
    reckoned,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.netlink import Dump
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    CLOSE_WAIT,
    FIXED_TIMEOUT,
    HW_OFFLOAD,
    ICMP,
    OFFLOAD,
    SEEN_REPLY,
    SEQUENCE,
    TCP,
    UDP,
    Entry,
    done,
)

TERMS = Terms({socket.AF_INET: 24, socket.AF_INET6: 64})


def censused(entries, groupings, terms=TERMS, timeouts=None, most=None, answer=100):
    census = Census(groupings, terms, timeouts or {})
    if most is not None:
        census.most = most
    told = [entry.told() for entry in entries]
    answers = [b"".join(told[at : at + answer]) for at in range(0, len(told), answer)]
    for layout, block in Dump(SEQUENCE).blocks(answers + [done()]):
        census.add(layout, block)
    return census


def groups(entries, field, terms=TERMS):
    (counted,) = censused(entries, [(field,)], terms).counted(len(entries), len(entries), 10**6)
    return {group.values[0]: group.entries for group in counted.groups}


# Networks.


@pytest.mark.parametrize(
    ("length", "network"),
    [
        (0, "0.0.0.0/0"),
        (1, "128.0.0.0/1"),
        (7, "202.0.0.0/7"),
        (8, "203.0.0.0/8"),
        (17, "203.0.128.0/17"),
        (19, "203.0.192.0/19"),
        (24, "203.0.217.0/24"),
        (25, "203.0.217.128/25"),
        (31, "203.0.217.214/31"),
        (32, "203.0.217.215/32"),
    ],
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_networks(length, network, side):
    terms = Terms({socket.AF_INET: length, socket.AF_INET6: 64})
    entries = [Entry(**{side: "203.0.217.215"}), Entry(ICMP, **{side: "203.0.217.215"})]
    assert groups(entries, side + "_network", terms) == {network: 2}


@pytest.mark.parametrize(
    ("length", "network"),
    [
        (0, "::/0"),
        (3, "2000::/3"),
        (33, "2001:db8:8000::/33"),
        (61, "2001:db8:ffff:fff8::/61"),
        (64, "2001:db8:ffff:ffff::/64"),
        (127, "2001:db8:ffff:ffff::fe/127"),
        (128, "2001:db8:ffff:ffff::ff/128"),
    ],
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_networks_of_ipv6(length, network, side):
    terms = Terms({socket.AF_INET: 24, socket.AF_INET6: length})
    sides = dict({"source": "::5", "destination": "::6"}, **{side: "2001:db8:ffff:ffff::ff"})
    assert groups([Entry(**sides), Entry(UDP, **sides)], side + "_network", terms) == {network: 2}


@pytest.mark.parametrize("grouping", [("source", "source_network"), ("source_network", "source")])
def test_an_address_and_its_network_together(grouping):
    census = censused([Entry(source="10.1.2.3"), Entry(source="10.1.2.4")], [grouping])
    (counted,) = census.counted(2, 2, 9)
    told = {frozenset(zip(grouping, group.values)) for group in counted.groups}
    assert told == {
        frozenset({"source": "10.1.2.{0}".format(last), "source_network": "10.1.2.0/24"}.items()) for last in (3, 4)
    }


def test_what_an_entry_does_not_have():
    entries = [Entry(ICMP), Entry(UDP, mark=5), Entry(UDP, zone=4)]
    assert groups(entries, "destination_port") == {None: 1, 443: 2}
    assert groups(entries, "mark") == {0: 2, 5: 1}
    assert groups(entries, "zone") == {0: 2, 4: 1}


def test_the_same_of_different_layouts_is_one_group():
    entries = [Entry(TCP), Entry(TCP, mark=0), Entry(TCP, zone=0), Entry(TCP, extra=bytes.fromhex("0800090000000000"))]
    assert groups(entries, "mark") == {0: 4}
    assert groups(entries, "source") == {"10.0.0.1": 4}


# Other names.


def test_other_names_are_the_same_for_the_same_address():
    terms = TERMS._replace(pseudonyms=b"k" * 16)
    entries = [Entry(source="10.1.2.3", destination="10.1.2.4"), Entry(source="10.1.2.4", destination="10.1.2.3")]
    sources, destinations = groups(entries, "source", terms), groups(entries, "destination", terms)
    assert sources == destinations
    assert len(sources) == 2
    assert not any("10.1." in name for name in sources)
    assert all(name.startswith("ipv4-") for name in sources)


def test_other_names_are_others_with_another_key():
    entries = [Entry(source="10.0.{0}.1".format(number)) for number in range(100)]
    first, second = (set(groups(entries, "source", TERMS._replace(pseudonyms=key))) for key in (b"a" * 16, b"b" * 16))
    assert len(first) == len(second) == 100
    assert not first & second


@pytest.mark.parametrize(("v4", "v6"), [(24, 64), (32, 128), (0, 0)])
def test_a_network_never_has_the_name_of_an_address(v4, v6):
    terms = Terms({socket.AF_INET: v4, socket.AF_INET6: v6}, b"k" * 16)
    entries = [Entry(source="10.0.0.0"), Entry(source="10.0.0.1"), Entry(source="2001:db8::", destination="::1")]
    assert not set(groups(entries, "source", terms)) & set(groups(entries, "source_network", terms))
    assert {name.rpartition("/")[2] for name in groups(entries, "source_network", terms)} == {str(v4), str(v6)}


def test_networks_have_other_names_too():
    terms = TERMS._replace(pseudonyms=b"k" * 16)
    entries = [Entry(source="10.0.0.1"), Entry(source="10.0.0.2"), Entry(source="10.0.1.1")]
    found = groups(entries, "source_network", terms)
    assert sorted(found.values()) == [1, 2]
    assert not any("10.0." in name for name in found)


# Dropped groups.


def crowd(seed, size):
    """Some sources with many entries, and very many with one or two."""
    chance = random.Random(seed)
    sources = [
        chance.choice(
            ["10.0.0.%d" % (chance.random() ** 3 * 40), "10.1.%d.%d" % (chance.randrange(16), chance.randrange(256))]
        )
        for _number in range(size)
    ]
    return [Entry(chance.choice([TCP, UDP, UDP]), source=source) for source in sources]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [1, 7, 60, 500])
def test_counts_stay_within_what_is_told(seed, most):
    entries = crowd(seed, 3000)
    true = Counter(entry.source for entry in entries)
    census = censused(entries, [("source",), ("protocol",)], most=most)
    sources, protocols = census.counted(3000, 3000, 10**6)
    assert len(sources.groups) <= most
    assert 0 < sources.missed < 3000
    for group in sources.groups:
        assert true[group.values[0]] - sources.missed <= group.entries <= true[group.values[0]]
    # Whoever is not among them has no more than was missed.
    kept = {group.values[0] for group in sources.groups}
    assert all(count <= sources.missed for source, count in true.items() if source not in kept)
    if most >= 7:
        assert {group.values[0]: group.entries for group in protocols.groups} == Counter(
            {TCP: "tcp", UDP: "udp"}[entry.protocol] for entry in entries
        )
        assert protocols.missed == 0


def test_nothing_is_dropped_as_long_as_there_is_room():
    entries = crowd(9, 1000)
    true = Counter(entry.source for entry in entries)
    (counted,) = censused(entries, [("source",)], most=len(true)).counted(1000, 1000, 10**6)
    assert ({group.values[0]: group.entries for group in counted.groups}, counted.missed) == (true, 0)


def test_memory_has_a_bound():
    census = Census([("source",), ("destination",)], TERMS, {})
    census.most = 50
    dump = Dump(SEQUENCE)
    for layout, block in dump.blocks([entry.told() for entry in crowd(1, 2000)] + [done()]):
        census.add(layout, block[: layout.length])
        for start in range(layout.length, len(block), layout.length):
            census.add(layout, block[start : start + layout.length])
            held = sum(len(common) for tally in census._tallies.values() for common in tally.common)
            assert held + sum(map(len, census._folded)) <= 50 * 2 * 3


def test_the_largest_come_first_and_the_others_are_counted():
    entries = [Entry(ports=(number, port)) for port, size in [(1, 3), (2, 5), (3, 3), (4, 1)] for number in range(size)]
    (counted,) = censused(entries, [("destination_port",)]).counted(12, 12, 3)
    assert [(group.values, group.entries) for group in counted.groups] == [((2,), 5), ((1,), 3), ((3,), 3)]
    assert counted.others == 1
    (counted,) = censused(entries, [("destination_port",)]).counted(12, 12, 9)
    assert (len(counted.groups), counted.others) == (4, 0)


# What is stale.


@pytest.mark.parametrize(
    ("entry", "stale"),
    [
        (Entry(left=301), {"tcp_established": 1}),
        (Entry(left=300), {}),
        (Entry(left=299), {}),
        (Entry(left=432000, state=CLOSE_WAIT), {}),
        (Entry(left=301, status=FIXED_TIMEOUT), {}),
        (Entry(left=301, status=OFFLOAD), {}),
        (Entry(left=301, status=HW_OFFLOAD), {}),
        (Entry(UDP, left=31, status=0), {"udp": 1}),
        (Entry(UDP, left=31, status=SEEN_REPLY), {}),
        (Entry(50, left=99), {}),
        (Entry(left=0xFFFFFFFF), {"tcp_established": 1}),
    ],
    ids=[
        "more",
        "equal",
        "less",
        "no timeout of its state",
        "fixed",
        "offload",
        "hw_offload",
        "udp",
        "stream",
        "generic",
        "largest",
    ],
)
def test_stale(entry, stale):
    timeouts = {"tcp_established": 300, "udp": 30, "udp_stream": 120, "generic": 100}
    assert censused([entry], [], timeouts=timeouts).stale() == stale


def test_stale_entries_of_several_layouts_are_added_up():
    entries = [
        Entry(left=9),
        Entry(left=9, zone=1),
        Entry(left=1),
        Entry(UDP, left=9, status=0),
        Entry(left=9, source="::1", destination="::2"),
    ]
    assert censused(entries, [], timeouts={"tcp_established": 8, "udp": 8}).stale() == {"tcp_established": 3, "udp": 1}


# Margins.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 0, 0), (0, 0.0, None)),
        ((0, 0, 100), (0, 0.0, None)),
        ((3, 4, 4), (3, 0.75, None)),
        ((3, 4, 2), (3, 0.75, None)),
        ((1, 3, 3), (1, 0.333333, None)),
    ],
)
def test_nothing_is_reckoned_where_all_were_counted(arguments, expected):
    assert reckoned(*arguments) == expected


def test_numbers_are_brought_up_to_the_table():
    assert reckoned(500, 2000, 1000000)[:2] == (250000, 0.25)


@pytest.mark.parametrize(
    ("count", "deviations"),
    # Both sides of a normal distribution together, beyond it: a twentieth of the share.
    [(10000, 2.24), (1000, 3.02), (200, 3.48), (40, 3.89)],
    ids=["half", "a twentieth", "a hundredth", "one of 500"],
)
def test_a_margin_is_as_wide_as_it_must_be_and_hardly_wider(count, deviations):
    _entries, share, margin = reckoned(count, 20000, 100000000)
    deviation = (share * (1 - share) / 20000) ** 0.5
    assert deviations < margin / deviation < 1.25 * deviations


def test_the_margin_of_nothing_at_all_is_not_nothing():
    for count in (0, 2000):
        assert 0.001 < reckoned(count, 2000, 1000000)[2] < 0.008


def test_a_sample_of_nearly_all_has_hardly_a_margin():
    assert reckoned(500, 1999, 2000)[2] < reckoned(500, 1000, 2000)[2] < reckoned(500, 1000, 20000)[2]
    assert reckoned(500, 1999, 2000)[2] < 0.002


def test_what_was_dropped_may_belong_to_any_group():
    whole, dropped = reckoned(40, 20000, 1000000), reckoned(40, 20000, 1000000, missed=1000)
    assert whole[:2] == dropped[:2]
    assert dropped[2] > whole[2] + 1000 / 20000


def test_a_group_has_the_margin_of_what_it_may_have_lost():
    entries = crowd(1, 3000)
    true = Counter(entry.source for entry in entries)
    (counted,) = censused(entries[:1500], [("source",)], most=60).counted(1500, 3000, 10**6)
    assert counted.missed > 0
    for group in counted.groups:
        assert group.margin > counted.missed / 1500
        assert abs(group.share - true[group.values[0]] / 3000) <= group.margin


SHAPES = {
    "one": [20000],
    "two alike": [10000] * 2,
    "two": [18000, 2000],
    "one and crumbs": [19000] + [1] * 1000,
    "twenty alike": [1000] * 20,
    "500 alike": [40] * 500,
    "all alone": [1] * 20000,
    "Zipf": [4000 // rank for rank in range(1, 101)] + [1] * 300,
}


@pytest.mark.on_one_python
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("examined", [300, 2000, 10000])
def test_margins_of_the_rows_told_hold_all_at_once_as_often_as_they_say(sizes, examined):
    """Against samples without putting back: 95 of 100 are promised, whatever rows are told."""
    chance = random.Random("{0}/{1}".format(examined, sizes))
    entries = [group for group, size in enumerate(sizes) for _entry in range(size)]
    margins = {}
    runs, inside = 200, Counter()
    for _run in range(runs):
        rows = Counter(chance.sample(entries, examined)).most_common()
        for _group, met in rows:
            if met not in margins:
                margins[met] = reckoned(met, examined, len(entries))[1:]
        holds = [abs(margins[met][0] - sizes[group] / len(entries)) <= margins[met][1] for group, met in rows]
        for top in (1, 10, len(entries)):
            inside[top] += all(holds[:top])
    # What is promised would be fewer once in a hundred thousand times.
    assert all(count >= 0.875 * runs for count in inside.values()), inside
