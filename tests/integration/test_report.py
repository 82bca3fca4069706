# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Reports of an audit: with what arrived and what did not, in parts and as one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from conftest import Machine

FORMS = ["report.csv", "report.html", "report.json", "report.md", "report.xml"]
HOSTS = """\
gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
broken ansible_python_interpreter=/nonexistent
"""
ACCEPT = "[{id: established-five-days, hosts: '*', reason: known, until: 2999-01-01}]"


def read(folder: Path) -> dict[str, dict[str, Any]]:
    return {host["name"]: host for host in json.loads((folder / "report.json").read_text())["hosts"]}


def test_what_arrived_and_what_did_not_in_parts_and_as_one(machine: Machine, tmp_path: Path) -> None:
    machine.set("tcp_timeout_established", 432000)
    inventory, accept = tmp_path / "hosts.ini", tmp_path / "accept.yml"
    inventory.write_text(HOSTS)
    accept.write_text(ACCEPT)
    before = machine.etc(), machine.values()

    def audit(*options: str, expect: int | None = 0) -> Any:
        return machine.play("-i", str(inventory), *options, name="audit", expect=expect)

    # Nothing is written where it is only tried, and no host is read where a file will not do.
    tried = audit("--check", "--diff", "--limit", "localhost", "-e", f"audit_report={tmp_path}/a")
    assert f"+++ after: {tmp_path}/a/report.md" in tried.output
    accept.write_text(ACCEPT.replace("2999-01-01", "soon"))
    refused = audit("-e", f"audit_accept={accept}", "-e", f"audit_report={tmp_path}/a", expect=2)
    assert "audit_accept[0].until: 'soon' will not do" in refused.output
    assert "TASK [headroom.netfilter.conntrack : Read" not in refused.output
    assert not (tmp_path / "a").exists()

    accept.write_text(ACCEPT)
    options = ["-e", f"audit_accept={accept}", "-e", f"audit_remedies={tmp_path}/cures", "-e", "audit_fail_on=info"]
    ran = audit("--limit", "localhost,gone", "-e", f"audit_report={tmp_path}/a", *options, expect=None)
    assert "changed=1" not in ran.output
    assert "info established-five-days: accepted: tcp_established 432000 s" in ran.output
    failed = re.search(r'"msg": \["localhost: (.*?)"\]', ran.output)
    assert failed is None or "established-five-days" not in failed.group(1)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == FORMS
    assert {name: host["state"] for name, host in read(tmp_path / "a").items()}["gone"] == "unreachable"
    assert not (tmp_path / "cures/established-five-days.yml").exists()

    audit("--limit", "localhost,broken", "-e", f"audit_report={tmp_path}/b", expect=2)
    parts = f"{tmp_path}/a/report.json,{tmp_path}/b/report.json"
    merged = ("-e", f"merge_reports={parts}", "-e", f"audit_report={tmp_path}/all")
    compared = ("-e", f"audit_baseline={tmp_path}/a/report.json")
    said = machine.play(*merged, *compared, name="merge_reports").output
    assert "3 hosts: " in said
    states = {name: host["state"] for name, host in read(tmp_path / "all").items()}
    assert (states["gone"], states["broken"]) == ("unreachable", "failed")
    assert states["localhost"] in ("read", "partial")
    since = json.loads((tmp_path / "all/report.json").read_text())["since"]
    assert since["hosts_new"] == ["broken"]
    assert (machine.etc(), machine.values()) == before


def test_reports_to_be_merged_are_named(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"version": 7}')
    for options in ([], ["-e", f"merge_reports={tmp_path}/report.json"]):
        said = machine.play(*options, "-e", f"audit_report={tmp_path}/all", name="merge_reports", expect=2).output
        assert "merge_reports: " in said
    assert not (tmp_path / "all").exists()
