# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Shortening what entries have left, in a table that obeys as the kernel does."""

import errno
import random
import socket
import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.expire import expire
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.look import BATCH
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.wanted import read_options
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    ASSURED,
    CLOSE_WAIT,
    CT_TIMEOUTS,
    ESP,
    FIXED_TIMEOUT,
    HW_OFFLOAD,
    ICMP,
    NFT_OBJECTS,
    OFFLOAD,
    SCTP,
    SEEN_REPLY,
    TCP,
    TIME_WAIT,
    UDP,
    Entry,
    TableHost,
    done,
    golden_answers,
    golden_text,
    policy,
    refusal,
    refused,
)
from ansible_collections.headroom.netfilter.tests.unit.fakes import ESTABLISHED, HASHSIZE, SYSCTL, TIMEOUTS

OPTIONS = {
    "timeouts": {},
    "timeout_profile": None,
    "match": None,
    "limit": 0,
    "rate": 0,
    "most": 0,
    "under_policies": False,
}
TEN_MINUTES = {"tcp_established": 600}


def run(host, check=False, namespace=None, **options):
    found = expire(host, read_options(dict(OPTIONS, **options)), namespace, check)
    assert host.table.open == 0
    if check:
        assert (host.table.batches, host.table.updated) == ([], [])
    return found


def flows(count, left=432000, **more):
    return [Entry(ports=(port, 443), left=left, **more) for port in range(count)]


