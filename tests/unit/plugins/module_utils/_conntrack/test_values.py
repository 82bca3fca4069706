# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the layers hand to one another, as plain data."""

from typing import Any, NamedTuple

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict, integer


class Pair(NamedTuple):
    name: str
    value: Any


def test_named_tuples_however_deep():
    value = Pair("a", [Pair("b", {"c": Pair("d", (1, Pair("e", None)))}), "text", 2.5, True])
    assert as_dict(value) == {
        "name": "a",
        "value": [
            {"name": "b", "value": {"c": {"name": "d", "value": [1, {"name": "e", "value": None}]}}},
            "text",
            2.5,
            True,
        ],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("65536\n", 65536),
        (" 0 ", 0),
        ("-1\n", -1),
        (None, None),
        ("", None),
        ("0x10", None),
        ("1 2", None),
        ("N\n", None),
        ("\u00b2", None),
        ("\u0661\u0662", None),
        ("1_000", None),
        ("\u20031", None),
        ("18446744073709551615\n", 2**64 - 1),
        ("1" * 21, None),
        ("1" * 5000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_integer(text, value):
    assert integer(text) == value
