# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Options of the modules that go through the table, right and wrong."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import asked, readers


@pytest.mark.parametrize(("value", "number"), [(0, 0), ("7", 7), (" 9 ", 9), (10, 10)])
def test_whole(value, number):
    assert asked.whole("limit", value, 0, 10, "entries") == number


@pytest.mark.parametrize("value", [-1, 11, "x", "", None, 1.5, True, "1_0", "\u0665"])
def test_not_whole(value):
    with pytest.raises(
        readers.Wrong, match=r"^limit: .* will not do: expected a whole number of entries from 0 to 10$"
    ):
        asked.whole("limit", value, 0, 10, "entries")


@pytest.mark.parametrize(
    ("profile", "single", "found"),
    [
        (None, {}, {}),
        (None, {"udp": "31"}, {"udp": 31}),
        ("server", {}, {"tcp_established": 7440, "tcp_time_wait": 60}),
        ("server", {"tcp_time_wait": 9}, {"tcp_established": 7440, "tcp_time_wait": 9}),
        ("edge", {}, {"tcp_established": 1800}),
    ],
)
def test_timeouts(profile, single, found):
    told = asked.timeouts(profile, single)
    assert {name: told.get(name) for name in found} == found
    assert bool(told) is bool(found)


def test_a_profile_is_not_changed_by_what_is_over_it():
    asked.timeouts("server", {"udp": 1})
    assert asked.timeouts("server", {})["udp"] == 30


@pytest.mark.parametrize(
    ("single", "said"),
    [
        ({"tcp_establish": 1}, "did you mean tcp_established"),
        ({"udp": 0}, "{'udp': 0} will not do: udp: 0: expected a whole number of seconds from 1"),
        ({"udp": "soon"}, "'soon'"),
        ([], "[] will not do: expected a mapping such as {tcp_established: 7440}"),
        ("udp=1", "'udp=1' will not do: expected a mapping such as {tcp_established: 7440}"),
    ],
)
def test_wrong_timeouts(single, said):
    with pytest.raises(readers.Wrong) as caught:
        asked.timeouts("server", single)
    assert str(caught.value).startswith("timeouts: ")
    assert said in str(caught.value)


def test_a_profile_that_is_none():
    with pytest.raises(
        readers.Wrong, match=r"^timeout_profile: 'sever' will not do: expected one of .* did you mean server"
    ):
        asked.timeouts("sever", {})


def test_known():
    assert asked.known("match", "tcp", ["tcp"], "a name") == "tcp"
    with pytest.raises(readers.Wrong, match=r"^match: 'tpc' will not do: expected a name$"):
        asked.known("match", "tpc", ["tcp"], "a name")
