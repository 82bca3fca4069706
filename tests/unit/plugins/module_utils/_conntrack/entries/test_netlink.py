# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Messages of ctnetlink, against a plain reader of them and against what a kernel said."""

import errno
import random
import socket
import struct
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.netlink import (
    Dump,
    Update,
    dump_request,
    layout_of,
    refusals,
)
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    BODY,
    GRE,
    HEADER,
    ICMP,
    INTERRUPTED,
    MULTI,
    NEW,
    SCTP,
    SEQUENCE,
    TCP,
    UDP,
    Entry,
    attribute,
    done,
    golden_answers,
    golden_messages,
    message,
    nested,
    plainly,
    refusal,
    walked,
)
from ansible_collections.headroom.netfilter.tests.unit.reference import agree, told


def parts_of(told_message):
    ((found, _count),) = told([told_message])[0].items()
    return dict(found)


def spoilt(*body):
    return message(b"".join(body))


ADDRESSES = nested(1, attribute(1, b"\x0a\0\0\1"), attribute(2, b"\x0a\0\0\2"))
PORTS = nested(2, attribute(1, b"\x06"), attribute(2, b"\0\1"), attribute(3, b"\0\2"))
NAME = nested(1, ADDRESSES, PORTS)


# What is told.


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        (
            Entry(TCP, left=5, state=7, mark=9),
            {"protocol": 6, "state": 7, "left": 5, "mark": 9, "destination_port": 443},
        ),
        (Entry(UDP, ports=(1, 53)), {"protocol": 17, "source_port": 1, "destination_port": 53}),
        (Entry(SCTP, state=4), {"protocol": 132, "state": 4, "destination_port": 443}),
        (Entry(UDP, zone=3), {"zone": 3}),
        (Entry(UDP, from_zone=258), {"zone": 258}),
        (Entry(UDP, source="2001:db8::1", destination="::2"), {"source": b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"}),
        (Entry(UDP, source="10.0.0.1", destination="1.2.3.4"), {"source": b"\x0a\0\0\1", "destination": b"\1\2\3\4"}),
        (Entry(UDP, status=0x80000001), {"status": 0x80000001}),
        (Entry(255), {"protocol": 255}),
        (Entry(0), {"protocol": 0}),
    ],
    ids=["tcp", "udp", "sctp", "zone", "zone of one side", "ipv6", "addresses", "status", "255", "0"],
)
def test_parts(entry, parts):
    found = parts_of(entry.told())
    assert {name: found[name] for name in parts} == parts
    agree([entry.told()])


@pytest.mark.parametrize("protocol", [ICMP, GRE, 50])
def test_what_has_no_ports_tells_none(protocol):
    found = parts_of(Entry(protocol, ports=(1, 2)).told())
    assert not [name for name in found if name.endswith("port")]


def test_what_is_not_told_is_not_there():
    assert set(parts_of(spoilt(NAME))) == {"protocol", "source", "destination", "source_port", "destination_port"}


def test_addresses_are_cut_as_wanted():
    layout = layout_of(Entry(UDP, source="2001:db8::1", destination="::2").told())
    reader, names = layout.reader({"destination_port": None, "source": 3})
    ((values),) = reader.iter_unpack(Entry(UDP, source="2001:db8::1", destination="::2").told())
    assert dict(zip(names, values)) == {"source": b"\x20\x01\x0d", "destination_port": 443}
    assert layout.reader({"source": 99})[0].size == layout.length
    assert layout.reader({"state": None})[1] == ()


# A dump.


def test_the_golden_dump():
    found = agree(golden_answers())
    assert sum(found.values()) == 36
    _found, dump = told(golden_answers())
    assert (dump.skipped, dump.unknown, dump.interrupted, dump.error, dump.done) == (0, 0, False, 0, True)


def test_every_golden_message_is_a_layout_that_has_only_those_of_its_kind():
    """One kind's layout never takes the records of another."""
    messages = golden_messages()
    for one in messages:
        layout = layout_of(one)
        assert layout.fits(one)
        for other in messages:
            if layout.fits(other):
                assert [kind for kind, _value in walked(other[BODY:])] == [kind for kind, _value in walked(one[BODY:])]
                assert plainly(other)["protocol"] == layout.protocol


@pytest.mark.parametrize("seed", range(8))
def test_order_and_answers_do_not_matter(seed):
    chance = random.Random(seed)
    messages = golden_messages() * 40
    chance.shuffle(messages)
    answers = []
    while messages:
        size = chance.choice([1, 1, 2, 3, 50, 700])
        answers.append(b"".join(messages[:size]))
        messages = messages[size:]
    found = agree(answers + [done()])
    once = told(golden_answers())[0]
    assert found == {entry: 40 * count for entry, count in once.items()}


