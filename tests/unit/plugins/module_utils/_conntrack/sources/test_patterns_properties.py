# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Regular expressions and globs as the C library of this machine has them."""

import ctypes
import platform

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.globs import alternatives, matches
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.patterns import CLASSES, finds


class Libc:
    def __init__(self):
        self._libc = ctypes.CDLL(None)

    def finds(self, pattern, text):
        """None where the pattern is none; as procps: REG_EXTENDED | REG_NOSUB."""
        # regex_t has 64 bytes.
        compiled = ctypes.create_string_buffer(256)
        if self._libc.regcomp(compiled, pattern.encode(), 1 | 8):
            return None
        try:
            return self._libc.regexec(compiled, text.encode(), 0, None, 0) == 0
        finally:
            self._libc.regfree(compiled)

    def matches(self, pattern, name):
        return self._libc.fnmatch(pattern.encode(), name.encode(), 0) == 0


@pytest.fixture(scope="module")
def libc():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library than glibc")
    return Libc()


def test_every_class_as_grep_has_it(libc):
    for name in CLASSES:
        for char in map(chr, range(1, 128)):
            assert finds("[[:{0}:]]".format(name), char) is libc.finds("[[:{0}:]]".format(name), char)


EXTENDED = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            ".",
            "*",
            "+",
            "?",
            "^",
            "$",
            "|",
            "[ab]",
            "[^a]",
            "[a-c]",
            "[[:digit:]x]",
            "1",
            "\\.",
            "\\[",
            "[]a]",
        ]
        + ["[a-]", "[^]-a]", "[", "]", "-", "\\", "(", ")", "{", "}", "[-a]", "[[:foo:]]", "[a\\]", ",", "_"]
    ),
    max_size=8,
).map("".join)
GLOBS = st.lists(
    st.sampled_from(
        ["a", "b", "*", "?", "[", "]", "!", "^", "\\", "[[:alpha:]]", "[:digit:]", "[a-c]", "[!a]", "1", "."]
    ),
    max_size=8,
).map("".join)


@given(EXTENDED, st.text("abc-]1.[^\\x_,", max_size=6))
def test_patterns_as_the_c_library(libc, pattern, text):
    found = finds(pattern, text)
    assert found is None or found is libc.finds(pattern, text)


@given(GLOBS, st.text("abc-]1!^\\[.:", max_size=5))
def test_globs_as_the_c_library(libc, glob, name):
    assert matches(glob, name) is libc.matches(glob, name)


@given(st.text(), st.text())
def test_any_text(pattern, text):
    assert finds(pattern, text) in (True, False, None)
    assert matches(pattern, text) in (True, False)


@given(st.text("{},\\ab*", max_size=60))
def test_any_braces(pattern):
    found = list(alternatives(pattern))
    assert 1 <= len(found) < 100
    assert "{" in pattern or found == [pattern]
