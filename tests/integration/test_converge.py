# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Converge, converge again, check, drift and heal, on the real kernel."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
from conftest import SYSCTL, Machine

AFTER = re.compile(r"^ *\"limit \(entries\) +(\d+) +(\d+)", re.M)


def diffs(output: str) -> list[str]:
    """What --diff printed, less the names of temporary files."""
    return [line for line in output.splitlines() if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))]


def test_tune_ends_with_the_truth_and_a_second_run_changes_nothing(machine: Machine) -> None:
    first = machine.play()
    before, after = (int(number) for number in AFTER.search(first.output).groups())
    assert before < after
    assert machine.get("max") == after
    assert first.changed > 0
    stamps, values = machine.etc(), machine.values()
    second = machine.play()
    assert second.changed == 0, first.output + second.output
    assert "nothing to change" in second.output
    assert (machine.etc(), machine.values()) == (stamps, values)


@pytest.mark.on_one_core
def test_sysctl_takes_what_was_written(machine: Machine) -> None:
    """systemd-sysctl is the oracle of sysctl.d: from a fresh kernel it makes the same values."""
    import subprocess

    machine.play()
    wanted = machine.values()
    text = SYSCTL.read_text()
    machine.untune()
    SYSCTL.write_text(text)
    subprocess.run(["/lib/systemd/systemd-sysctl", str(SYSCTL)], check=True)
    got = machine.values()
    planned = {line.partition(" = ")[0].rpartition(".")[2] for line in text.splitlines() if " = " in line}
    assert len(planned) > 10
    assert {key: got[key] for key in planned} == {key: wanted[key] for key in planned}


def test_check_writes_nothing_and_shows_what_the_run_then_does(machine: Machine) -> None:
    stamps, values = machine.etc(), machine.values()
    checked = machine.play("--check", "--diff")
    assert (machine.etc(), machine.values()) == (stamps, values)
    ran = machine.play("--diff")
    assert diffs(checked.output) == diffs(ran.output) != []
    assert checked.changed == ran.changed
    again = machine.play("--check", "--diff")
    assert (again.changed, diffs(again.output)) == (0, [])


def test_audit_changes_nothing(machine: Machine) -> None:
    stamps, values = machine.etc(), machine.values()
    ran = machine.play(name="audit")
    assert ran.changed == 0
    assert "to be written: /etc/sysctl.d/99-conntrack.conf" in ran.output
    assert (machine.etc(), machine.values()) == (stamps, values)


DRIFTS: dict[str, Callable[[Machine], object]] = {
    "limit": lambda machine: machine.set("max", 70000),
    "buckets": lambda machine: machine.set("buckets", 65536),
    "expectations": lambda machine: machine.set("expect_max", 80),
    "timeout": lambda machine: machine.set("tcp_timeout_established", 432000),
    "content": lambda _machine: SYSCTL.write_text(SYSCTL.read_text() + "# more\n"),
    "mode": lambda _machine: SYSCTL.chmod(0o600),
    "file": lambda _machine: SYSCTL.unlink(),
}


@pytest.mark.on_one_core
def test_drift_is_seen_in_check_mode_and_healed(machine: Machine) -> None:
    machine.play()
    values, text = machine.values(), SYSCTL.read_text()
    for kind, drift in DRIFTS.items():
        drift(machine)
        assert machine.play("--check").changed > 0, kind
        assert machine.play().changed > 0, kind
        assert machine.values() == values, kind
        assert (SYSCTL.read_text(), SYSCTL.stat().st_mode & 0o7777) == (text, 0o644), kind
    assert machine.play().changed == 0
    assert list(SYSCTL.parent.glob("99-conntrack.conf.*")) == []


