# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Text of the kernel as values: total, whatever the text."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import proc as table

OLD = """\
entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error
0000019c  00000000 00000002 0000000f 00000031 000002b1 00000000 00000001 00000000 00000000 0000000a 00000000 00000000
0000019c  00000000 00000001 00000001 0000002c 00000266 00000000 00000001 00000000 00000000 00000006 00000000 ffffffff
"""
NEW = """\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop
00000039  00000000 00000000 00000000 00000003 00000000 00000000 00000010 00000000 00000011 00000000 00000000
"""
SEVERAL = "entries\tchaintoolong\n1 2\n\n1 f\n"


@pytest.mark.parametrize(
    ("text", "some"),
    [
        (OLD, {"found": 3, "new": 16, "invalid": 0x5D, "delete_list": 2, "drop": 16, "icmp_error": 4294967295}),
        (NEW, {"chain_too_long": 16, "insert_failed": 17, "clashres": 0}),
        (SEVERAL, {"chain_too_long": 17}),
        ("entries found\n1 zz\n1 2\n", {"found": 2}),
        ("entries found new\n1 2\n", {"found": 2}),
    ],
    ids=["until 5.14", "since 5.15", "columns by name", "what is no number", "a short row"],
)
def test_counters(text, some):
    found = table.counters(text)
    assert {name: found[name] for name in some} == some
    assert "entries" not in found
    assert "chainlength" not in found


@pytest.mark.parametrize("text", [None, "", "\n", "entries found\n"], ids=repr)
def test_no_counters(text):
    assert table.counters(text) == {}


def test_delete_list_is_not_taken_for_refusals():
    assert "chain_too_long" not in table.counters(OLD)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (OLD, 0x19C),
        (NEW, 0x39),
        ("entries found\n", None),
        ("found entries\n1 2\n", None),
        ("entries\nzz\n", None),
        ("", None),
        (None, None),
    ],
    ids=repr,
)
def test_entries(text, count):
    assert table.entries(text) == count


SLABINFO = """\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>
nf_conntrack_expect      0      0    208  315    1 : tunables    0    0    0 : slabdata      0      0      0
{name}         816    816    320  204    1 : tunables    0    0    0 : slabdata      4      4      0
"""


@pytest.mark.parametrize(
    ("name", "module", "size"),
    [
        ("nf_conntrack", "nf_conntrack", 320),
        ("nf_conntrack_ffffffff81b2d260", "nf_conntrack", 320),
        ("nf_conntrack_1", "nf_conntrack", 320),
        ("nf_conntrack_tuple", "nf_conntrack", None),
        ("ip_conntrack", "ip_conntrack", 320),
        ("ip_conntrack", "nf_conntrack", None),
        ("xnf_conntrack", "nf_conntrack", None),
        ("nf_conntrack_", "nf_conntrack", None),
    ],
)
def test_slab(name, module, size):
    assert table.slab_object_bytes(SLABINFO.format(name=name), module) == size


@pytest.mark.parametrize("text", [None, "", "nf_conntrack\n", "nf_conntrack 1 2 many 4\n"], ids=repr)
def test_no_slab(text):
    assert table.slab_object_bytes(text, "nf_conntrack") is None


def test_meminfo():
    text = "MemTotal:        2014336 kB\nHugePages_Total:       3\nBroken line\nNothing:\nMemAvailable: x kB\n"
    assert table.meminfo(text) == {"MemTotal": 2062680064, "HugePages_Total": 3}
    assert table.meminfo(None) == {}


def test_numbers_that_python_alone_would_take():
    assert table.meminfo("A: \u00b2 kB\nB: 1_0 kB\nC: -1 kB\nD: {0} kB\nE: \u0661 kB\n".format("1" * 9999)) == {}
    assert table.counters("entries drop early_drop found\n1 f_f \u0661 +1\n") == {}
    assert table.entries("entries\n0x1\n") is None
    assert table.slab_object_bytes("nf_conntrack 1 2 -320 4\n", "nf_conntrack") is None


def test_only_a_line_feed_ends_a_line():
    assert table.modules("a 1\x85nf_conntrack 2\u2028nf_nat 3\n") == {"a"}


def test_modules():
    text = "nf_conntrack 180224 1 nft_ct, Live 0x0\n\nnf_nat 1 0 - Live 0x0\n"
    assert table.modules(text) == {"nf_conntrack", "nf_nat"}
    assert table.modules(None) == set()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0\n", 1),
        ("0-3\n", 4),
        ("0-3,6\n", 5),
        ("0,2,4-7", 6),
        ("10-19,30-31", 12),
        (None, None),
        ("", None),
        ("-1", None),
        ("0-", None),
        ("a-b", None),
        ("0-3,", None),
        ("3-0", None),
        ("\u00b2", None),
        ("0-" + "9" * 5000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_cpus(text, count):
    assert table.cpus(text) == count


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('NAME="yes"\n', "yes"),
        ("NAME='no'\n", "no"),
        ("NAME=yes\n", "yes"),
        ("  NAME = yes \n", "yes"),
        ("NAME=yes # for now\n", "yes"),
        ("NAME=yes\nNAME=no\n", "no"),
        ("NAME=\n", ""),
        ('NAME="a b"\n', "a b"),
        ("#NAME=yes\n", None),
        ("# NAME=yes\n", None),
        ("NAMES=yes\nMY_NAME=yes\n", None),
        ("name=yes\n", None),
        ("NAME\n", None),
        (None, None),
    ],
    ids=repr,
)
def test_shell_value(text, value):
    assert table.shell_value(text, "NAME") == value
