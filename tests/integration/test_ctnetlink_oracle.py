# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What ctnetlink tells besides the table, on this kernel: as conntrack and /proc print it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import ctnetlink_oracle
import pytest
from conftest import Machine

# By conntrack's names, where they are others.
NAMES = {"error": "icmp_error", "clash_resolve": "clashres", "chaintoolong": "chain_too_long"}
OF_EXPECTATIONS = {"expect_new", "expect_create", "expect_delete"}


def looked(what: str) -> dict[str, Any]:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, ctnetlink_oracle.__file__, what],
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_counters(machine: Machine) -> None:
    found = looked("counters")
    ours = found["by_ctnetlink"]
    assert ours == {NAMES.get(name, name): number for name, number in found["by_conntrack"].items()}
    assert (ours["invalid"], ours["insert"]) == (7, 5)
    with_file, without = found["namespaces"]
    assert with_file == without
    assert len(without) > 1
    if found["by_file"] is not None:
        # What is no longer counted stays a column.
        assert {name: found["by_file"][name] for name in ours} == ours
        gone = set(found["by_file"]) - set(ours)
        assert gone >= OF_EXPECTATIONS
        assert {found["by_file"][name] for name in gone - OF_EXPECTATIONS} <= {0}


def test_a_listener_that_does_not_keep_up(machine: Machine) -> None:
    found = looked("dying")
    told, before, after = found["told"], found["before"], found["after"]
    assert (before["entries"], before["dying"], before["listeners"]) == (0, 0, [])
    assert 0 < told["dying"] <= ctnetlink_oracle.COUNT
    assert told["dying"] == told["entries"] == found["listed_by_conntrack"] == found["counted_by_conntrack"]
    assert found["in_table"] == 0
    (listener,) = told["listeners"]
    assert listener.startswith("python")
    assert listener.endswith(" events lost")
    # With it they go.
    assert after == before


@pytest.mark.skipif(not shutil.which("tc"), reason="tc is not installed")
def test_entries_that_are_held_and_in_no_list(machine: Machine) -> None:
    found = looked("held")
    assert found["before"]["entries"] == found["after"]["entries"] == 0
    assert 0 < found["told"]["entries"] == found["counted_by_conntrack"]
    assert found["told"]["dying"] == 0


def test_what_was_picked_up_lives_as_the_kernel_has_it(machine: Machine) -> None:
    found = looked("picked-up")
    (group,) = found["groups"]
    assert (group["state"], group["timeout_class"], group["entries"]) == (
        "ESTABLISHED_UNREPLIED",
        "tcp_unacknowledged",
        7,
    )
    lines = found["listed"].splitlines()
    assert len(lines) == 7
    for line in lines:
        assert " ESTABLISHED " in line
        assert "[UNREPLIED]" in line
        # Not the five days of what is established.
        assert int(line.split()[2]) <= 300
