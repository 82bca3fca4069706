# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Findings that are accepted, until a day; and files that say it wrongly."""

import datetime

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.readers import PolicyError
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import report as model
from ansible_collections.headroom.netfilter.tests.unit import reports

ENTRY = {"id": "established-five-days", "hosts": ["db*"], "reason": "known", "until": "2026-06-15"}


def accepted(*entries, when=reports.WHEN):
    hosts = [reports.read(name) for name in ("db1", "db2", "web")]
    return accept.accept(reports.report(*hosts, when=when), accept.read([{**ENTRY, **entry} for entry in entries]))


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ({}, ["db1", "db2"]),
        ({"hosts": "db1"}, ["db1"]),
        ({"hosts": ["web", "db2"]}, ["db2", "web"]),
        ({"hosts": "*"}, ["db1", "db2", "web"]),
        ({"hosts": "db"}, []),
        ({"hosts": "d.1"}, []),
        ({"until": datetime.date(2026, 6, 15)}, ["db1", "db2"]),
        ({"until": "2026-06-14"}, []),
        ({"id": "lost-at-boot"}, []),
    ],
    ids=str,
)
def test_which_are(entry, names):
    report = accepted(entry)
    assert sorted(model.accepted_of(report)) == names
    worsts = {host["name"]: host["worst"] for host in report["hosts"]}
    assert [name for name in sorted(worsts) if worsts[name] is None] == names


def test_when_the_day_has_passed_it_is_back_and_told():
    report = accepted({"until": "2026-06-15"}, when="2026-06-16T00:00:00Z")
    assert model.accepted_of(report) == {}
    assert [one["over"] for one in report["accepted"]] == [True]


def test_of_two_that_which_lasts_longer_is_told():
    report = accepted({"until": "2027-01-01", "reason": "longer"}, {"until": "2026-12-01"})
    (said,) = {finding["accepted"]["reason"] for host in report["hosts"][1:] for finding in host["findings"]}
    assert said == "longer"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"a": 1}, "audit_accept: {'a': 1} will not do: expected a list"),
        ("text", "audit_accept: 'text' will not do: expected a list"),
        (None, "audit_accept: None will not do: expected a list"),
        ([1], "audit_accept[0]: 1 will not do: expected a mapping"),
        ([{**ENTRY, "id": "lost-at-bot"}], "did you mean lost-at-boot?"),
        ([{**ENTRY, "hosts": []}], "audit_accept[0].hosts: [] will not do: expected names of hosts"),
        ([{**ENTRY, "hosts": [1]}], "audit_accept[0].hosts: [1] will not do"),
        ([{**ENTRY, "reason": " "}], "audit_accept[0].reason: ' ' will not do: expected why"),
        ([{**ENTRY, "until": "soon"}], "audit_accept[0].until: 'soon' will not do: expected the last day"),
        ([{**ENTRY, "until": "2026-02-30"}], "audit_accept[0].until: '2026-02-30' will not do"),
        ([{**ENTRY, "until": datetime.datetime(2026, 1, 1)}], "audit_accept[0].until"),
        ([ENTRY, {**ENTRY, "untill": "2026-01-01"}], "audit_accept[1].untill: '2026-01-01' will not do: there are id"),
        ([{name: ENTRY[name] for name in ("id", "hosts", "reason")}], "audit_accept[0].until: None will not do"),
        ([{**ENTRY, "reason": "\x1b[31m" * 400}], r"audit_accept[0].reason: '\x1b[31m"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_file_that_says_it_wrongly_is_refused(said, wanted):
    with pytest.raises(PolicyError) as raised:
        accept.read(said)
    assert wanted in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(PolicyError) as raised:
        accept.read([{}, {**ENTRY, "until": 1}])
    assert len(raised.value.problems) == 5
