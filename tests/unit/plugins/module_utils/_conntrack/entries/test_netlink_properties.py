# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Whatever bytes come from the kernel: what a plain reader makes of them, counted, and never an exception."""

import json
import socket
import struct

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries import examine, expire, wanted
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import FIELDS, Census, Terms
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.listing import Listing
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.netlink import (
    Dump,
    Update,
    refusals,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    HEADER,
    SEQUENCE,
    TableHost,
    attribute,
    cut,
    done,
    golden_answers,
    golden_messages,
    golden_text,
    message,
    nested,
)
from ansible_collections.headroom.netfilter.tests.unit.reference import agree, told

MESSAGES, ANSWERS = golden_messages(), golden_answers()
LINES = (golden_text("table.proc") + golden_text("table.conntrack")).splitlines(True)
TERMS = Terms({socket.AF_INET: 24, socket.AF_INET6: 64})
GROUPINGS = [tuple(FIELDS), ("source_network",), ("timeout_class", "destination")]


def used(answers):
    """All that is done with what a dump tells; gives how many entries it had."""
    dump, census = Dump(SEQUENCE), Census(GROUPINGS, TERMS, {"tcp_established": 7440, "udp": 30})
    for layout, block in dump.blocks(answers):
        census.add(layout, block)
        if layout.copied:
            assert Update(layout, 1, 2).request(block, 0)
    counted = census.counted(dump.examined, dump.examined, 10000)
    for grouping in counted:
        assert sum(group.entries for group in grouping.groups) == dump.examined
        assert grouping.missed == 0
    assert sum(census.stale().values()) <= dump.examined
    return dump.examined


# Attributes made of attributes, with a wrong length now and then.
KINDS = st.one_of(st.integers(0, 31), st.integers(0, 0xFFFF))
SIZED = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
LEAVES = st.builds(attribute, KINDS, SIZED)
SPOILT = st.builds(
    lambda whole, length: struct.pack("=H", length) + whole[2:], LEAVES, st.one_of(st.integers(0, 40), st.just(0xFFFF))
)
TREES = st.recursive(
    st.one_of(LEAVES, LEAVES, SPOILT),
    lambda inner: st.builds(lambda kind, parts: nested(kind, *parts), st.integers(0, 8), st.lists(inner, max_size=4)),
    max_leaves=12,
)
# Those that tell what is needed, with others among them.
NAMES = st.builds(
    lambda sides, protocol, more, port: nested(
        1,
        nested(1, attribute(sides[0], bytes(sides[2])), attribute(sides[1], bytes(sides[2])), *more[:1]),
        nested(2, attribute(1, bytes([protocol])), attribute(3, struct.pack("!H", port)), *more[1:2]),
        *more[2:],
    ),
    st.sampled_from([(1, 2, 4), (3, 4, 16), (1, 4, 4)]),
    st.sampled_from([0, 1, 6, 17, 33, 47, 58, 132, 136, 255]),
    st.lists(TREES, max_size=3),
    st.integers(0, 65535),
)
MADE = st.builds(
    lambda parts, kind, family, sequence: message(b"".join(parts), kind, family=family, sequence=sequence),
    st.lists(st.one_of(NAMES, TREES), max_size=4),
    st.sampled_from([0x100] * 9 + [0x101, 1]),
    st.sampled_from([2, 2, 2, 10, 10, 0, 7]),
    st.sampled_from([SEQUENCE] * 9 + [0, 2, 0xFFFFFFFF]),
)
ENDS = st.builds(
    lambda kind, number, size, own: HEADER.pack(16 + size, kind, 0, own, 0) + struct.pack("=i", number)[:size],
    st.sampled_from([2, 3]),
    st.one_of(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-200, 200)),
    st.sampled_from([4, 4, 4, 0]),
    st.sampled_from([SEQUENCE, SEQUENCE, 0, 7]),
)


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes(answers):
    agree(answers)
    used(answers)
    for answer in answers:
        assert all(sequence >= 0 and 0 <= number < 4096 for sequence, number in refusals(answer))


@given(st.lists(st.lists(st.one_of(MADE, st.sampled_from(MESSAGES)), max_size=8).map(b"".join), max_size=4))
def test_any_attributes(answers):
    agree(answers)
    used(answers)


OPTIONS = {
    "limit": 0,
    "rate": 0,
    "most": 0,
    "under_policies": False,
    "match": None,
    "timeout_profile": "server",
    "timeouts": {},
}
WANTED = examine.read_options(
    dict(OPTIONS, sample=0, group_by=["state", "source+zone+mark"], top=9, prefix_lengths={}, anonymise=True)
)
ABSURD = st.lists(st.lists(st.one_of(MADE, ENDS, st.sampled_from(MESSAGES)), max_size=6).map(b"".join), max_size=4)


