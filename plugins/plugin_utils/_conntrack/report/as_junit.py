# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for CI: JUnit's XML. A host is a suite, a finding is a case. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.said import INFO
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import shape

# Characters that XML 1.0 does not have, not even by number.
_NONE_OF_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: model.Report) -> str:
    suites = [_suite(host, report["made"]) for host in report["hosts"]]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", *suites, "</testsuites>", ""])


def _suite(host: model.Host, when: str) -> str:
    cases = list(_cases(host))
    kinds = [kind for kind, _case in cases]
    head = {
        "name": host["name"],
        "tests": str(len(cases)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "timestamp": when.rstrip("Z"),
    }
    return "\n".join([f"<testsuite{_attributes(head)}>", *(case for _kind, case in cases), "</testsuite>"])


def _cases(host: model.Host) -> Iterator[tuple[str, str]]:
    """Each case with what became of it: what is accepted is skipped, and what is only worth knowing passes."""
    if host["state"] not in shape.ARRIVED:
        yield "error", _case(host, "read", "error", host["state"], host["said"])
    elif not host["findings"]:
        yield "", _case(host, "nothing found", "", "", "")
    for finding in host["findings"]:
        if finding["accepted"]:
            said = "accepted until {until}: {reason}".format(**finding["accepted"])
            yield "skipped", _case(host, finding["id"], "skipped", "", said)
        elif finding["severity"] == INFO:
            yield "", _case(host, finding["id"], "", "", "", finding["seen"])
        else:
            yield (
                "failure",
                _case(host, finding["id"], "failure", finding["severity"], finding["seen"], finding["remedy"]),
            )


def _case(host: model.Host, name: str, outcome: str, kind: str, message: str, text: str = "") -> str:
    head = _attributes({"classname": host["name"], "name": name})
    if not outcome:
        return f"<testcase{head}><system-out>{_text(text)}</system-out></testcase>" if text else f"<testcase{head}/>"
    said = {"message": message, **({"type": kind} if kind else {})}
    return f"<testcase{head}><{outcome}{_attributes(said)}>{_text(text)}</{outcome}></testcase>"


def _attributes(values: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(_known(value))}" for name, value in values.items())


def _text(value: str) -> str:
    return _known(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _known(value: str) -> str:
    return _NONE_OF_XML.sub("\ufffd", value)
