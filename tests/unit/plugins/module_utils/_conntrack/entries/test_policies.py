# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Timeout policies, as a kernel tells of them, and what an entry that is under one has left at most."""

import errno
import socket

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import Kind
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.policies import read
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.reading import TableError
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    CT_TIMEOUTS,
    ESP,
    HEADER,
    ICMP,
    INTERRUPTED,
    MULTI,
    NFT_OBJECTS,
    SCTP,
    SEEN_REPLY,
    TCP,
    UDP,
    TableHost,
    done,
    policy,
    refusal,
    refused,
)

MODULES = "nf_conntrack 1 1 -, Live 0x0\nnft_ct 1 1 -, Live 0x0\nnfnetlink_cttimeout 1 1 -, Live 0x0\n"
FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Answers:
    """One after the other to nftables' request, and none to the other."""

    def __init__(self, answers):
        self.answers = list(answers)

    def get(self, request, other):
        return self.answers.pop(0) if request == NFT_OBJECTS else other


def host(nftables=(), others=(), modules=MODULES):
    found = TableHost()
    found.texts["/proc/modules"] = modules
    found.table.policies = {
        NFT_OBJECTS: [b"".join(nftables), done()],
        CT_TIMEOUTS: [b"".join(others) + done()],
    }
    return found


@pytest.mark.parametrize(
    ("protocol", "seconds", "kind", "most"),
    [
        (TCP, {3: 5000, 7: 120}, Kind(TCP, SEEN_REPLY, 3), 5000),
        (TCP, {3: 5000, 7: 120}, Kind(TCP, SEEN_REPLY, 7), 120),
        (TCP, {3: 5000, 7: 120}, Kind(TCP, SEEN_REPLY, 5), 5000),
        (TCP, {3: 5000}, Kind(UDP, 0, None), 0),
        (TCP, {3: 5000}, Kind(SCTP, 0, 3), 0),
        (SCTP, {1: 10, 4: 9}, Kind(SCTP, 0, 4), 9),
        (UDP, {1: 30, 2: 180}, Kind(UDP, 0, None), 30),
        (UDP, {1: 30, 2: 180}, Kind(UDP, SEEN_REPLY, None), 180),
        (UDP, {1: 300, 2: 180}, Kind(UDP, SEEN_REPLY, None), 300),
        (ICMP, {1: 77}, Kind(ICMP, SEEN_REPLY, None), 77),
        (255, {1: 600}, Kind(ESP, 0, None), 600),
        (255, {1: 600}, Kind(TCP, 0, 3), 0),
        (ESP, {1: 600}, Kind(ESP, 0, None), 0),
        (TCP, {}, Kind(TCP, 0, 3), 0),
    ],
)
def test_what_an_entry_has_at_most(protocol, seconds, kind, most):
    assert read(host([policy(protocol, seconds)])).most(FOUR, kind) == most
    assert read(host([], [policy(protocol, seconds, FOUR)])).most(FOUR, kind) == most
    longest = policy(protocol, dict.fromkeys(seconds, 9))
    assert read(host([policy(protocol, seconds), longest])).most(FOUR, kind) == (max(most, 9) if most else 0)


def test_families():
    """Rules of nftables do not compare them, those of iptables do."""
    established = Kind(TCP, SEEN_REPLY, 3)
    found = read(host([policy(TCP, {3: 50})], [policy(TCP, {3: 60}, FOUR), policy(TCP, {3: 70}, SIX)]))
    assert (found.most(FOUR, established), found.most(SIX, established)) == (60, 70)
    assert read(host([policy(TCP, {3: 50})])).most(SIX, established) == 50
    assert read(host([], [policy(TCP, {3: 60}, FOUR)])).most(SIX, established) == 0


@pytest.mark.parametrize(
    "answer", [b"", b"\0" * 7, policy(TCP, {3: 5})[:40], HEADER.pack(16, 0xA12, MULTI, 1, 0)], ids=len
)
def test_what_is_no_policy_is_none(answer):
    assert read(host([answer])).policies == []


@pytest.mark.parametrize(
    ("listed", "built_in", "asked"),
    [
        ("nf_conntrack 1 1 -, Live 0x0\n", None, []),
        ("nf_conntrack 1 1 -, Live 0x0\nnft_ct 1 1 -, Live 0x0\n", None, [NFT_OBJECTS]),
        ("nf_conntrack 1 1 -, Live 0x0\nnfnetlink_cttimeout 1 1 -, Live 0x0\n", "", [CT_TIMEOUTS]),
        ("xfs 1 1 -, Live 0x0\n", "kernel/net/netfilter/nft_ct.ko\n", [NFT_OBJECTS]),
        ("", "kernel/net/netfilter/nf_conntrack.ko\n", []),
        ("", None, [NFT_OBJECTS, CT_TIMEOUTS]),
        (None, None, [NFT_OBJECTS, CT_TIMEOUTS]),
    ],
    ids=["a module", "loaded", "the other", "built in", "not built in", "not known", "no modules at all"],
)
def test_who_keeps_policies_is_asked_only_where_that_loads_nothing(listed, built_in, asked):
    machine = TableHost()
    del machine.texts["/proc/modules"]
    if listed is not None:
        machine.texts["/proc/modules"] = listed
    if built_in is not None:
        machine.texts["/lib/modules/6.1.0-37-amd64/modules.builtin"] = built_in
    assert read(machine).policies == []
    assert machine.table.asked == asked


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_kernel_that_knows_no_policies_has_none(number):
    machine = host()
    machine.table.policies = {NFT_OBJECTS: [refusal(number)], CT_TIMEOUTS: [refusal(number)]}
    assert read(machine).policies == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPERM, "the use of ctnetlink: expected CAP_NET_ADMIN"),
        (errno.EACCES, r"which timeout policies there are \(EACCES, .*under_policies"),
        (errno.ENOBUFS, r"which timeout policies there are \(ENOBUFS, .*under_policies"),
    ],
)
@pytest.mark.parametrize("answer", [refusal, refused, done], ids=["refused", "not received", "ended"])
def test_what_is_not_told_is_an_error_with_a_name(number, said, answer):
    machine = host([policy(TCP, {3: 50})])
    machine.table.policies[NFT_OBJECTS] = [policy(TCP, {3: 50}), answer(number)]
    with pytest.raises(TableError, match=said):
        read(machine)
    assert machine.table.open == 0


@pytest.mark.parametrize("times", [1, 2, 3])
def test_rules_that_change_while_they_are_read_are_read_anew(times):
    interrupted = policy(UDP, {1: 1}) + HEADER.pack(HEADER.size, 0xA12, INTERRUPTED | MULTI, 1, 0) + done()
    machine = host()
    machine.table.policies = Answers([[interrupted]] * times + [[policy(TCP, {3: 50}) + done()]])
    if times == 3:
        with pytest.raises(TableError, match="rules were changed all the while"):
            read(machine)
    else:
        assert read(machine).policies == [(TCP, None, {3: 50})]
