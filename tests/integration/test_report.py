# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Reports of an audit: with what arrived and what did not, in parts and as one. Hosts are trees, and what cannot be reached or run:
of the kernel of this machine nothing is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Machine, Ran

sys.path.append(str(Path(__file__).parents[1] / "unit"))
import golden

FORMS = ["report.csv", "report.html", "report.json", "report.md", "report.xml"]
HOSTS = """\
tree conntrack_root={0}
gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
broken ansible_python_interpreter=/nonexistent
"""
ACCEPT = "[{id: established-five-days, hosts: 'tr*', reason: known, until: 2999-01-01}]"


@pytest.fixture
def controller(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.config.getoption("--ansible-playbook"), request.config.getoption("--target-python"))


def read(folder: Path) -> dict[str, dict[str, Any]]:
    return {host["name"]: host for host in json.loads((folder / "report.json").read_text())["hosts"]}


def test_what_arrived_and_what_did_not_in_parts_and_as_one(controller: Machine, tmp_path: Path) -> None:
    inventory, accept = tmp_path / "hosts.ini", tmp_path / "accept.yml"
    inventory.write_text(HOSTS.format(golden.lay_out("debian12", str(tmp_path / "tree"))))

    def audit(*options: str, expect: int | None = 0) -> Ran:
        return controller.play("-i", str(inventory), *options, name="audit", expect=expect)

    # Nothing is written where it is only tried, and no host is read where a file will not do.
    tried = audit("--check", "--diff", "--limit", "tree", "-e", f"audit_report={tmp_path}/a")
    assert f"+++ after: {tmp_path}/a/report.md" in tried.output
    accept.write_text(ACCEPT.replace("2999-01-01", "soon"))
    refused = audit("-e", f"audit_accept={accept}", "-e", f"audit_report={tmp_path}/a", "--limit", "tree", expect=2)
    assert "audit_accept[0].until: 'soon' will not do" in refused.output
    assert "Read what the kernel does now" not in refused.output
    assert not (tmp_path / "a").exists()

    accept.write_text(ACCEPT)
    options = ["-e", f"audit_accept={accept}", "-e", f"audit_remedies={tmp_path}/cures", "-e", "audit_fail_on=info"]
    ran = audit("--limit", "tree,gone", "-e", f"audit_report={tmp_path}/a", *options, expect=None)
    assert ran.code in (2, 4)
    assert "changed=1" not in ran.output
    assert "established-five-days: accepted: tcp_established 432000 s" in ran.output
    assert '"msg": ["tree: below-rfc-floors"]' in ran.output
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FORMS
    assert {name: host["state"] for name, host in read(tmp_path / "a").items()} == {
        "tree": "read",
        "gone": "unreachable",
    }
    assert (tmp_path / "cures/below-rfc-floors.limit").read_text() == "tree\n"
    assert not (tmp_path / "cures/established-five-days.yml").exists()

    audit("--limit", "tree,broken", "-e", f"audit_report={tmp_path}/b", expect=2)
    parts = f"{tmp_path}/a/report.json,{tmp_path}/b/report.json"
    merged = ("-e", f"merge_reports={parts}", "-e", f"audit_report={tmp_path}/all")
    compared = ("-e", f"audit_baseline={tmp_path}/a/report.json")
    assert "3 hosts: " in controller.play(*merged, *compared, name="merge_reports").output
    states = {name: host["state"] for name, host in read(tmp_path / "all").items()}
    assert states == {"tree": "read", "gone": "unreachable", "broken": "failed"}
    assert json.loads((tmp_path / "all/report.json").read_text())["since"]["hosts_new"] == ["broken"]


def test_reports_to_be_merged_are_named(controller: Machine, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"version": 7}')
    for options in ([], ["-e", f"merge_reports={tmp_path}/report.json"]):
        said = controller.play(*options, "-e", f"audit_report={tmp_path}/all", name="merge_reports", expect=2).output
        assert "merge_reports: " in said
    assert not (tmp_path / "all").exists()
