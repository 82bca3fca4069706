# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A line of another file that would win at the next boot: refused by its place, or commented out and put back on failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Machine
from test_failure import Rival

# What a host makes of it does not depend on the core that asks for it.
pytestmark = pytest.mark.on_one_core

TAKEOVER = ("-e", "conntrack_takeover=true")
OTHER = Path("/etc/sysctl.d/99-zz-other.conf")
TEXT = """# Tuned in 2019.
net.netfilter.nf_conntrack_max = 4711
net.core.somaxconn = 1024
 net/netfilter/nf_conntrack_tcp_timeout_established=1200
net.netfilter.nf_conntrack_max = 4711
"""


@pytest.fixture
def other() -> Iterator[Path]:
    OTHER.write_text(TEXT)
    OTHER.chmod(0o640)
    yield OTHER
    for path in OTHER.parent.glob(OTHER.name + "*"):
        path.unlink()


def test_a_line_that_would_win_is_refused_before_anything_changes(machine: Machine, other: Path) -> None:
    values, etc = machine.values(), machine.etc()
    ran = machine.play(expect=2)
    # The lines that decide.
    for place in ("4", "5"):
        assert f"({other}:{place}: '" in ran.output
    assert "conntrack_takeover=true" in ran.output
    assert (machine.values(), machine.etc()) == (values, etc)


def test_lines_are_taken_over_once_and_given_back(machine: Machine, other: Path) -> None:
    checked = machine.play("--check", "--diff", *TAKEOVER)
    assert other.read_text() == TEXT
    ran = machine.play("--diff", *TAKEOVER)
    for output in (checked.output, ran.output):
        assert "+# net.netfilter.nf_conntrack_max = 4711" in output
        assert "+# net/netfilter/nf_conntrack_tcp_timeout_established=1200" in output
    lines = [line for line in other.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["net.core.somaxconn = 1024"]
    assert other.stat().st_mode & 0o7777 == 0o640
    # There is nothing left to take over, with or without the variable.
    assert machine.play().changed == 0
    machine.play(name="rollback")
    assert (other.read_text(), other.stat().st_mode & 0o7777) == (TEXT, 0o640)
    assert list(other.parent.glob(other.name + "?*")) == []


def test_a_failure_puts_back_what_was_taken_over(machine: Machine, other: Path) -> None:
    values, etc = machine.values(), machine.etc()
    with Rival(machine, machine.get("max")):
        ran = machine.play("-e", "conntrack_max=400000", *TAKEOVER, expect=2)
    assert "again what it was" in ran.output
    assert machine.values() == values
    after = machine.etc()
    assert {path: there[0] for path, there in after.items()} == {path: there[0] for path, there in etc.items()}
    assert other.stat().st_mode & 0o7777 == 0o640
