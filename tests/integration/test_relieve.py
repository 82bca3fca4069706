# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The playbook relieve, and the role's conntrack_expire_existing, on entries of this kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import entries
import pytest
from conftest import FILES, Machine

# What a host makes of it does not depend on the core that asks for it.
pytestmark = pytest.mark.on_one_core

CONFIRMED = ("-e", "relieve_confirm=true")
# The second word that it takes to shorten all of a table.
ALL = ("-e", "relieve_most=0")
COUNT = 300


@pytest.fixture
def crowd() -> Iterator[tuple[str, ...]]:
    """What leads into a network namespace with entries that have ten minutes left: UDP flows without an answer."""
    make = f"{sys.executable} {entries.__file__} {COUNT}; echo ready; read end"
    command = ["unshare", "--net", "--kill-child", "sh", "-ec", f"ip link set lo up; {make}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield "nsenter", "--target", str(holder.pid), "--net"
        holder.communicate("\n", timeout=20)


def test_nothing_is_changed_until_it_is_confirmed(machine: Machine, crowd: tuple[str, ...]) -> None:
    for arguments in ((), ("-e", "relieve_confirm=false"), (*CONFIRMED, "--check")):
        ran = machine.play(*arguments, name="relieve", inside=crowd)
        assert f"would be shortened: {COUNT} of {COUNT} entries" in ran.output
        assert f"more than {COUNT // 2} (half of the table), so that none is without a second word" in ran.output
        assert "Nothing was changed. To do it: -e relieve_confirm=true" in ran.output
        assert ran.changed == ("--check" in arguments)


def test_entries_are_shortened_and_end(machine: Machine, crowd: tuple[str, ...]) -> None:
    shorter = ("-e", '{"relieve_timeouts": {"udp": 1}}', *ALL)
    ran = machine.play(*CONFIRMED, *shorter, "-e", "relieve_wait=2", name="relieve", inside=crowd)
    assert f"{COUNT} udp UNREPLIED: they end in 1 s" in ran.output
    assert f"freed so far: {COUNT} entries ended meanwhile" in ran.output
    assert ran.changed == 1
    assert not any(path.exists() for path in FILES)


@pytest.mark.parametrize(
    ("most", "expect"), [((), 2), (("-e", "relieve_most="), 2), (("-e", f"relieve_most={COUNT - 1}"), 2), (ALL, 0)]
)
def test_most_of_a_table_takes_a_second_word(
    machine: Machine, crowd: tuple[str, ...], most: tuple[str, ...], expect: int
) -> None:
    ran = machine.play(*CONFIRMED, *most, name="relieve", inside=crowd, expect=expect)
    assert ran.changed == (0 if expect else 1)
    assert ("nothing is shortened: FAILED" in ran.output) == bool(expect)
    assert (f"{COUNT} of {COUNT} entries would be shortened, more than the" in ran.output) == bool(expect)
    assert ("-e relieve_confirm=true" in ran.output) is False
    again = machine.play(*CONFIRMED, *ALL, name="relieve", inside=crowd)
    assert (f"shortened: {COUNT} of {COUNT}" in again.output) == bool(expect)


def test_what_is_shortened_is_stale_no_more(machine: Machine, crowd: tuple[str, ...]) -> None:
    first = machine.play(*CONFIRMED, *ALL, name="relieve", inside=crowd)
    assert f"stale: {COUNT} entries" in first.output
    assert "freed so far: 0 entries" in first.output
    second = machine.play(*CONFIRMED, name="relieve", inside=crowd)
    assert "stale: 0 entries" in second.output
    assert second.changed == 0


def test_the_limit_is_raised_live_and_nowhere_else(machine: Machine) -> None:
    before = machine.get("max")
    limit = ("-e", f"conntrack_max={before + 1000}")
    assert f"would be raised: from {before} to {before + 1000}" in machine.play(*limit, name="relieve").output
    assert machine.get("max") == before
    ran = machine.play(*limit, *CONFIRMED, name="relieve")
    assert f"limit raised: from {before} to {before + 1000}, room for 1000 more" in ran.output
    assert machine.get("max") == before + 1000
    assert not any(path.exists() for path in FILES)


def test_wrong_input_is_refused_before_a_host_is_read(machine: Machine) -> None:
    wrong = (
        "-e",
        "relieve_confirm=maybe",
        "-e",
        "relieve_wait=-1",
        "-e",
        "relieve_most=half",
        "-e",
        '{"relieve_timeouts": {"tcp": 1}}',
    )
    ran = machine.play(*wrong, name="relieve", expect=2)
    for variable in (
        "relieve_confirm: 'maybe' will not do",
        "relieve_wait: '-1' will not do",
        "relieve_most: 'half' will not do",
        "'tcp' is not a timeout",
    ):
        assert variable in ran.output
    assert "Read what the kernel does now" not in ran.output


def test_the_role_shortens_what_is_in_the_table_at_each_run(machine: Machine) -> None:
    shorten = ("-e", "conntrack_expire_existing=true", "-e", "conntrack_expire_most=0")
    machine.play()
    entries.add(COUNT)
    for check in ((), ("--check",)):
        refused = machine.play(*shorten, "-e", f"conntrack_expire_most={COUNT - 1}", *check, expect=2)
        assert f"more than the {COUNT - 1} that one run may shorten without a second word" in refused.output
        assert "conntrack_expire_most" in refused.output
    checked = machine.play(*shorten, "--check")
    assert (
        f"to be shortened to the timeouts: {COUNT} of " in checked.output
        or "shortened to the timeouts" in checked.output
    )
    ran = machine.play(*shorten)
    assert f"shortened to the timeouts: {COUNT} of " in ran.output
    assert ran.changed == 1
    assert machine.play(*shorten).changed == 0
