# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The action conntrack_report: the hosts of a play, as files on the controller."""

import json
from types import SimpleNamespace

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.headroom.netfilter.plugins.action.conntrack_report import ActionModule
from ansible_collections.headroom.netfilter.plugins.modules import conntrack_report
from ansible_collections.headroom.netfilter.plugins.plugin_utils._conntrack.answers import FACTS
from ansible_collections.headroom.netfilter.tests.unit.examples import facts


def ran(args, hostvars, check=False):
    task = SimpleNamespace(args=args, check_mode=check, async_val=0, delegate_to=None, action="x", diff=True)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp/x"))
    action = ActionModule(task, connection, SimpleNamespace(), DataLoader(), Templar(loader=DataLoader()), None)
    return action.run(task_vars={"ansible_play_hosts_all": list(hostvars), "hostvars": hostvars})


def host(changes=(), **variables):
    return {"__conntrack_before": {"ansible_facts": {"conntrack": FACTS(facts(changes))}}, **variables}


FLEET = {
    "a": host({"table.count": 8000}),
    "b": host(conntrack_hashsize=0),
    "gone": {"__conntrack_before": {"unreachable": True, "msg": "no route"}},
    "never": {},
}


def test_all_hosts_of_the_play_are_in_it(tmp_path):
    result = ran({"path": str(tmp_path)}, FLEET)
    assert result["changed"] is True
    assert result["summary"] == ["4 hosts: 1 critical, 1 info, 2 not read"]
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {one["name"]: one["state"] for one in report["hosts"]} == {
        "a": "partial",
        "b": "partial",
        "gone": "unreachable",
        "never": "not read",
    }


def test_the_documentation_says_the_same(tmp_path):
    result = ran({"path": str(tmp_path)}, FLEET)
    assert set(yaml.safe_load(conntrack_report.RETURN)) == set(result) - {"changed", "diff"}
    assert set(yaml.safe_load(conntrack_report.DOCUMENTATION)["options"]) == ActionModule._VALID_ARGS


def test_check_mode_writes_nothing(tmp_path):
    result = ran({"path": str(tmp_path / "a")}, FLEET, check=True)
    assert (result["changed"], len(result["files"]), len(result["diff"])) == (True, 5, 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("only", [True, False])
def test_input_that_will_not_do_fails_before_anything_is_made(tmp_path, only):
    result = ran({"path": str(tmp_path / "x"), "baseline": str(tmp_path / "none"), "input_only": only}, FLEET)
    assert result["failed"] is True
    assert result["msg"].startswith("audit_baseline: ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_accepted_is_told_by_host(tmp_path):
    accept = tmp_path / "accept.yml"
    accept.write_text("[{id: established-five-days, hosts: [a], reason: known, until: 2999-01-01}]", encoding="utf-8")
    result = ran({"accept": str(accept)}, FLEET)
    assert (result["accepted"], result["changed"], result["files"]) == ({"a": ["established-five-days"]}, False, [])


def test_reports_are_merged_without_a_host(tmp_path):
    for name in ("a", "b"):
        ran({"path": str(tmp_path / name)}, {name: FLEET[name]})
    merge = [str(tmp_path / name / "report.json") for name in ("a", "b")]
    result = ran({"merge": merge, "path": str(tmp_path / "all")}, {"localhost": {}})
    assert result["summary"] == ["2 hosts: 1 critical, 1 info"]


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "report.json").mkdir()
    result = ran({"path": str(tmp_path)}, FLEET)
    assert (result["failed"], result["msg"]) == (True, f"{tmp_path}/report.json: Is a directory")
