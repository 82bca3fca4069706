# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What the layers hand to one another, as plain data."""

from typing import Any, NamedTuple

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.values import as_dict


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