@pytest.mark.on_one_core
def test_a_named_limit_raises_and_is_not_lowered_again(machine: Machine) -> None:
    machine.play("-e", "conntrack_max=300000")
    assert machine.get("max") == 300000
    values = machine.values()
    below_floor = machine.play("-e", "conntrack_max=1000", expect=2)
    assert "conntrack_max: '1000' will not do" in below_floor.output or "conntrack_max: 1000" in below_floor.output
    assert "conntrack_shrink" in below_floor.output
    lower = machine.play("-e", "conntrack_max=100000", expect=2)
    assert "conntrack_max: 100000 would lower the limit in force, 300000" in lower.output
    assert machine.values() == values
    machine.play("-e", "conntrack_max=1000", "-e", "conntrack_shrink=true")
    assert machine.get("max") == 1000


@pytest.mark.on_one_core
def test_expectations_raised_by_hand_are_kept_and_persisted(machine: Machine) -> None:
    machine.set("expect_max", 50000)
    machine.play()
    assert machine.get("expect_max") == 50000
    assert "nf_conntrack_expect_max = 50000\n" in SYSCTL.read_text()
    assert machine.play().changed == 0
    machine.play("-e", "conntrack_shrink=true")
    # The kernel's own: 4 to each 256 buckets.
    assert machine.get("expect_max") == machine.get("buckets") // 64
    assert f"nf_conntrack_expect_max = {machine.get('expect_max')}\n" in SYSCTL.read_text()


@pytest.mark.on_one_core
def test_another_ones_file_is_kept_and_given_back(machine: Machine) -> None:
    SYSCTL.write_text("net.netfilter.nf_conntrack_max = 4711\n")
    SYSCTL.chmod(0o640)
    values = machine.values()
    machine.play()
    assert list(SYSCTL.parent.glob("99-conntrack.conf.*")) == []
    checked = machine.play("--check", "--diff", name="rollback")
    assert "to be undone: " in checked.output
    assert machine.values() != values
    ran = machine.play("--diff", name="rollback")
    assert diffs(checked.output) == diffs(ran.output) != []
    assert "put back: " in ran.output
    assert (SYSCTL.read_text(), SYSCTL.stat().st_mode & 0o7777) == ("net.netfilter.nf_conntrack_max = 4711\n", 0o640)
    assert machine.values() == values


@pytest.mark.on_one_core
def test_switches_and_a_long_timeout_are_set_kept_and_given_back(machine: Machine) -> None:
    values = machine.values()
    ticks = round(1 / time.clock_getres(6))
    longest = (2**31 - 1) // ticks
    asked = {"conntrack_tcp_loose": False, "conntrack_tcp_be_liberal": "yes"}
    wanted = json.dumps({**asked, "conntrack_timeouts": {"tcp_established": longest}})
    assert machine.play("-e", wanted).changed > 0
    assert [machine.get(key) for key in ("tcp_loose", "tcp_be_liberal")] == [0, 1]
    assert machine.get("tcp_timeout_established") == longest
    assert "nf_conntrack_tcp_loose = 0\n" in SYSCTL.read_text()
    assert "nf_conntrack_tcp_be_liberal = 1\n" in SYSCTL.read_text()
    assert machine.play("-e", wanted).changed == 0
    machine.set("tcp_loose", 1)
    assert machine.play("-e", wanted).changed > 0
    assert machine.get("tcp_loose") == 0
    more = json.dumps({**asked, "conntrack_timeouts": {"tcp_established": longest + 1}})
    ran = machine.play("-e", more, expect=None)
    assert f"is more than the {longest} s that this kernel takes with {ticks} ticks a second" in ran.output
    machine.play("-e", "rollback_to=first", name="rollback")
    assert machine.values() == values


@pytest.mark.on_one_core
def test_persisting_alone_leaves_the_kernel_alone(machine: Machine) -> None:
    values = machine.values()
    machine.play("-e", "conntrack_apply=false", "-e", "conntrack_max=500000")
    assert machine.values() == values
    assert "nf_conntrack_max = 500000" in SYSCTL.read_text()
    assert machine.play("-e", "conntrack_apply=false", "-e", "conntrack_max=500000").changed == 0
