# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a host is, read plainly with its own tools; and as this collection reads and plans it."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

sys.path[:0] = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)
VARIABLES = yaml.safe_load(Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "vars.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def variables() -> dict[str, Any]:
    """What the scenario sets: the role's variables, and its own."""
    return dict(VARIABLES)


@pytest.fixture(scope="module")
def live(host: Host) -> dict[str, int]:
    """The values of the kernel by their file names, as nf_conntrack_max and hashsize."""
    lines = host.check_output("/var/tmp/look conntrack").splitlines()
    return {Path(path).name: int(value) for path, value in (line.split(":") for line in lines)}


@pytest.fixture(scope="module")
def persisted(host: Host) -> dict[str, int]:
    """What the files of the role say, by the same names."""
    text = host.check_output("cat /etc/sysctl.d/99-conntrack.conf /etc/modprobe.d/nf_conntrack.conf")
    pairs = (line.removeprefix("options nf_conntrack ").split("=") for line in text.splitlines() if "=" in line)
    return {name.strip().rpartition(".")[2]: int(value) for name, value in pairs}


@pytest.fixture(scope="session")
def gathered() -> dict[str, dict[str, Any]]:
    """By host: a module takes an emulated one seconds."""
    return {}


@pytest.fixture(scope="module")
def facts(host: Host, gathered: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = host.backend.get_pytest_id()
    if name not in gathered:
        said = host.ansible("headroom.netfilter.conntrack_facts", check=False)
        gathered[name] = dict(said["ansible_facts"]["conntrack"])
    return gathered[name]


@pytest.fixture(scope="module")
def plan(facts: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    from ansible_collections.headroom.netfilter.plugins.filter.conntrack_plan import conntrack_plan

    return dict(conntrack_plan(facts, variables))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of the host's journal."""
    report = yield
    if report.failed and "host" in item.funcargs:
        host: Host = item.funcargs["host"]
        report.sections.append((f"journal of {item.name}", host.run("/var/tmp/look journal").stdout))
    return report
