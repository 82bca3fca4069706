# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What ctnetlink tells besides the table: counters over all processors, and the lengths of its lists, or that it does not."""

import errno

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.ctnetlink import (
    DYING,
    ENTRIES,
    UNCONFIRMED,
    listed,
    statistics,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    HEADER,
    INTERRUPTED,
    MULTI,
    STATISTICS,
    Entry,
    TableHost,
    attribute,
    done,
    refusal,
    refused,
)
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import statistics as counted

NETLINK = "nf_conntrack_netlink 1 0 - Live 0x0\n"
MODULES = NETLINK + "nf_conntrack 1 1 nf_conntrack_netlink, Live 0x0\n"
# What a kernel 6.18 said, of two processors in one answer.
REAL = bytes.fromhex(
    "64000000040102000100000000000000"
    "00000000080002000000000108000400000000020800080000000a8c080009000000000408000a000000000508000b0000000006"
    "08000c000000000708000d000000000808000e000000000908000f000000000a"
    "64000000040102000100000000000000"
    "00000001080002000000000108000400000000020800080000000834080009000000000408000a000000000508000b0000000006"
    "08000c000000000708000d000000000808000e000000000908000f000000000a"
)


def asked(request, *answers, modules=MODULES):
    host = TableHost()
    host.texts["/proc/modules"] = modules
    host.table.policies = {request: list(answers)}
    return host


def test_counters_of_a_real_kernel():
    assert statistics(asked(STATISTICS, REAL, done())) == {
        "found": 2,
        "invalid": 4,
        "insert": 0xA8C + 0x834,
        "insert_failed": 8,
        "drop": 10,
        "early_drop": 12,
        "icmp_error": 14,
        "search_restart": 16,
        "clashres": 18,
        "chain_too_long": 20,
    }


def test_very_many_processors_take_several_answers():
    host = asked(STATISTICS, *[counted([7], 10, cpu) for cpu in range(500)], done())
    assert statistics(host) == {"drop": 3500}
    assert (host.table.asked, host.table.shut_out, host.table.open) == ([STATISTICS], 1, 0)


def test_what_a_later_kernel_may_count_is_passed_over():
    assert statistics(asked(STATISTICS, counted([1, 2, 3, 4], 14) + done())) == {"clashres": 1, "chain_too_long": 2}


@pytest.mark.parametrize(
    "answers",
    [
        [refusal(errno.EPERM)],
        [counted([7], 10), done(errno.ENOMEM)],
        [counted([7], 10), refused(errno.ENOBUFS)],
        [counted([7], 10)],
        [],
    ],
    ids=["refused", "ended", "lost", "cut off", "nothing"],
)
def test_what_is_not_all_is_none(answers):
    assert statistics(asked(STATISTICS, *answers)) == {}
    assert listed(asked(DYING, *answers), DYING) is None


@pytest.mark.parametrize("request_type", [DYING, UNCONFIRMED])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_list_is_counted(request_type, count):
    told = [Entry(ports=(number, 80)).told() for number in range(count)]
    answers = [b"".join(told[at : at + 200]) for at in range(0, count, 200)] + [done()]
    assert listed(asked(request_type, *answers), request_type) == count


def test_the_table_is_counted():
    host = TableHost([Entry(ports=(number, 80)) for number in range(700)], module=False)
    assert listed(host, ENTRIES) == 700


def test_a_list_that_is_changed_while_it_is_told_is_not_counted():
    assert listed(asked(DYING, Entry().told(MULTI | INTERRUPTED), done()), DYING) is None


@pytest.mark.parametrize(
    ("modules", "built_in", "loads_nothing"),
    [
        (MODULES, None, True),
        (MODULES.replace(NETLINK, ""), None, False),
        (MODULES.replace(NETLINK, ""), "", False),
        ("ip_conntrack 1 1 - Live 0x0\n", None, False),
        ("xfs 1 1 - Live 0x0\n", None, True),
        ("", "kernel/net/netfilter/nf_conntrack_netlink.ko\n", True),
        ("", "kernel/net/netfilter/nf_conntrack.ko\n", False),
    ],
    ids=["loaded", "a module", "not built in", "old", "not known", "built in", "the table alone built in"],
)
def test_it_is_asked_only_where_that_loads_nothing(modules, built_in, loads_nothing):
    host = asked(STATISTICS, counted([7], 10), done(), modules=modules)
    if built_in is not None:
        host.texts["/lib/modules/6.1.0-37-amd64/modules.builtin"] = built_in
    assert statistics(host) == ({"drop": 7} if loads_nothing else {})
    assert host.table.asked == ([STATISTICS] if loads_nothing else [])


@pytest.mark.parametrize(
    "answer",
    [b"\0" * 7, HEADER.pack(3, STATISTICS, MULTI, 1, 0), HEADER.pack(16, STATISTICS, MULTI, 1, 0)]
    + [HEADER.pack(24, STATISTICS, MULTI, 1, 0) + bytes(4) + attribute(10, b"\0" * 4)[:4]],
    ids=len,
)
def test_what_is_no_message_breaks_nothing(answer):
    assert statistics(asked(STATISTICS, answer, done())) in ({}, {"drop": 0})


def test_a_tree_has_no_kernel(tmp_path):
    assert statistics(Host(str(tmp_path))) == {}
    with pytest.raises(OSError, match="not supported"):
        Host(str(tmp_path)).netfilter()
