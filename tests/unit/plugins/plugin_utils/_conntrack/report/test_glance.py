# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A fleet at a glance."""

import pytest

from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import glance
from ansible_collections.headroom.netfilter.tests.unit import reports


def bars(title, *hosts):
    (found,) = [one for one in glance.glances(reports.report(*hosts)) if one.title == title]
    return {one.label: one.number for one in found.bars if one.number}


@pytest.mark.parametrize(
    ("usage", "label"),
    [
        (None, "not known"),
        (0.0, "below 1 %"),
        (0.0099, "below 1 %"),
        (0.01, "1 to 25 %"),
        (0.7499, "50 to 75 %"),
        (0.95, "95 % and more"),
        (1.2, "95 % and more"),
    ],
)
def test_use(usage, label):
    assert bars("Share of the limit in use", reports.read("a", {"table.usage": usage})) == {label: 1}


def test_hosts_by_worst_finding():
    hosts = [reports.read("a", {"table.count": 8000}), reports.read("b"), reports.read("c"), reports.unreachable("d")]
    assert bars("Hosts by worst finding", *hosts) == {"critical": 1, "info": 2, "not read": 1}
    assert bars("What arrived", *hosts) == {"partial": 3, "unreachable": 1}
    assert bars("Findings", *hosts) == {"table-nearly-full": 1, "established-five-days": 3}


def test_the_hosts_that_drop_most_come_first_and_the_rest_together():
    hosts = [reports.read(f"h{number:02}", {"counters": {"drop": number}}) for number in range(20)]
    found = bars("Packets dropped since boot", *hosts)
    assert list(found)[:2] == ["h19", "h18"]
    assert found["7 more"] == sum(range(1, 8))


def test_who_loses_settings():
    lost = reports.read("a", {"table.max": 2**20, "table.count": 300000})
    assert bars("Who loses settings", lost, reports.read("b"), reports.unreachable("c")) == {
        "boot": 1,
        "reload": 1,
        "neither": 1,
        "not known": 1,
    }
    assert glance.limit_after(lost, "boot") < 2**20


def test_a_summary():
    assert glance.summary(reports.report(reports.read("a"), reports.unreachable("b"))) == [
        "2 hosts: 1 info, 1 not read"
    ]
