# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Reports for tests: hosts whose facts are real, and what hosts may be named."""

from __future__ import annotations

from typing import Any

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.tests.unit import golden
from ansible_collections.headroom.netfilter.tests.unit.examples import facts

WHEN = "2026-06-15T12:00:00Z"
# Names that an inventory may hold, each of harm in one form or another.
HOSTILE = (
    "<script>document.title='taken'</script>",
    "</script><script>document.title='taken'</script>",
    "<!--<script>",
    '"><img src=x onerror="document.title=\'taken\'">',
    '=HYPERLINK("http://x.invalid")',
    " +1+1",
    "-2",
    "@SUM(1)",
    "`code` @everyone #1 [a](http://x.invalid) ![b](c)",
    "a|b",
    "{{ 7*7 }}",
    "${7*7}",
    "nul\0bell\x07esc\x1b[31m",
    "\u202egnp.exe",
    "lone\ud800half",
    "]]>&amp;",
    "line\nbreak",
    "__proto__",
    "\u2028",
)


def read(name: str, changes: Any = (), variables: Any = None) -> model.Host:
    """The host of the examples, with changes to its facts, as it was read."""
    return answered(name, FACTS(facts(changes)), variables)


def answered(name: str, known: Any, variables: Any = None) -> model.Host:
    return model.Reader().host(name, {"ansible_facts": {"conntrack": known}}, variables or {})


def unreachable(name: str, said: str = "no route to host") -> model.Host:
    return model.Reader().host(name, {"unreachable": True, "msg": said}, {})


def report(*hosts: model.Host, when: str = WHEN) -> model.Report:
    return model.made(hosts, when)


def golden_hosts(user: bool = False) -> list[model.Host]:
    found = []
    for name in golden.NAMES:
        known = golden.load(name, "facts")
        found.append(answered(name, FACTS(golden.overlaid(known["root"], known["user"]) if user else known["root"])))
    return found