class Clock:
    """Time passes by sleeping alone."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: found.now)
    monkeypatch.setattr(time, "sleep", found.sleep)
    return found


# What is shortened.


def test_shortened():
    host = TableHost(flows(1000) + flows(3, left=600, zone=1) + flows(2, left=9, zone=2))
    found = run(host, timeouts=TEN_MINUTES)
    assert [entry.left for entry in host.table.entries] == [600] * 1003 + [9] * 2
    assert len(host.table.updated) == len(set(host.table.updated)) == 1000
    assert found == {
        "source": "ctnetlink",
        "complete": True,
        "examined": 1005,
        "shortened": 1000,
        "spared": 0,
        "gone": 0,
        "busy": 0,
        "corrected": 0,
        "forged": 0,
        "states": [
            {
                "protocol": "tcp",
                "state": "ESTABLISHED",
                "timeout_class": "tcp_established",
                "timeout": 600,
                "examined": 1005,
                "shortened": 1000,
                "spared": 0,
            }
        ],
    }


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"timeouts": TEN_MINUTES, "match": {"state": ["ESTABLISHED"]}}, (600, 9000)),
        ({"timeouts": TEN_MINUTES, "match": {"state": ["ESTABLISHED_UNREPLIED"]}}, (9000, 600)),
        ({"timeouts": TEN_MINUTES}, (600, 600)),
        ({"timeouts": {"tcp_unacknowledged": 70}}, (9000, 70)),
        ({"timeout_profile": "server"}, (7440, 300)),
        ({"timeout_profile": "server", "timeouts": {"tcp_established": 60}}, (60, 60)),
    ],
)
def test_what_was_picked_up_and_not_answered_is_a_kind_of_its_own(options, left):
    host = TableHost([Entry(left=9000), Entry(left=9000, ports=(1, 1), status=ASSURED)])
    run(host, **options)
    assert tuple(entry.left for entry in host.table.entries) == left


def test_the_second_time_shortens_nothing():
    host = TableHost(flows(300))
    assert run(host, timeouts=TEN_MINUTES)["shortened"] == 300
    assert run(host, timeouts=TEN_MINUTES)["shortened"] == 0
    assert len(host.table.updated) == 300


@pytest.mark.parametrize("zone", [None, 0, 7])
def test_those_of_the_same_name_in_other_zones_stay(zone):
    host = TableHost([Entry(left=9000, zone=zone), Entry(left=10, zone=5), Entry(left=20, from_zone=5)])
    run(host, timeouts=TEN_MINUTES)
    assert [entry.left for entry in host.table.entries] == [600, 10, 20]


MIXED = [
    Entry(left=9000, ports=(1, 443)),
    Entry(left=9000, ports=(2, 80), source="10.2.0.1", mark=4),
    Entry(left=9000, ports=(3, 22), source="2001:db8::1", destination="2001:db8:1::1"),
    Entry(left=9000, ports=(4, 443), state=CLOSE_WAIT, destination="192.0.2.1"),
    Entry(left=9000, ports=(5, 443), state=TIME_WAIT),
    Entry(UDP, left=9000, ports=(6, 53), status=0),
    Entry(UDP, left=9000, ports=(7, 53), source="10.2.255.255"),
    Entry(ICMP, left=9000, ports=(8, 0)),
    Entry(SCTP, left=9000, ports=(9, 2905), state=4),
    Entry(ESP, left=9000, ports=(10, 0), source="10.3.0.0"),
    Entry(left=9000, ports=(11, 443), from_zone=3, source="10.2.0.2"),
]
ALL_TIMEOUTS = dict.fromkeys(
    ["tcp_established", "tcp_close_wait", "tcp_time_wait", "udp", "udp_stream", "icmp", "sctp_established", "generic"],
    500,
)


def mixed():
    return [
        Entry(
            one.protocol,
            one.source,
            one.destination,
            one.ports,
            one.left,
            status=one.status,
            state=one.state,
            mark=one.mark,
            zone=one.zone,
            from_zone=one.from_zone,
        )
        for one in MIXED
    ]


@pytest.mark.parametrize(
    ("match", "ports"),
    [
        (None, range(1, 12)),
        ({}, range(1, 12)),
        ({"protocol": None, "state": []}, range(1, 12)),
        ({"protocol": ["udp"]}, [6, 7]),
        ({"protocol": ["udp", "icmp"]}, [6, 7, 8]),
        ({"state": ["ESTABLISHED"]}, [1, 2, 3, 9, 11]),
        ({"state": ["UNREPLIED", "TIME_WAIT"]}, [5, 6]),
        ({"state": ["REPLIED"]}, [7, 8, 10]),
        ({"protocol": ["sctp"], "state": ["ESTABLISHED"]}, [9]),
        ({"source_network": ["10.2.0.0/16"]}, [2, 7, 11]),
        ({"source_network": ["10.2.0.0/31"]}, [2]),
        ({"source_network": ["10.2.0.1"]}, [2]),
        ({"source_network": ["10.2.0.1", "2001:db8::/33"]}, [2, 3]),
        ({"source_network": ["0.0.0.0/0"]}, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"source_network": ["::/0"]}, [3]),
        ({"destination_network": ["192.0.2.0/24"]}, [4]),
        ({"destination_network": ["2001:db8:1::/64"]}, [3]),
        ({"source_network": ["10.2.0.0/16"], "destination_network": ["192.0.2.0/24"]}, []),
        ({"destination_port": [53, "22"]}, [3, 6, 7]),
        ({"destination_port": [443], "protocol": ["tcp"], "state": ["ESTABLISHED"]}, [1, 11]),
        ({"destination_port": [0]}, []),
    ],
    ids=str,
)
def test_match(match, ports):
    host = TableHost(mixed())
    checked = run(host, True, timeouts=ALL_TIMEOUTS, match=match)
    found = run(host, timeouts=ALL_TIMEOUTS, match=match)
    assert sorted(entry.ports[0] for entry in host.table.updated) == list(ports)
    assert {entry.left for entry in host.table.updated} <= {500}
    assert {entry.left for entry in host.table.entries if entry.ports[0] not in ports} <= {9000}
    assert found["examined"] == 11
    assert found["shortened"] == sum(state["shortened"] for state in found["states"]) == len(ports)
    assert found == checked


def test_the_states_that_are_told():
    found = run(TableHost(mixed()), timeouts={"tcp_established": 500, "udp": 500})["states"]
    assert [
        (one["protocol"], one["state"], one["timeout_class"], one["timeout"], one["examined"], one["shortened"])
        for one in found
    ] == [
        ("tcp", "ESTABLISHED", "tcp_established", 500, 4, 4),
        ("50", "REPLIED", "generic", None, 1, 0),
        ("icmp", "REPLIED", "icmp", None, 1, 0),
        ("sctp", "ESTABLISHED", "sctp_established", None, 1, 0),
        ("tcp", "CLOSE_WAIT", "tcp_close_wait", None, 1, 0),
        ("tcp", "TIME_WAIT", "tcp_time_wait", None, 1, 0),
        ("udp", "REPLIED", "udp_stream", None, 1, 0),
        ("udp", "UNREPLIED", "udp", 500, 1, 1),
    ]


@pytest.mark.parametrize("flag", [FIXED_TIMEOUT, OFFLOAD, HW_OFFLOAD])
def test_permanent_and_offloaded_entries_are_left_alone(flag):
    host = TableHost(flows(3) + flows(5, status=SEEN_REPLY | ASSURED | flag, zone=1))
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["examined"], found["shortened"], found["busy"]) == (8, 3, 0)
    assert [entry.left for entry in host.table.entries] == [600] * 3 + [432000] * 5


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, {1: 432000, 2: 60, 3: 30}),
        ({"timeout_profile": "server"}, {1: 7440, 2: 60, 3: 30}),
        ({"timeout_profile": "server", "timeouts": {"udp": 5}}, {1: 7440, 2: 60, 3: 5}),
        ({"timeouts": {"udp": 5}}, {1: 999999, 2: 999999, 3: 5}),
    ],
    ids=["the kernel's own", "profile", "both", "single"],
)
def test_which_timeouts(options, seconds):
    entries = [Entry(ports=(1, 2)), Entry(ports=(2, 2), state=CLOSE_WAIT), Entry(UDP, ports=(3, 2), status=0)]
    for entry in entries:
        entry.left = 999999
    host = TableHost(entries)
    run(host, **options)
    assert {entry.ports[0]: entry.left for entry in entries} == seconds
    assert (TIMEOUTS[ESTABLISHED], TIMEOUTS[SYSCTL + "tcp_timeout_close_wait"]) == (432000, 60)


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_nothing_is_opened_where_there_is_no_table(check):
    host = TableHost(module=False, refused=AssertionError("that would load it"))
    host.values.clear()
    del host.texts["/sys/module/nf_conntrack"]
    found = run(host, check)
    assert found == {
        "source": None,
        "complete": True,
        "examined": 0,
        "shortened": 0,
        "spared": 0,
        "gone": 0,
        "busy": 0,
        "corrected": 0,
        "forged": 0,
        "states": [],
    }


@pytest.mark.parametrize("seed", range(6))
def test_check_mode_counts_what_would_be(seed):
    chance = random.Random(seed)
    entries = []
    for port in range(700):
        protocol, state = chance.choice([(TCP, 3), (TCP, 3), (TCP, 7), (TCP, 9), (UDP, None), (SCTP, 4), (ICMP, None)])
        status = chance.choice([0, SEEN_REPLY, SEEN_REPLY | ASSURED, SEEN_REPLY | FIXED_TIMEOUT, SEEN_REPLY | OFFLOAD])
        entries.append(
            Entry(
                protocol,
                ports=(port, chance.choice([22, 443])),
                state=state,
                status=status,
                source=chance.choice(["10.0.0.1", "10.1.0.1"]),
                left=chance.choice([5, 29, 30, 31, 600, 7400, 7500, 432000]),
            )
        )
    entries = [entry for entry in entries if entry.protocol != ICMP or entry.ports[0] == 8]
    options = {"timeout_profile": "server"}
    if seed % 2:
        options.update(match={"destination_port": [443]}, limit=seed * 20)
    host = TableHost(entries)
    checked, found = run(host, True, **options), run(host, **options)
    assert checked == found
    assert found["shortened"] == len(host.table.updated) > 0
    if not seed % 2:
        assert run(TableHost(entries), True, **options)["shortened"] == 0


def test_the_golden_table():
    found = run(TableHost(answers=golden_answers()), True, timeouts={"tcp_established": 100})
    lines = [
        line for line in golden_text("table.conntrack").splitlines() if " tcp " in line and " ESTABLISHED " in line
    ]
    # One of them has a fixed timeout, which conntrack does not print.
    assert (found["examined"], found["shortened"]) == (36, len(lines) - 1)


# Bounds.


@pytest.mark.parametrize("limit", [1, 255, 256, 257, 999, 1000, 1001])
@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_limit(limit, check):
    host = TableHost(flows(1000))
    found = run(host, check, timeouts=TEN_MINUTES, limit=limit)
    assert found["shortened"] == min(limit, 1000)
    assert found["complete"] == (limit > 1000)
    assert sum(entry.left == 600 for entry in host.table.entries) == (0 if check else min(limit, 1000))


def test_a_limit_is_for_those_that_match():
    host = TableHost(flows(500, source="10.9.9.9", zone=1) + flows(500))
    found = run(host, timeouts=TEN_MINUTES, limit=20, match={"source_network": ["10.0.0.0/16"]})
    assert found["shortened"] == 20
    assert {entry.source for entry in host.table.updated} == {"10.0.0.1"}


@pytest.mark.parametrize("wrong", ["interrupted", refused(errno.ENOBUFS)], ids=["told", "lost"])
@pytest.mark.parametrize("limit", [100, 400, 800])
def test_a_limit_holds_over_all_attempts(limit, wrong):
    """What a first attempt has shortened is not there for the next one to find, and counts."""
    host = TableHost(flows(1000))
    host.table.before_dump = lambda number: wrong if number == 1 else None
    found = run(host, timeouts=TEN_MINUTES, limit=limit)
    assert found["shortened"] == len(host.table.updated) == limit


# The bound.


@pytest.mark.parametrize(
    ("there", "stale", "options", "refused_for"),
    [
        (10, 5, {"most": None}, None),
        (10, 6, {"most": None}, "6 of 10 entries would be shortened, more than the 5 that one run"),
        (11, 6, {"most": None}, "more than the 5 that one run may shorten without a second word (half of the table)"),
        (1, 1, {"most": None}, "1 of 1 entries would be shortened, more than the 0"),
        (10, 10, {"most": 10}, None),
        (10, 10, {"most": 9}, "10 of 10 entries would be shortened, more than the 9 that one run"),
        (10, 10, {"most": 0}, None),
        (10, 10, {"most": 7, "limit": 7}, None),
        (10, 10, {"most": 7, "limit": 8}, "8 of 10 entries would be shortened, more than the 7"),
        (10, 10, {"most": None, "limit": 5}, None),
        (10, 10, {"most": None, "limit": 6}, "6 of 10"),
        (10, 10, {"most": None, "match": {"destination_port": [80]}}, None),
        (0, 0, {"most": None}, None),
    ],
)
@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_more_than_the_bound_is_refused(there, stale, options, refused_for, check):
    host = TableHost(flows(stale) + flows(there - stale, left=60, zone=1))
    if refused_for:
        with pytest.raises(TableError, match="nothing was changed") as caught:
            run(host, check, timeouts=TEN_MINUTES, **options)
        assert refused_for in str(caught.value)
        assert (host.table.updated, host.table.open) == ([], 0)
        return
    found = run(host, check, timeouts=TEN_MINUTES, **options)
    expected = 0 if "match" in options else min(stale, options.get("limit", stale))
    assert found["shortened"] == expected
    assert found["complete"] == (not options.get("limit"))
    assert len(host.table.updated) == (0 if check else expected)


def test_what_comes_meanwhile_is_not_shortened_beyond_the_bound():
    host = TableHost(flows(30) + flows(70, left=60, zone=1))
    more = flows(60, zone=2)
    host.table.before_dump = lambda number: host.table.entries.extend(more) if number == 2 else None
    found = run(host, timeouts=TEN_MINUTES, most=None)
    assert (found["shortened"], found["examined"], found["complete"]) == (50, 160, False)


def test_requests_are_sent_in_batches():
    host = TableHost(flows(1000))
    run(host, timeouts=TEN_MINUTES)
    assert sum(host.table.batches) == 1000
    assert max(host.table.batches) <= BATCH


@pytest.mark.parametrize(("rate", "largest"), [(1, 1), (39, 1), (100, 5), (2000, 100), (10**6, BATCH)])
def test_rate(clock, rate, largest):
    host = TableHost(flows(600))
    sent = []
    host.table.before_update = lambda entry: sent.append(clock.now)
    begun = clock.now
    assert run(host, timeouts=TEN_MINUTES, rate=rate)["shortened"] == len(sent) == 600
    assert max(host.table.batches) == largest
    for number, moment in enumerate(sent):
        # Never ahead by more than a batch, and not slower than asked for.
        assert number - largest <= rate * (moment - begun) + 1e-3
    assert clock.now - begun <= 600 / rate


def test_without_a_rate_nothing_waits(clock):
    run(TableHost(flows(600)), timeouts=TEN_MINUTES)
    run(TableHost(flows(600)), True, timeouts=TEN_MINUTES, rate=1)
    assert clock.slept == []


# What the kernel refuses.


@pytest.mark.parametrize(
    ("number", "gone", "busy"),
    [(errno.ENOENT, 3, 0), (errno.ETIME, 3, 0), (errno.EBUSY, 0, 3), (errno.EPERM, 0, 3), (errno.EINVAL, 0, 3)],
    ids=["gone", "ending", "busy", "not permitted", "invalid"],
)
def test_refused(number, gone, busy):
    host = TableHost(flows(1000))
    host.table.before_update = lambda entry: number if entry.ports[0] in (0, 300, 999) else None
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["shortened"], found["gone"], found["busy"]) == (997, gone, busy)
    assert found["states"][0]["shortened"] == 997


def test_refusals_go_to_their_states():
    host = TableHost(mixed())
    host.table.before_update = lambda entry: errno.ENOENT if entry.protocol == UDP else None
    found = run(host, timeouts=ALL_TIMEOUTS)
    assert (found["shortened"], found["gone"]) == (9, 2)
    assert {one["protocol"] for one in found["states"] if one["shortened"] < one["examined"]} == {"udp"}


@pytest.mark.parametrize(("rate", "delay"), [(0, 0), (5400, 1), (5399, 2), (2000, 3), (100, 54)])
@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_who_has_to_wait_is_not_lengthened(clock, rate, delay, check):
    """What is just above may be below when its turn comes."""
    host = TableHost(flows(1, left=600 + delay, zone=1) + flows(1, left=601 + delay, zone=2))
    assert run(host, check, timeouts=TEN_MINUTES, rate=rate)["shortened"] == 1
    assert [entry.left for entry in host.table.entries] == [600 + delay, 601 + delay if check else 600]


def test_an_entry_that_is_gone():
    host = TableHost(flows(10))
    host.table.before_update = lambda entry: host.table.entries.pop() and None
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["shortened"], found["gone"]) == (5, 5)


@pytest.mark.parametrize("sent", [0, 1, 3])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOBUFS, "(ENOBUFS, No buffer space available): it is short of memory for messages"),
        (errno.EACCES, "(EACCES, Permission denied): a security module such as SELinux forbids it"),
        (errno.EPERM, "(EPERM, Operation not permitted): a security module"),
        (errno.EMSGSIZE, "(EMSGSIZE, Message too long): messages may not be longer than net.core.wmem_default"),
        (errno.EIO, "(EIO, Input/output error);"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_requests_that_are_not_taken_are_an_error_with_a_name(number, said, sent):
    host = TableHost(flows(1000))

    def before_send(_requests):
        if len(host.table.batches) == sent:
            raise refused(number)

    host.table.before_send = before_send
    with pytest.raises(TableError) as caught:
        run(host, timeouts=TEN_MINUTES)
    assert said in str(caught.value)
    assert str(caught.value).endswith(f"; {len(host.table.updated)} entries were shortened before")
    assert (host.table.open, host.table.dumps) == (0, 1)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOMEM])
def test_requests_that_are_all_refused_are_an_error_with_a_name(number):
    host = TableHost(flows(300))
    host.table.before_update = lambda entry: number
    with pytest.raises(TableError, match=f"{errno.errorcode[number]}, .* 0 entries were shortened before"):
        run(host, timeouts=TEN_MINUTES)


def test_a_refusal_to_be_read_is_an_error_with_a_name():
    """Of the table, and of what the kernel says to requests."""
    host = TableHost(flows(10))
    host.table.before_dump = lambda number: refused(errno.EACCES)
    host.table.answers = None
    host.table.entries = []
    with pytest.raises(TableError, match=r"EACCES\): a security module such as SELinux forbids it"):
        run(host, timeouts=TEN_MINUTES)
    host = TableHost(flows(300))
    host.table.more_refusals = [refused(errno.EACCES)]
    with pytest.raises(TableError, match="EACCES, Permission denied"):
        run(host, timeouts=TEN_MINUTES)


# Timeout policies.

MODULES = "nf_conntrack 1 1 -, Live 0x0\nnft_ct 1 1 -, Live 0x0\nnfnetlink_cttimeout 1 1 -, Live 0x0\n"


def ruled(entries, **policies):
    """A host with policies: of nftables, and of iptables."""
    host = TableHost(entries)
    host.texts["/proc/modules"] = MODULES
    for name, request in (("nft", NFT_OBJECTS), ("iptables", CT_TIMEOUTS)):
        if name in policies:
            host.table.policies[request] = [b"".join(policies[name]) + done()]
    return host


SIX = {"source": "2001:db8::1", "destination": "2001:db8:1::1"}
TCP_POLICY = {1: 120, 3: 5000, 5: 900, 7: 120}


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize(
    ("entry", "policies", "spared"),
    [
        (Entry(left=5000), {"nft": [policy(TCP, TCP_POLICY)]}, True),
        (Entry(left=5001), {"nft": [policy(TCP, TCP_POLICY)]}, False),
        (Entry(left=601), {"nft": [policy(TCP, TCP_POLICY)]}, True),
        (Entry(left=901, state=CLOSE_WAIT), {"nft": [policy(TCP, TCP_POLICY)]}, False),
        (Entry(left=900, state=CLOSE_WAIT), {"nft": [policy(TCP, TCP_POLICY)]}, True),
        (Entry(left=700, state=TIME_WAIT), {"nft": [policy(TCP, TCP_POLICY)]}, False),
        (Entry(left=5000, **SIX), {"nft": [policy(TCP, TCP_POLICY)]}, True),
        (Entry(left=5000, **SIX), {"iptables": [policy(TCP, TCP_POLICY, socket.AF_INET)]}, False),
        (Entry(left=5000, **SIX), {"iptables": [policy(TCP, TCP_POLICY, socket.AF_INET6)]}, True),
        (Entry(left=5000), {"iptables": [policy(TCP, TCP_POLICY, socket.AF_INET)]}, True),
        (Entry(UDP, left=5000), {"nft": [policy(TCP, TCP_POLICY)]}, False),
        (Entry(UDP, left=5000), {"nft": [policy(UDP, {1: 30, 2: 5000})]}, True),
        (Entry(UDP, left=5000, status=0), {"nft": [policy(UDP, {1: 30, 2: 5000})]}, False),
        (Entry(UDP, left=800, status=0), {"nft": [policy(UDP, {1: 900, 2: 60})]}, True),
        (Entry(UDP, left=800), {"nft": [policy(UDP, {1: 900, 2: 60})]}, True),
        (Entry(ESP, left=800), {"iptables": [policy(255, {1: 900}, socket.AF_INET)]}, True),
        (Entry(SCTP, left=800, state=4), {"nft": [policy(SCTP, {4: 900})]}, True),
        (Entry(left=5000), {"nft": [policy(TCP, {3: 700}), policy(TCP, {3: 6000})]}, True),
        (Entry(left=5000), {"nft": []}, False),
    ],
)
def test_what_a_policy_may_have_given_is_left_alone(entry, policies, spared, check):
    before = entry.left
    host = ruled([entry], **policies)
    found = run(host, check, timeouts=ALL_TIMEOUTS)
    assert (found["spared"], found["shortened"]) == ((1, 0) if spared else (0, 1))
    assert [state["spared"] for state in found["states"]] == [int(spared)]
    assert entry.left == (before if spared or check else 500)
    assert run(ruled([entry], **policies), True, timeouts=ALL_TIMEOUTS, under_policies=True)["spared"] == 0
    entry.left = before


def test_what_is_spared_is_what_was_meant():
    host = ruled(flows(8, left=3000) + flows(4, left=9000, zone=1), nft=[policy(TCP, TCP_POLICY)])
    found = run(host, timeouts=TEN_MINUTES, match={"destination_port": [443], "state": ["ESTABLISHED"]}, most=None)
    assert (found["spared"], found["shortened"]) == (8, 4)
    assert run(host, timeouts=TEN_MINUTES, match={"destination_port": [80]})["spared"] == 0
    assert run(host, timeouts=TEN_MINUTES, match={"state": ["CLOSE_WAIT"]})["spared"] == 0
    assert run(host, timeouts={"tcp_established": 5000})["spared"] == 0


def test_where_the_kernel_does_not_tell_of_policies_nothing_is_shortened():
    host = ruled(flows(5))
    host.table.policies[NFT_OBJECTS] = [refusal(errno.EACCES)]
    with pytest.raises(TableError, match="which timeout policies there are"):
        run(host, timeouts=TEN_MINUTES)
    assert (host.table.updated, host.table.open) == ([], 0)
    host.table.asked.clear()
    assert run(host, timeouts=TEN_MINUTES, under_policies=True)["shortened"] == 5
    assert host.table.asked == []


# What happens meanwhile.


@pytest.mark.parametrize("wrong", ["interrupted", refused(errno.ENOBUFS), "resize"], ids=["told", "lost", "resized"])
@pytest.mark.parametrize("times", [1, 2, 9])
def test_what_is_interrupted_is_gone_through_anew_twice(wrong, times):
    host = TableHost(flows(1000))

    def before(number):
        if wrong == "resize" and number <= times:
            host.values[HASHSIZE] *= 2
        return wrong if number <= times and wrong != "resize" else None

    host.table.before_dump = before
    found = run(host, timeouts=TEN_MINUTES)
    # The last one is the second look.
    assert host.table.dumps == min(times + 1, 3) + 1
    assert found["complete"] == (times < 3)
    if times < 3 or not isinstance(wrong, OSError):
        assert (found["shortened"], len(host.table.updated)) == (1000, 1000)
        assert {entry.left for entry in host.table.entries} == {600}


@pytest.mark.parametrize("late", [1, 2], ids=["first look", "second look"])
def test_what_would_take_too_long_again_is_not_gone_through_anew(late):
    host = TableHost(flows(1000))
    host.table.before_dump = lambda number: refused(errno.ETIMEDOUT) if number == late else None
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["complete"], host.table.dumps) == (False, 2)


FOREIGN = [0, 2, 5000, 1 << 31, 0xFFFFFFFF]


def test_refusals_of_what_was_never_asked_count_for_nothing():
    host = TableHost(flows(600))
    host.table.more_refusals = [refusal(errno.EBUSY, sequence) for sequence in FOREIGN] + [bytes(20), b"\1" * 50]
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["shortened"], found["busy"], found["gone"], found["complete"]) == (600, 0, 0, True)


def test_refusals_that_are_lost_make_it_go_through_the_table_anew():
    host = TableHost(flows(600))
    host.table.more_refusals = [refused(errno.ENOBUFS)]
    host.table.before_update = lambda entry: host.table.more_refusals.clear() if len(host.table.updated) > 300 else None
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["shortened"], found["complete"]) == (600, True)
    assert {entry.left for entry in host.table.entries} == {600}


def test_what_others_say_is_counted_and_kept_out_where_requests_are_sent():
    host = TableHost(flows(100))
    host.table.forged = lambda dumps: 10**dumps
    host.table.before_dump = lambda number: "interrupted" if number == 1 else None
    found = run(host, timeouts=TEN_MINUTES)
    # Three dumps, of which the last is the second look, and where the requests are sent.
    assert (found["forged"], host.table.shut_out) == (1 + 1 + 10 + 100, 1)


@pytest.mark.parametrize(
    ("options", "longest"),
    [({}, 600), ({"rate": 100}, 600 + 655.36), ({"rate": 100, "limit": 500}, 605), ({"limit": 500}, 600)],
    ids=str,
)
def test_elsewhere_it_has_its_time_and_that_of_its_rate(options, longest):
    host = TableHost(flows(1))
    host.texts["/var/run/netns/web"] = ""
    run(host, namespace="web", **options)
    assert (host.entered, host.longest) == (["/var/run/netns/web"], longest)


def test_check_mode_counts_an_entry_once_though_it_looks_again():
    host = TableHost(flows(100))
    host.table.before_dump = lambda number: "interrupted" if number < 3 else None
    assert run(host, True, timeouts=TEN_MINUTES)["shortened"] == 100
    assert host.table.dumps == 3


def ends(*ports):
    """Flows that end between the telling of them and their updates."""

    def before(entry):
        if entry.ports[0] in ports and entry.state == 3:
            entry.state = TIME_WAIT

    return before


BYSTANDERS = [
    Entry(UDP, ports=(1, 53), left=600),
    Entry(UDP, ports=(2, 53), left=599),
    Entry(ESP, ports=(0, 0), left=600),
    Entry(SCTP, ports=(3, 9), left=599, state=5),
    Entry(ports=(60003, 443), left=601, state=TIME_WAIT),
    Entry(ports=(60004, 443), left=9000, state=TIME_WAIT),
    Entry(ports=(60005, 443), left=120, state=TIME_WAIT),
    Entry(ports=(60006, 443), left=597, state=TIME_WAIT),
    Entry(ports=(60007, 443), left=3, state=CLOSE_WAIT),
    Entry(ports=(60008, 443), left=600, state=TIME_WAIT, status=SEEN_REPLY | FIXED_TIMEOUT),
    Entry(ports=(60009, 443), left=600, state=TIME_WAIT, status=SEEN_REPLY | OFFLOAD),
]


def test_a_flow_that_ends_meanwhile_is_corrected_and_nothing_else_is(clock):
    before = [entry.left for entry in BYSTANDERS]
    host = TableHost(flows(50) + BYSTANDERS)
    host.table.before_update = ends(7, 20)
    found = run(host, timeouts=TEN_MINUTES)
    assert (found["shortened"], found["corrected"], found["busy"]) == (50, 2, 0)
    assert [entry.left for entry in BYSTANDERS] == before
    assert {entry.ports[0]: entry.left for entry in host.table.entries[:50] if entry.left != 600} == {7: 120, 20: 120}
    assert len(host.table.updated) == 52


def test_a_flow_is_corrected_however_long_the_look_takes(clock):
    host = TableHost(flows(50))
    host.table.before_update = ends(7)

    def before(number):
        if number == 2:
            clock.now += 300
            for entry in host.table.entries:
                entry.left -= 300

    host.table.before_dump = before
    assert run(host, timeouts=TEN_MINUTES)["corrected"] == 1
    assert host.table.entries[7].left == 120


def test_the_second_look_keeps_to_the_networks_asked_for(clock):
    host = TableHost(flows(5) + [Entry(ports=(60000, 443), left=600, state=TIME_WAIT, source="10.9.0.1")])
    host.table.before_update = ends(2)
    found = run(host, timeouts=TEN_MINUTES, match={"source_network": ["10.0.0.0/16"], "state": ["ESTABLISHED"]})
    assert found["corrected"] == 1
    assert [entry.left for entry in host.table.entries] == [600, 600, 120, 600, 600, 600]


@pytest.mark.parametrize("state", [TIME_WAIT, CLOSE_WAIT])
def test_the_second_look_is_for_what_was_shortened_however_slowly(clock, state):
    """What nobody named, and what the limit left, has what the first look gave to others, and keeps it."""
    others = [Entry(ports=(port, 80), left=600, state=state) for port in range(300)]
    host = TableHost(flows(300) + others + flows(300, left=9000, zone=1))
    host.table.before_update = ends(7)
    found = run(host, timeouts=TEN_MINUTES, match={"state": ["ESTABLISHED"]}, rate=10, limit=300)
    assert (found["shortened"], found["corrected"]) == (300, 1)
    assert {entry.left for entry in others} == {600}
    assert {entry.left for entry in host.table.entries[600:]} == {9000}
    assert host.table.entries[7].left == 120
    assert len(host.table.updated) == 301


def test_the_second_look_keeps_to_the_rate(clock):
    host = TableHost(flows(100))
    host.table.before_update = ends(*range(100))
    begun = clock.now
    assert run(host, timeouts=TEN_MINUTES, rate=10)["corrected"] == 100
    assert clock.now - begun >= 19


def test_longer_timeouts_than_the_kernel_has_are_kept(clock):
    """Who wants more than is live now, of entries from before that have still more, gets just that."""
    entries = [Entry(ports=(1, 2), left=9000), Entry(ports=(2, 2), left=9000, state=CLOSE_WAIT)]
    host = TableHost(entries, timeouts=dict(TIMEOUTS, **{ESTABLISHED: 300}))
    found = run(host, timeouts={"tcp_established": 600, "tcp_close_wait": 500})
    assert (found["shortened"], found["corrected"]) == (2, 0)
    assert [entry.left for entry in entries] == [600, 500]


@pytest.mark.parametrize(
    "entries",
    [[Entry(UDP, left=9000)], flows(5, left=100), []],
    ids=["only what has no states", "nothing to shorten", "empty"],
)
def test_no_second_look_is_needed(entries):
    host = TableHost(entries)
    run(host, timeouts=dict(TEN_MINUTES, udp_stream=180))
    assert host.table.dumps == 1


# Without the right, and wrong options.


@pytest.mark.parametrize("where", ["socket", "dump"])
@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_without_the_right(where, check):
    host = TableHost(flows(1), refused=refused(errno.EPERM) if where == "socket" else None)
    host.table.refuse = errno.EPERM
    host.texts["/proc/net/nf_conntrack"] = golden_text("table.proc")
    with pytest.raises(TableError, match="the use of ctnetlink: expected CAP_NET_ADMIN"):
        run(host, check)
    assert host.table.open == 0


def test_without_ctnetlink():
    with pytest.raises(TableError, match=r"the use of ctnetlink failed \(Protocol not supported\)"):
        run(TableHost(refused=refused(errno.EPROTONOSUPPORT)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": -1}, "limit: -1 will not do"),
        ({"rate": -1}, "rate: -1 will not do"),
        ({"most": -1}, "most: -1 will not do"),
        ({"timeouts": {"tcp": 5}}, "timeouts: {'tcp': 5} will not do: 'tcp' is not a timeout"),
        ({"match": {"protocol": ["tpc"]}}, "match: 'tpc' will not do: expected one of icmp, tcp"),
        (
            {"match": {"state": ["established"]}},
            "match: 'established' will not do: expected a state such as ESTABLISHED",
        ),
        ({"match": {"source_network": ["10.0.0.1/8"]}}, "match: '10.0.0.1/8' will not do: expected a network such as"),
        ({"match": {"destination_network": ["x"]}}, "match: 'x' will not do"),
        ({"match": {"destination_port": [65536]}}, "match: 65536 will not do"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(TableError) as caught:
        read_options(dict(OPTIONS, **options))
    assert said in str(caught.value)
