# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What has changed from one report to the next, and several as one."""

import json

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import between, shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.tests.unit import reports

LATER = "2026-06-16T12:00:00Z"


def changed(old, new):
    report = between.since(reports.report(*old), reports.report(*new, when=LATER))
    assert shape.REPORT(report) == report
    return {name: found for name, found in report["since"].items() if found and name != "made"}


def found(host, name, severity, seen):
    return {"host": host, "id": name, "severity": severity, "seen": seen}


FULL = found("a", "table-nearly-full", "critical", "8000 of 8192 entries in use, 97.7 percent")
DAYS = [found("a", "established-five-days", severity, "tcp_established 432000 s") for severity in ("info", "warning")]


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ([reports.read("a")], [reports.read("a")], {}),
        ([reports.read("a")], [reports.read("a", {"table.count": 8000})], {"findings_new": [FULL]}),
        ([reports.read("a", {"table.count": 8000})], [reports.read("a")], {"findings_gone": [FULL]}),
        ([reports.read("a")], [reports.read("a", {"timeouts": {}})], {"findings_gone": DAYS[:1]}),
        ([reports.read("a")], [reports.read("b")], {"hosts_new": ["b"], "hosts_gone": ["a"]}),
        (
            [reports.read("a")],
            [reports.read("a", {"table.max": 16384})],
            {"limits": [{"host": "a", "was": 8192, "is": 16384}]},
        ),
        (
            [reports.read("a")],
            [reports.unreachable("a")],
            {"states": [{"host": "a", "was": "partial", "is": "unreachable"}]},
        ),
    ],
    ids=["nothing", "new", "gone", "cured", "hosts", "limits", "a host that did not arrive lost nothing"],
)
def test_what_has_changed(old, new, changes):
    assert changed(old, new) == changes


def test_findings_of_one_id_are_counted():
    one, two = reports.read("a"), reports.read("a")
    two["findings"] = [*two["findings"], *two["findings"]]
    assert changed([one], [two]) == {"findings_new": DAYS[:1]}


def test_slices_become_one():
    first = reports.report(reports.read("a"), reports.unreachable("b"))
    second = reports.report(reports.read("b"), reports.read("c"), when=LATER)
    one = between.merged([first, second], LATER)
    assert shape.REPORT(one) == one
    assert {host["name"]: host["state"] for host in one["hosts"]} == dict.fromkeys("abc", "partial")
    assert one["merged"] == [{"made": reports.WHEN, "hosts": 2}, {"made": LATER, "hosts": 2}]


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_host_that_is_in_two_what_was_read_counts_and_then_the_later(turned):
    old = reports.report(reports.read("a"), reports.read("b", {"table.max": 1024}))
    new = reports.report(reports.unreachable("a"), reports.read("b"), when=LATER)
    one = between.merged([new, old] if turned else [old, new], LATER)
    assert {host["name"]: (host["table"] or {}).get("max") for host in one["hosts"]} == {"a": 8192, "b": 8192}


def test_one_that_was_written_is_read():
    made = reports.report(*reports.golden_hosts(), reports.unreachable("gone"))
    assert between.read("audit_baseline", "x", model.as_json(made)) == made


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda report: report.update(version=2), "version: expected a whole number from 1 to 1"),
        (lambda report: report.update(format="other"), "format: expected one of headroom.netfilter.report"),
        (lambda report: report.pop("hosts"), "hosts: expected a value, found none of that name"),
        (lambda report: report["hosts"][0].update(worst="dire"), "hosts.[0].worst: expected one of critical"),
        (lambda report: report["hosts"][0].update(name=["a"]), "hosts.[0].name: expected a text"),
        (lambda report: report.update(more=1), "more: expected nothing of that name"),
    ],
    ids=["version", "format", "hosts", "severity", "name", "more"],
)
def test_what_is_no_report_is_refused(change, wanted):
    report = json.loads(model.as_json(reports.report(reports.read("a"))))
    change(report)
    with pytest.raises(PolicyError) as raised:
        between.read("audit_baseline", "old/report.json", json.dumps(report))
    assert str(raised.value).startswith("audit_baseline: 'old/report.json' will not do: expected a report.json")
    assert wanted in str(raised.value).replace("hosts[", "hosts.[")


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, "null"], ids=["empty", "cut", "deep", "null"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(PolicyError, match="merge_reports: 'x' will not do"):
        between.read("merge_reports", "x", text)


def test_what_another_reports_host_says_is_escaped():
    report = json.loads(model.as_json(reports.report(reports.unreachable("a"))))
    report["hosts"][0]["said"] = "\x1b[31m"
    assert between.read("merge_reports", "x", json.dumps(report))["hosts"][0]["said"] == r"\x1b[31m"
