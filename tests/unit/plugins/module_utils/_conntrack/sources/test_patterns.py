# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Regular expressions and globs of a host: what is understood of them, and what is not."""

import time

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.globs import matches
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.patterns import finds

KEY = "net.netfilter.nf_conntrack_max"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", True),
        ("nf_conntrack", True),
        ("net[.]netfilter[.]nf_conntrack.*", True),
        (r"^net\.netfilter\.", True),
        ("^netfilter", False),
        ("max$", True),
        ("^max$", False),
        ("^net.*max$", True),
        ("n+f_+c?x*o", True),
        ("nf_conntrack_(max|buckets)", None),
        ("ipv4|netfilter", True),
        ("ipv4|ipv6", False),
        ("[[:alpha:]]_[^[:digit:]]", True),
        ("[[:digit:]]", False),
        ("[m-]ax", True),
        ("[]m]ax", True),
        ("a^b", False),
        ("$", True),
    ],
)
def test_a_pattern(pattern, found):
    assert finds(pattern, KEY) is found


@pytest.mark.parametrize(
    "pattern",
    [
        "([a-z_.]+)+$!",
        "(a)",
        r"(a)\1",
        "a{2}",
        "a}",
        "a**",
        "a+?",
        "*",
        "^*",
        "a|*",
        r"\w",
        r"\<net",
        r"\`net",
        "a\\",
        "[a",
        "[]",
        "[z-a]",
        "[a-c-e]",
        "[[.a.]]",
        "[[=a=]]",
        "[[:letter:]]",
        "[[:alpha:]",
        "caf\xe9",
        "a" * 1000,
    ],
)
def test_not_understood(pattern):
    assert finds(pattern, KEY) is None


def test_what_python_s_engine_takes_for_ever():
    start = time.process_time()
    for pattern in ("a?" * 400 + "b" * 100, "a*" * 499, "a*" * 400 + "!", "[^!]*" * 150 + "!"):
        finds(pattern, "a" * 4000)
        matches(pattern, "a" * 255)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("nf_conntrack*", KEY[14:], True),
        ("*", "", True),
        ("?", "", False),
        ("**a**", "a", True),
        ("[!a]", "b", True),
        ("[^a]", "a", False),
        ("[a-c]x", "bx", True),
        ("[]a]", "]", True),
        ("[[:digit:]x]", "x", True),
        ("[[:letter:]x]", "x", False),
        ("[a", "[a", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("a\\", "a\\", False),
        ("[a\\]]", "]", True),
        ("\xe9?", "\xe9\xe8", True),
        ("[\xe9]", "\xe9", True),
    ],
)
def test_a_glob(glob, name, fits):
    assert matches(glob, name) is fits
