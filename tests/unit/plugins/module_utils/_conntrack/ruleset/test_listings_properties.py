# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Whatever is told of rules is read, or is no listing; and whatever is read can be asked of packets."""

import json

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset import iptables, nft
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.ruleset.rules import (
    ALL,
    NONE,
    SOME,
    Packets,
    matched,
)

QUERY = Packets(4, "udp", None, [(53, 53)], None, None, ("eth0",), (), True, "untracked", None)
WORDS = st.sampled_from(
    [
        "match",
        "left",
        "right",
        "op",
        "==",
        "!=",
        "in",
        "payload",
        "meta",
        "ct",
        "key",
        "state",
        "iifname",
        "udp",
        "dport",
    ]
    + [
        "set",
        "concat",
        "range",
        "prefix",
        "addr",
        "len",
        "&",
        "|",
        "vmap",
        "data",
        "jump",
        "target",
        "accept",
        "@s",
        "fib",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
CHAIN = {"family": "inet", "table": "f", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}


@given(st.lists(VALUES, max_size=4))
def test_nft(expressions):
    rule = {"rule": {"family": "inet", "table": "f", "chain": "c", "handle": 1, "expr": expressions}}
    found = nft.read(json.dumps({"nftables": [{"chain": CHAIN}, rule]}))
    for one in found.rules["inet f", "c"].rules if found else ():
        assert matched(one, QUERY) in (NONE, SOME, ALL)


LINES = st.lists(
    st.lists(
        st.sampled_from(
            [
                "-A",
                "INPUT",
                "!",
                "-s",
                "-d",
                "-p",
                "udp",
                "--dport",
                "53",
                "1:2",
                ":",
                "-j",
                "ACCEPT",
                "-m",
                "conntrack",
            ]
            + [
                "--ctstate",
                "NEW,DNAT",
                "-i",
                "eth+",
                "10.0.0.0/8",
                "x/y",
                "--tcp-flags",
                "SYN,ACK",
                "SYN",
                "'",
                '"',
                "-g",
                "[1:2]",
            ]
        ),
        max_size=8,
    ).map(" ".join),
    max_size=5,
)


@given(LINES)
def test_iptables(lines):
    found = iptables.read("*filter\n:INPUT DROP [0:0]\n" + "\n".join(lines), 4, "iptables", "headroom")
    for one in found["iptables filter", "INPUT"].rules:
        assert matched(one, QUERY) in (NONE, SOME, ALL)