def test_an_answer_of_one_kind_is_one_block():
    """Which makes it fast: the records of the second answer are not touched one by one."""
    answer = b"".join(Entry(UDP, ports=(port, 53)).told() for port in range(1000))
    sizes = [len(block) // layout.length for layout, block in Dump(SEQUENCE).blocks([answer, answer, answer, done()])]
    assert sizes == [1000, 1000, 1000]


@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
@pytest.mark.parametrize(
    "odd",
    [
        Entry(TCP, state=7, ports=(1, 2)).told()[:-8] + attribute(30, b"abcd"),
        Entry(SCTP, state=7, ports=(1, 2)).told(),
        Entry(TCP, state=7, ports=(1, 2)).told(MULTI | INTERRUPTED),
        Entry(TCP, source="::1", destination="::2").told(),
        Entry(TCP, zone=3).told(),
    ],
    ids=["another attribute", "another protocol", "other flags", "longer", "zone"],
)
def test_one_that_is_unlike_the_others_of_an_answer(odd, place):
    alike = [Entry(TCP, ports=(port, 443), state=port % 9).told() for port in range(999)]
    answers = [b"".join(alike), b"".join(alike[:place] + [odd] + alike[place:]), b"".join(alike), done()]
    agree(answers)
    assert told(answers)[1].interrupted is bool(HEADER.unpack_from(odd)[2] & INTERRUPTED)


def test_an_interruption_is_told_though_all_of_an_answer_are_alike():
    fine = b"".join(Entry(UDP, ports=(port, 53)).told() for port in range(100))
    since = b"".join(Entry(UDP, ports=(port, 53)).told(MULTI | INTERRUPTED) for port in range(100))
    assert told([fine, fine, done()])[1].interrupted is False
    assert told([fine, since, done()])[1].interrupted is True


@pytest.mark.parametrize("most", [1, 35, 36, 511, 512, 513, 1199, 1200, 1201])
@pytest.mark.parametrize("mixed", [False, True], ids=["alike", "mixed"])
def test_no_more_than_wanted(most, mixed):
    entries = [Entry(TCP if mixed and port % 3 else UDP, ports=(port, 53)).told() for port in range(1200)]
    answers = [b"".join(entries[at : at + 150]) for at in range(0, 1200, 150)]
    found, dump = told(answers + [done()], most)
    assert dump.examined == sum(found.values()) == min(most, 1200)
    assert dump.done is (most > 1200)
    ports = sorted(dict(entry)["source_port"] for entry in found)
    assert ports == list(range(min(most, 1200)))


def test_no_answer_is_asked_for_beyond_what_is_wanted():
    def answers():
        yield b"".join(Entry(UDP, ports=(port, 53)).told() for port in range(20))
        raise AssertionError("more was asked for")

    assert told(answers(), 20)[1].examined == 20


def test_nothing_is_asked_for_after_the_end():
    def answers():
        yield Entry().told() + done()
        raise AssertionError("more was asked for")

    found, dump = told(answers())
    assert (sum(found.values()), dump.done, dump.error) == (1, True, 0)


@pytest.mark.parametrize("last", [done(errno.ENOMEM), refusal(errno.ENOMEM)], ids=["done", "error"])
def test_errors_of_the_kernel(last):
    dump = told([Entry().told(), last])[1]
    assert (dump.examined, dump.error, dump.done) == (1, errno.ENOMEM, True)


def test_many_layouts():
    """More than are remembered, and the same sums."""
    entries = [
        Entry(UDP, ports=(1, size), extra=attribute(40 + number, bytes(size)))
        for size in range(0, 200, 4)
        for number in range(40)
    ]
    answers = [b"".join(entry.told() for entry in entries[start::7]) for start in range(7)]
    found = agree(answers * 2 + [done()])
    assert sum(found.values()) == 2 * 50 * 40
    assert told(answers)[1].unknown == 50 * 40


@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_lengths_that_are_no_multiple_of_four(pad):
    """No attribute of today ends a message so; the next one begins at a multiple of four nevertheless."""
    body = NAME + struct.pack("=HH", 5, 19) + b"x"
    whole = message(body)
    assert len(whole) % 4 == 1
    agree([whole + bytes(3) + whole + bytes(3) + Entry().told(), whole + bytes(pad), done()])


# What cannot be read.

MALFORMED = {
    "no attributes": spoilt(),
    "no body": HEADER.pack(16, NEW, MULTI, SEQUENCE, 0),
    "a part of its body": HEADER.pack(18, NEW, MULTI, SEQUENCE, 0) + bytes(4),
    "no protocol": spoilt(nested(1, ADDRESSES)),
    "no addresses": spoilt(nested(1, PORTS)),
    "no source": spoilt(nested(1, nested(1, attribute(2, bytes(4))), PORTS)),
    "no destination": spoilt(nested(1, nested(1, attribute(1, bytes(4))), PORTS)),
    "a short address": spoilt(nested(1, nested(1, attribute(1, bytes(3)), attribute(2, bytes(4))), PORTS)),
    "a long address": spoilt(nested(1, nested(1, attribute(1, bytes(16)), attribute(2, bytes(4))), PORTS)),
    "an address of another family": message(NAME, family=socket.AF_INET6),
    "addresses of two families": spoilt(nested(1, nested(1, attribute(1, bytes(4)), attribute(4, bytes(16))), PORTS)),
    "an unknown family": message(NAME, family=7),
    "a short status": spoilt(NAME, attribute(3, bytes(3))),
    "a long timeout": spoilt(NAME, attribute(7, bytes(8))),
    "a long mark": spoilt(NAME, attribute(8, bytes(5))),
    "a long zone": spoilt(NAME, attribute(18, bytes(4))),
    "a long zone of one side": spoilt(nested(1, ADDRESSES, PORTS, attribute(3, bytes(4)))),
    "a long port": spoilt(nested(1, ADDRESSES, nested(2, attribute(1, b"\x06"), attribute(3, bytes(4))))),
    "a long state": spoilt(NAME, nested(4, nested(1, attribute(1, bytes(2))))),
    "a long protocol": spoilt(nested(1, ADDRESSES, nested(2, attribute(1, bytes(2))))),
    "an attribute shorter than its head": spoilt(NAME, struct.pack("=HH", 3, 3)),
    "an attribute of no length": spoilt(NAME, struct.pack("=HH", 0, 3)),
    "an attribute beyond its message": spoilt(NAME, struct.pack("=HH", 9, 3) + bytes(4)),
    "an attribute beyond what holds it": spoilt(nested(1, ADDRESSES, PORTS, struct.pack("=HH", 12, 9)), bytes(64)),
    "a head that is cut off": spoilt(NAME, b"\4\0"),
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
def test_malformed_entries_are_skipped_and_counted(bad):
    bad += bytes(-len(bad) % 4)
    good = [Entry(ports=(port, 443)).told() for port in range(5)]
    answers = [b"".join(good + [bad] + good), bad, b"".join(good), done()]
    found = agree(answers)
    assert sum(found.values()) == 15
    dump = told(answers)[1]
    assert (dump.examined, dump.skipped, dump.done) == (15, 2, True)


@pytest.mark.parametrize(
    "tail", [b"\0", bytes(15), bytes(16), HEADER.pack(15, NEW, 0, 1, 0), HEADER.pack(999, NEW, 0, 1, 0)]
)
def test_an_answer_that_is_cut_off(tail):
    answers = [Entry().told() + tail, Entry().told(), done()]
    agree(answers)
    dump = told(answers)[1]
    assert (dump.examined, dump.skipped, dump.done) == (2, 1, True)


@pytest.mark.parametrize("kind", [0, 1, 0x101, 0x102, 0x200, 0xA00])
def test_other_messages_are_skipped_and_counted(kind):
    answers = [Entry().told() + message(NAME, kind) + Entry().told(), done()]
    agree(answers)
    assert told(answers)[1].skipped == 1


@pytest.mark.parametrize("sequence", [0, 2, 1 << 31, 0xFFFFFFFF])
@pytest.mark.parametrize("alike", [1, 500], ids=["one by one", "as a block"])
def test_what_answers_something_else_is_counted_and_moves_nothing(sequence, alike):
    foreign = [
        Entry(UDP, ports=(1, 53)).told(MULTI | INTERRUPTED, sequence) * alike,
        done(sequence=sequence),
        done(errno.EPERM, sequence),
        refusal(errno.EPERM, sequence),
        message(NAME, 0x101, sequence=sequence),
        Entry(extra=attribute(1000, b"new")).told(sequence=sequence),
    ]
    own = Entry(UDP, ports=(2, 53)).told()
    answers = [own * alike] + [part + own + part for part in foreign] + foreign + [own * alike, done()]
    found = agree(answers)
    assert sum(found.values()) == 2 * alike + len(foreign)
    dump = told(answers)[1]
    assert dump.forged == 3 * (alike + len(foreign) - 1)
    assert (dump.skipped, dump.unknown, dump.interrupted, dump.error, dump.done) == (0, 0, False, 0, True)
    # Nor do they count as looked at in a sample.
    assert told(answers, alike + 3)[1].examined == alike + 3


def test_unknown_attributes_are_counted():
    odd = Entry(extra=attribute(28, b"new") + attribute(1000, b"newer")).told()
    dump = told([odd * 3, odd * 2, Entry(extra=attribute(27, bytes(8))).told(), done()])[1]
    assert (dump.examined, dump.skipped, dump.unknown) == (6, 0, 10)


def test_of_what_is_there_twice_the_last_counts():
    twice = spoilt(NAME, attribute(7, b"\0\0\0\1"), attribute(7, b"\0\0\0\2"))
    assert parts_of(twice)["left"] == 2
    agree([twice])


@pytest.mark.parametrize("seed", range(40))
def test_bytes_that_are_not_what_the_kernel_said(seed):
    """On every Python; test_netlink_properties.py goes further where hypothesis is."""
    chance = random.Random(seed)
    answers = []
    for answer in [*golden_answers()[:2], b"".join(golden_messages()[:1] * 9)] * 2:
        spoiled = bytearray(answer)
        for _change in range(chance.randrange(9)):
            spoiled[chance.randrange(len(spoiled))] = chance.choice([0, 1, 4, 255, chance.randrange(256)])
        answers.append(bytes(spoiled[: chance.choice([len(spoiled), chance.randrange(len(spoiled))])]))
    agree(answers)


def test_an_empty_answer():
    assert told([b"", Entry().told(), b"", done()])[1].examined == 1


# Requests.


def test_the_request_for_a_dump():
    assert dump_request(7) == struct.pack("=IHHII", 20, 0x101, 0x301, 7, 0) + bytes(4)


@pytest.mark.parametrize("number", range(36))
def test_an_update_names_the_entry_as_the_kernel_does_and_its_time(number):
    one = golden_messages()[number]
    request = Update(layout_of(one), 7440, 5).request(b"x" * 8 + one + b"y" * 8, 8)
    assert HEADER.unpack_from(request) == (len(request), NEW, 1, 5, 0)
    assert request[16:20] == bytes([one[16], 0, 0, 0])
    naming = [(kind, value) for kind, value in walked(one[BODY:]) if kind in (1, 18)]
    assert walked(request[BODY:]) == naming + [(7, struct.pack("!I", 7440))]
    assert Update(layout_of(one), 7440, 5).sequence == 5


def test_refusals():
    answer = refusal(errno.ENOENT, 3) + refusal(errno.EBUSY, 0) + refusal(0, 9)
    assert list(refusals(answer)) == [(3, errno.ENOENT), (0, errno.EBUSY), (9, 0)]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"", []),
        (bytes(15), []),
        (bytes(16), []),
        (refusal(2, 3) + b"\1", [(3, 2)]),
        (done() + refusal(2, 3), [(3, 2)]),
        (HEADER.pack(16, 2, 0, 4, 0), [(4, 0)]),
    ],
    ids=["empty", "cut off", "no length", "a tail", "another kind", "no number"],
)
def test_refusals_that_are_cut_off(answer, found):
    assert list(refusals(answer)) == found


@pytest.mark.parametrize(("prompt", "first"), [(True, 2), (False, 5)], ids=["prompt", "at leisure"])
def test_what_is_to_be_updated_does_not_wait_long(monkeypatch, prompt, first):
    """Of two layouts there is too little for a block; the clock goes on by a third of a second with each answer."""
    now = iter(number / 3 for number in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    answers = [Entry(UDP).told() + Entry(TCP, left=5, state=7).told()] * 4 + [done()]
    given = iter(answers)
    next(Dump(SEQUENCE, prompt=prompt).blocks(given))
    assert len(answers) - len(list(given)) == first


@pytest.mark.parametrize(("prompt", "answered"), [(True, 3), (False, 9)], ids=["prompt", "at leisure"])
def test_nor_does_it_wait_for_answers_that_are_all_of_another_layout(monkeypatch, prompt, answered):
    now = iter(number / 5 for number in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    alike = Entry(UDP).told() * 200
    answers = [alike, Entry(UDP).told() + Entry(TCP, left=5, state=7).told(), *[alike] * 6, done()]
    given = iter(answers)
    next(layout for layout, _block in Dump(SEQUENCE, prompt=prompt).blocks(given) if layout.protocol == TCP)
    assert len(answers) - len(list(given)) == answered
