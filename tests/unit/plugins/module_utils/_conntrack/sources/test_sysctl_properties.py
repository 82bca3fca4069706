# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What holds of sysctl lines whatever they are."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl

MAX, ALIAS = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"
UDP = "net.netfilter.nf_conntrack_udp_timeout"


@given(st.text(), st.lists(st.text(), max_size=2))
def test_any_text_is_parsed(text, prefixes):
    for lines in (sysctl.parse("x", text), sysctl.command_line(text)):
        assert all(line.text in text for line in lines)
        sysctl.effective(lines, [MAX, ALIAS, UDP], prefixes)
        sysctl.withdrawn(lines, {MAX, ALIAS, UDP})
        sysctl.concerned(lines, [MAX, ALIAS, UDP])


@given(st.text("ab*?[]!^-\\."), st.text("ab.-"))
def test_any_glob_is_matched(pattern, name):
    lines = sysctl.parse("x", "k/*/{0} = 5\n".format(pattern))
    sysctl.effective(lines, ["k.k." + name])
