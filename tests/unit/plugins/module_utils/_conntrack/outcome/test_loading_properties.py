# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Files of any content give something, never an exception."""

import copy
import shlex
import time

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed; it runs on controllers' Pythons")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.foretold import foretold
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.reading import told
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import assignments
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.fold import predict
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.loading import loading
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.udev import words
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import ASSIGNMENTS, OUTCOME
from ansible_collections.headroom.netfilter.tests.unit import examples

PATHS = ("etc/modprobe.d/a.conf", "proc/cmdline", "etc/modules-load.d/a.conf", "etc/udev/rules.d/a.rules")

WORDS = st.sampled_from(
    [
        "options nf_conntrack",
        "options nf_conn\\\ntrack x",
        "install nf_*",
        "softdep nf-conntrack",
        "alias",
        "blacklist nf_conntrack",
        "[z-a]",
        "[",
        "hashsize",
        "=",
        "0x",
        '"',
        "\\",
        "\n",
        "\0",
        " ",
        "'",
        'RUN+="sysctl',
        'GOTO="x"',
        "\x85",
        "&&",
        "pre:",
        "modprobe.blacklist=",
    ]
)


TEXTS = st.lists(WORDS, max_size=12).map(" ".join).map(str.encode) | st.binary(max_size=40)


LONG = {
    "options": "options nf_conntrack a\n" * 11000,
    "parameters": "options nf_conntrack " + "a " * 130000,
    "a pattern": "install " + "*" * 60 + "x y\ninstall " + "*a" * 99 + " y\n",
    "brackets": "install " + "[" * 260000,
    "quotes": 'options nf_conntrack "' * 12000,
    "joined": "options nf_conntrack a\\\n" * 10000,
    "a softdep": "softdep nf_conntrack " + "pre: " * 52000 + "\ninstall nf_conntrack x",
    "a command": "install nf_conntrack sysctl " + "-p " * 87000,
    "commands": "install nf_conntrack modprobe -i nf_conntrack" + "; sysctl -p" * 23000,
    "capitals": "A" * 260000,
    "braces": "RUN{" * 65000,
    "a rule": 'RUN+="' + "sysctl -p " * 26000 + '"',
    "words": ".=" * 130000,
}


def read(root, texts):
    for path, text in zip(PATHS, texts):
        real = root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        # Rules without a sysctl are not looked at.
        real.write_bytes((b"#sysctl\n" if path.endswith(".rules") else b"") + text)
    for state in ("loaded", "loadable", "builtin"):
        facts = examples.facts({"state": state})
        facts["assignments"], _exposed = assignments(Host(str(root)), facts, ())
        loading(facts["assignments"], "nf_conntrack", (6, 1), state == "builtin")
        before = copy.deepcopy(facts)
        predict(facts)
        assert facts == before
        shown = foretold(told(facts))
        # What is foreseen from it elsewhere is the same: nothing in it is cut or escaped on the way.
        assert ASSIGNMENTS(shown["assignments"]) == shown["assignments"] == facts["assignments"]
        assert OUTCOME(shown["outcome"]) == shown["outcome"]


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS))
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_any_bytes_give_something(tmp_path, texts):
    read(tmp_path, texts)


@given(st.text("ab \t\n'\"\\;\u2028") | st.text())
def test_words_as_shlex_has_them(text):
    try:
        expected = shlex.split(text)
    except ValueError:
        expected = text.split()
    assert words(text) == expected


@pytest.mark.parametrize("text", list(LONG.values()), ids=list(LONG))
def test_the_longest_does_not_take_long(tmp_path, text):
    start = time.process_time()
    read(tmp_path, [text.encode()] * len(PATHS))
    assert time.process_time() - start < 10
