# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The language of checks: what fits comes back plain and escaped, what does not is named with its path."""

import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.shown import escaped
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import (
    ListOf,
    MappingOf,
    Misfit,
    Number,
    OrNone,
    Record,
    Shown,
    Text,
    Truth,
    Whole,
)
from ansible_collections.headroom.netfilter.tests.unit.examples import facts


class Marked(str):
    """A kind of text of its own, as ansible-core's are."""

    def __str__(self):
        return "marked"


INNER = Record({"name": Text(5), "sizes": MappingOf(Text(9, "[a-z]+"), OrNone(Whole(0, 9)), 2)}, optional=["sizes"])
OUTER = Record({"items": ListOf(INNER, 3), "share": Number()}, optional=["share"])


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (Text(), "plain text\twith a tab"),
        (Text(lines=True), "two\nlines"),
        (Text(pattern="[0-9]+"), "17"),
        (Text(choices=("a", "b")), "b"),
        (Whole(), -5),
        (Whole(0, 3), 3),
        (Number(), 0.5),
        (Number(), 7),
        (Truth(), False),
        (OrNone(Whole()), None),
        (ListOf(Whole()), []),
        (OUTER, {"items": [{"name": "a"}, {"name": "b", "sizes": {"x": 1, "y": None}}], "share": 0.25}),
    ],
)
def test_what_fits_comes_back_as_it_is(check, value):
    assert check(value) == value
    assert check(check(value)) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u2028b\u2029\u200b\x9b\x7f", "a\\u2028b\\u2029\\u200b\\x9b\\x7f"),
        ("a\nb\r", "a\\x0ab\\x0d"),
        ("\ud800", "\\ud800"),
        ("\u00e9\u4e2d", "\u00e9\u4e2d"),
    ],
)
def test_texts_are_escaped(text, shown):
    assert Text()(text) == shown
    assert Text()(shown) == shown
    assert MappingOf(Text(), Truth())({text: True}) == {shown: True}


def test_texts_come_back_plain():
    found = Record({"a": ListOf(Text())})({"a": [Marked("x")]})
    assert found == {"a": ["x"]}
    assert not isinstance(found["a"][0], Marked)


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        (OUTER, {"items": [{"name": "a"}, 7]}, "items[1]: expected a mapping, found 7"),
        (OUTER, {"items": [{"name": 7}]}, "items[0].name: expected a text of at most 5 characters, found 7"),
        (OUTER, {"items": [{}]}, "items[0].name: expected a value, found none of that name"),
        (OUTER, {"items": [], "more": None}, "more: expected nothing of that name, found nothing"),
        (OUTER, {"items": {}}, "items: expected a list, found a mapping of 0"),
        (OUTER, {"items": "abc"}, "items: expected a list, found 'abc'"),
        (OUTER, {"items": [{"name": "a"}] * 4}, "items: expected at most 3 items, found 4"),
        (
            OUTER,
            {"items": [{"name": "a", "sizes": {"x": 10}}]},
            "items[0].sizes[x]: expected a whole number from 0 to 9, or nothing, found 10",
        ),
        (
            OUTER,
            {"items": [{"name": "a", "sizes": {"X": 1}}]},
            "items[0].sizes: expected names, each a text of at most 9 characters like [a-z]+, found 'X'",
        ),
        (
            OUTER,
            {"items": [{"name": "a", "sizes": dict.fromkeys("abc")}]},
            "items[0].sizes: expected at most 2 names, found 3",
        ),
        (OUTER, {"items": [], "share": float("nan")}, "share: expected a number from 0 to 9.22337e+18, found nan"),
        (OUTER, {"items": [], "share": True}, "share: expected a number from 0 to 9.22337e+18, found True"),
        (Whole(), True, "the answer: expected a whole number from -2147483648 to 9223372036854775808, found True"),
        (Whole(), 1.0, "the answer: expected a whole number from -2147483648 to 9223372036854775808, found 1.0"),
        (
            Whole(),
            10**5000,
            "the answer: expected a whole number from -2147483648 to 9223372036854775808, found a number of 16610 bits",
        ),
        (Truth(), 1, "the answer: expected true or false, found 1"),
        (Text(3), "abcd", "the answer: expected a text of at most 3 characters, found 'abcd'"),
        (Text(3), "\x1b", "the answer: expected a text of at most 3 characters, found '\\\\x1b'"),
        (
            Text(pattern="[0-9]+"),
            "1\n",
            "the answer: expected a text of at most 400 characters like [0-9]+, found '1\\\\x0a'",
        ),
        (Text(choices=("a", "b")), "c", "the answer: expected one of a, b, found 'c'"),
        (OrNone(Truth()), "", "the answer: expected true or false, or nothing, found ''"),
        (Record({}), {"\x1b" * 1000: 1}, None),
        (ListOf(Text()), ["x" * 10**6], None),
    ],
    ids=itertools.count(),
)
def test_what_does_not_fit_is_named(check, value, said):
    with pytest.raises(Misfit) as caught:
        check(value)
    assert said is None or str(caught.value) == said
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def nested(depth):
    value = []
    for _level in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("name", ["state", "kernel", "namespaces", "owners", "surplus"])
def test_depth_is_no_trap(name):
    with pytest.raises(Misfit):
        FACTS(dict(facts(), **{name: nested(100_000)}))


@pytest.mark.parametrize(
    "text",
    ["\x1b" * 2**20, "a" * 2**20, "net." * 2**18, "0" * 2**20, " " * 2**20],
    ids=["escapes", "a", "net", "digits", "blanks"],
)
def test_a_mebibyte_takes_no_time(text):
    """The whole facts with one text in the place of each other."""
    for value in (text, [text], {text: text}, {text: {text: 1}}, [{"path": text}]):
        begun = time.process_time()
        for name in facts():
            with pytest.raises(Misfit):
                FACTS(dict(facts(), **{name: value}))
        assert time.process_time() - begun < 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.sampled_from(sorted(facts())), VALUES)
def test_any_value_fits_or_is_a_misfit(name, value):
    try:
        found = FACTS(dict(facts(), **{name: value}))
    except Misfit as misfit:
        said = str(misfit)
    else:
        said = name
        assert FACTS(found) == found
        json.dumps(found)
    assert said.startswith(name)
    assert escaped(said) == said


def test_what_is_only_shown_is_escaped_and_bounded():
    check = Shown(longest=5, most=2, depth=2)
    assert check({"a\x1b": "b\u202e\n\tcdef", "c": 1, "d": 2}) == {"a\\x1b": "b\\u202e\n\tc", "c": "1"}
    assert check([["x"], [[["deep"]]], 3]) == [["x"], ["a list of 1"]]
    assert check([None, True]) == [None, True]
