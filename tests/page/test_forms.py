# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The forms of a report for machines, by what others read them with."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path

import jsonschema
import junitparser
import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept, between, shape
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_csv import HEADS, as_csv
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report.as_junit import as_junit
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.schema import Misfit
from ansible_collections.headroom.netfilter.tests.page import fleet
from ansible_collections.headroom.netfilter.tests.unit import reports

SCHEMA = Path(__file__).parents[2] / "docs/report.schema.json"
ENTRY = {"id": "established-five-days", "hosts": "db*", "reason": "known", "until": "2030-01-01"}


@functools.cache
def some():
    hostile = [reports.read(name, {"table.count": 8000}) for name in reports.HOSTILE]
    small = reports.report(*reports.golden_hosts(), *hostile, reports.unreachable("gone"))
    accepted = accept.accept(fleet.report(200), accept.read([ENTRY]))
    return [
        reports.report(),
        small,
        between.since(fleet.report(150, 2), accepted),
        between.merged([small, accepted], fleet.WHEN),
    ]


@pytest.fixture(params=range(4), ids=["none", "golden", "compared", "merged"])
def report(request):
    return some()[request.param]


def test_the_schema_is_of_the_model():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == shape.schema()
    jsonschema.Draft202012Validator.check_schema(shape.schema())


def test_json_is_by_its_schema(report):
    jsonschema.Draft202012Validator(shape.schema()).validate(json.loads(model.as_json(report)))


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(version=2),
        lambda report: report.update(more=1),
        lambda report: report["hosts"][0].update(state="well"),
        lambda report: report["hosts"][0].pop("plan"),
        lambda report: report["hosts"][0]["findings"][0].update(severity=1),
        lambda report: report["hosts"][0]["table"].update(max=-1),
    ],
    ids=["version", "more", "state", "missing", "kind", "number"],
)
def test_the_schema_refuses_what_the_model_refuses(change):
    report = json.loads(model.as_json(some()[1]))
    change(report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(shape.schema()).validate(report)
    with pytest.raises(Misfit):
        shape.REPORT(report)


def test_junitparser_reads_a_suite_a_host_and_a_case_a_finding(report, tmp_path):
    (tmp_path / "report.xml").write_text(as_junit(report), encoding="utf-8")
    read = junitparser.JUnitXml.fromfile(str(tmp_path / "report.xml"))
    suites = list(read)
    assert [len(list(suite)) for suite in suites] == [max(len(host["findings"]), 1) for host in report["hosts"]]
    for suite, host in zip(suites, report["hosts"]):
        results = [type(result) for case in suite for result in case.result]
        assert suite.failures == results.count(junitparser.Failure)
        assert suite.errors == results.count(junitparser.Error) == (host["state"] not in shape.ARRIVED)
        assert (
            suite.skipped
            == results.count(junitparser.Skipped)
            == sum(bool(one["accepted"]) for one in host["findings"])
        )


def test_csv_is_a_line_for_each_host(report, tmp_path):
    (tmp_path / "report.csv").write_text(as_csv(report), encoding="utf-8", newline="")
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as opened:
        head, *rows = csv.reader(opened)
    assert tuple(head) == HEADS
    assert [len(row) for row in rows] == [len(HEADS)] * len(report["hosts"])
