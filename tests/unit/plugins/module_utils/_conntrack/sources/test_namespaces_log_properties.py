# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Whatever stands in a log or a cgroup: values or nothing, never an exception."""

import re

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.log import log
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.namespace_names import (
    container_name,
)
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.proc import entries

PIECES = [
    "\n",
    " ",
    "<4>",
    "[   61.500000] ",
    "[99999999.9]",
    "Nov 22 08:13:01 web kernel: ",
    "Feb 29 08:13:01 web kernel: ",
    "2026-11-22T08:13:01.1+01:00 web kernel: ",
    "2026-11-22T08:13:01+0000 web kernel: ",
    "9999-12-31T23:59:59-99:99 web kernel: ",
    "0001-01-01T00:00:00 web kernel: ",
    "nf_conntrack: ",
    "nf_conntrack: table full, dropping packet",
    "nf_conntrack: table full in netns 4026532000, dropping packet",
    "net_ratelimit: 41 callbacks suppressed",
    "message repeated 3 times: [",
    "Nov 22 08:13:01 web kern.warn kernel: ",
    "Nov 22 2026 08:13:01 ",
    "<4>1 2026-11-22T08:13:01Z web kernel - - [x] ",
    "@400000006b02a41726d9b5cc kern.warn: ",
    "1795335181 ",
    "last message repeated 3 times",
    "__REALTIME_TIMESTAMP=1\n\n",
    '{"MESSAGE": "',
    "]",
    "\u0665",
    "\x85",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join)


class Texts(Host):
    def __init__(self, ring, logged, journal, stat, uptime):
        super().__init__("/nowhere")
        self.texts = {"/proc/stat": stat, "/proc/uptime": uptime}
        self.ring, self.logged, self.journal = ring, logged, journal

    def read(self, path):
        return self.texts.get(path)

    def tail(self, path, limit):
        return self.logged

    def kernel_log(self, limit):
        return self.ring

    def exists(self, path):
        return True

    def run(self, argv, limit, longest=0.0):
        return self.journal


@given(
    TEXTS,
    TEXTS,
    st.none() | TEXTS,
    st.sampled_from(["btime 1795322461\n", "btime 99999999999\n", "btime 0", "", "btime x"]),
    TEXTS,
)
def test_log(ring, logged, journal, stat, uptime):
    found = log(Texts(ring, logged, journal, stat, uptime), dropped=True)
    assert found.table_full <= 999999999 * (ring + logged + (journal or "")).count("table full")
    assert found.source or not found.table_full
    for moment in (found.first_seen, found.last_seen):
        assert moment is None or re.fullmatch(r"[0-9]{4,5}-[01][0-9]-[0-3][0-9]T[0-9:]{8}Z", moment)


@given(st.text())
def test_container_name(cgroup):
    assert container_name(cgroup) is None or len(container_name(cgroup)) < 100


@given(st.lists(st.sampled_from(["entries", "found", " ", "\n", "0000000a", "-1", "x", "\u0665"])).map("".join))
def test_entries(text):
    assert entries(text) is None or entries(text) >= -1
