# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What holds of sysctl lines whatever they are; and that without the lines that override ours, ours win."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources import sysctl

MAX, ALIAS = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"
UDP = "net.netfilter.nf_conntrack_udp_timeout"
OURS = "/etc/sysctl.d/50-ours.conf"
PATHS = tuple("/etc/sysctl.d/{0}.conf".format(name) for name in ("10", "20", "50-ours", "60", "70"))
LINES = st.builds(
    "{0}{1}{2}".format,
    st.sampled_from(["", "", "-"]),
    st.sampled_from([MAX, ALIAS, UDP, "net.netfilter.*", "net/nf_*"]),
    st.sampled_from(["=5", "=5", "=6", "=7", "=x", ""]),
)
FILES = st.tuples(*(st.lists(LINES, max_size=4) for _path in PATHS))


@given(st.text(), st.lists(st.text(), max_size=2))
def test_any_text_is_parsed(text, prefixes):
    for lines in (sysctl.parse("x", text), sysctl.command_line(text)):
        assert all(line.text in text for line in lines)
        sysctl.effective(lines, [MAX, ALIAS, UDP], prefixes)
        sysctl.overriding(lines, "y", [MAX, UDP], [ALIAS])


@given(st.text("ab*?[]!^-\\."), st.text("ab.-"))
def test_any_glob_is_matched(pattern, name):
    lines = sysctl.parse("x", "k/*/{0} = 5\n".format(pattern))
    sysctl.effective(lines, ["k.k." + name])


@given(FILES, st.booleans())
def test_without_what_overrides_ours_wins(files, procps):
    lines = [line for path, rows in zip(PATHS, files) for line in sysctl.parse(path, "\n".join(rows))]
    ours = sysctl.parse(OURS, "{0} = 5\n{1} = 6\n".format(MAX, UDP))
    at = sum(line.path < OURS for line in lines)
    lines = lines[:at] + ours + [line for line in lines if line.path > OURS]
    overriding = sysctl.overriding(lines, OURS, [MAX, UDP], [ALIAS], procps)
    kept = [line for line in lines if line not in overriding]
    left = sysctl.effective(kept, [MAX, ALIAS, UDP], procps=procps)
    assert {key: line.value for key, line in left.items()} == {MAX: "5", ALIAS: "5", UDP: "6"}
    if not overriding:
        assert sysctl.effective(lines, [MAX, ALIAS, UDP], procps=procps) == left
