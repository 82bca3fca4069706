# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Files for tune, finding by finding."""

import re

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.findings.catalogue import RISKS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan.policy import read
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.report import accept, remedies
from ansible_collections.headroom.netfilter.tests.unit import reports

NAMES = [*reports.HOSTILE, "web01", "web1", "web[01]", "a,b", "!a", "&a", "~.*", "a:b", "2001:db8::1", "*"]


def test_every_cure_is_of_a_finding_and_has_variables_of_the_roles():
    assert set(remedies.CURES) <= set(RISKS)
    for cure in remedies.CURES.values():
        assert read({**cure.variables, **cure.perhaps}, [*cure.variables, *cure.perhaps])


def test_what_tune_is_said_to_cure_it_is_said_to_cure_there_too():
    """The catalogue names tune, or a variable, wherever there is a cure; and no finding without one names tune for this host."""
    for name, risk in RISKS.items():
        named = set(re.findall("conntrack_[a-z_]+", risk.remedy))
        cure = remedies.CURES.get(name)
        if cure is not None and (cure.variables or cure.perhaps):
            assert {*cure.variables, *cure.perhaps} & named or "limit" in risk.remedy, name


def made(*hosts, where="/srv/remedies"):
    return remedies.files(reports.report(*hosts), where)


def test_files_hold_exactly_the_hosts_concerned():
    found = made(reports.read("b", {"table.count": 8000}), reports.read("a"), reports.read("well", {"timeouts": {}}))
    assert sorted(found) == [
        *("established-five-days.limit", "established-five-days.yml"),
        *("table-nearly-full.limit", "table-nearly-full.yml"),
    ]
    assert found["established-five-days.limit"] == "a\nb\n"
    assert found["table-nearly-full.limit"] == "b\n"
    assert yaml.safe_load(found["established-five-days.yml"]) == {"conntrack_timeout_profile": "server"}
    assert yaml.safe_load(found["table-nearly-full.yml"]) == {}
    assert (
        "\n# Perhaps, with a value of yours: conntrack_expected_connections: 300000\n" in found["table-nearly-full.yml"]
    )
    assert set(found) <= set(remedies.names())


def test_what_is_accepted_needs_no_remedy():
    entry = {"id": "established-five-days", "hosts": "a", "reason": "known", "until": "2030-01-01"}
    report = accept.accept(reports.report(reports.read("a"), reports.read("b")), accept.read([entry]))
    assert remedies.files(report, "/x")["established-five-days.limit"] == "b\n"


@pytest.mark.parametrize("where", ["/srv/it's here", "/srv/a\nb: c"])
def test_a_folder_with_any_name_stays_in_its_comment(where):
    text = made(reports.read("a"), where=where)["established-five-days.yml"]
    assert yaml.safe_load(text) == {"conntrack_timeout_profile": "server"}


@pytest.fixture(scope="module")
def inventory():
    found = InventoryManager(loader=DataLoader(), sources=None)
    for name in NAMES:
        found.add_host(name)
    found.reconcile_inventory()
    return found


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_the_limit_is_that_host_alone(inventory, name, tmp_path):
    (tmp_path / "x.limit").write_text(remedies.pattern(name) + "\n", encoding="utf-8")
    inventory.subset(f"@{tmp_path}/x.limit")
    found = [host.name for host in inventory.get_hosts("all")]
    inventory.subset(None)
    assert found == [name]