@given(ABSURD, st.lists(st.one_of(ENDS, st.binary(max_size=60)), max_size=3))
def test_whatever_is_said_there_is_a_result_or_a_reason(answers, refusals):
    """Of both modules, in whatever order entries, errors and ends come."""
    host = TableHost(answers=answers)
    host.texts["/proc/net/nf_conntrack"] = golden_text("table.proc")
    found = examine.examine(host, WANTED, None)
    assert json.loads(json.dumps(found)) == found
    assert found["examined"] <= found["total"]
    host = TableHost(answers=answers)
    # Of entries that nobody has, it may be told; no update is possible then.
    host.table.update = lambda request: None
    host.table.more_refusals = refusals
    for check in (True, False):
        try:
            found = expire.expire(host, wanted.read_options(OPTIONS), None, check)
        except TableError:
            continue
        assert json.loads(json.dumps(found)) == found


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 7)), min_size=1, max_size=8), st.integers(0, 35))
def test_bits_that_flip(flips, number):
    """In one message of those like it, so that it is met where all should be alike, too."""
    one = bytearray(MESSAGES[number])
    for place, bit in flips:
        one[place % len(one)] ^= 1 << bit
    for answers in ([MESSAGES[number] * 3 + bytes(one) + MESSAGES[number]], [bytes(one) * 3, bytes(one) * 2]):
        agree([MESSAGES[number] * 2] + answers + [done()])
        used([MESSAGES[number] * 2] + answers + [done()])


@given(st.integers(0, len(ANSWERS[0])))
def test_answers_that_are_cut_off(size):
    agree([ANSWERS[0][:size]] + ANSWERS[1:])
    used([ANSWERS[0][:size]] + ANSWERS[1:])


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 36), max_size=12).map(sorted), st.integers(1, 36))
def test_order_and_answers_do_not_matter(chance, bounds, most):
    messages = chance.sample(MESSAGES, 36)
    answers = [b"".join(messages[start:end]) for start, end in zip([0] + bounds, bounds + [36])]
    assert agree(answers + [done()]) == agree(ANSWERS)
    first = [entry for answer in answers for entry in cut(answer)][:most]
    dump = Dump(SEQUENCE, most)
    assert sum(len(block) // layout.length for layout, block in dump.blocks(answers + [done()])) == most
    assert dump.examined == most
    assert agree([b"".join(first)]) == told(answers + [done()], most)[0]


# The same of lines.


def listed(lines, most=None):
    listing, census = Listing(most), Census(GROUPINGS, TERMS, {"udp": 30})
    for layout, block in listing.blocks(lines):
        census.add(layout, block)
    for grouping in census.counted(listing.examined, listing.examined, 10000):
        assert sum(group.entries for group in grouping.groups) == listing.examined
    return listing


PIECES = [
    " ",
    "tcp",
    "6",
    "ipv4",
    "2",
    "src=",
    "dst=",
    "1.2.3.4",
    "::1",
    "[ASSURED]",
    "use=1",
    "dport=",
    "mark=",
    "zone=",
    "-1",
    "\0",
    "99999999999",
    "\u0665",
    "\udcff",
    "\n",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=24).map("".join)


@given(st.lists(TEXTS, max_size=5))
def test_any_lines(lines):
    listing = listed(lines)
    assert (listing.examined + listing.skipped, listing.done) == (len(lines), True)


@given(st.sampled_from(LINES), st.lists(st.tuples(st.integers(0, 400), TEXTS), min_size=1, max_size=3))
def test_lines_with_something_in_the_middle(line, insertions):
    for place, text in insertions:
        line = line[: place % len(line)] + text + line[place % len(line) + place % 7 :]
    listing = listed([line, LINES[0]])
    assert (listing.examined + listing.skipped, listing.examined >= 1) == (2, True)


@given(st.sampled_from(LINES), st.integers(0, 400))
def test_lines_that_are_cut_off(line, size):
    listing = listed([line[:size]])
    # The number of its uses is the last thing in a line.
    whole = size > line.index("use=") + len("use=")
    assert (listing.examined, listing.skipped) == (int(whole), int(not whole))


@given(st.randoms(use_true_random=False), st.integers(1, 72))
def test_no_more_lines_than_wanted(chance, most):
    lines = chance.sample(LINES, 72)
    listing = listed(lines, most)
    assert (listing.examined, listing.skipped, listing.done) == (most, 0, most == 72)
    assert listed(lines, 73).done is True
