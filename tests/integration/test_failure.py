# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What goes wrong half-way: put back by the role, or completed by the next run."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
from conftest import HERE, SYSCTL, Machine

# What a host makes of it does not depend on the core that asks for it.
pytestmark = pytest.mark.on_one_core

KILLER = {"ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"), "ANSIBLE_CALLBACKS_ENABLED": "killer"}


class Rival(threading.Thread):
    """Somebody who writes another limit all the time."""

    def __init__(self, machine: Machine, value: int) -> None:
        super().__init__(daemon=True)
        self.machine, self.value, self.over = machine, value, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.0005):
            self.machine.set("max", self.value)

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


@pytest.mark.parametrize("ours", [False, True], ids=["no file before", "our earlier file"])
def test_a_failure_puts_back_files_and_values(machine: Machine, ours: bool) -> None:
    if ours:
        machine.play("-e", "conntrack_max=270000")
    values, etc = machine.values(), machine.etc()
    with Rival(machine, machine.get("max")):
        ran = machine.play("-e", "conntrack_max=400000", expect=2)
    assert "again what it was" in ran.output
    assert machine.values() == values
    after = machine.etc()
    assert set(after) == set(etc)
    assert {path: there[0] for path, there in after.items()} == {path: there[0] for path, there in etc.items()}
    assert machine.play("-e", "conntrack_max=400000").changed > 0


def test_a_file_that_cannot_be_written_changes_nothing(machine: Machine) -> None:
    SYSCTL.write_text("net.netfilter.nf_conntrack_max = 4711\n")
    folder, values, etc = str(SYSCTL.parent), machine.values(), machine.etc()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        ran = machine.play(expect=2)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert "again what it was" in ran.output
    assert (machine.values(), machine.etc()) == (values, etc)


def test_a_run_killed_at_any_task_is_completed_by_the_next(machine: Machine) -> None:
    """Of the controller. What a host does when it is killed itself is tested with the transaction."""
    whole = machine.play()
    wanted, text = machine.values(), SYSCTL.read_text()
    tasks = whole.output.count("\nTASK [")
    assert tasks > 2
    for task in range(1, tasks + 1):
        machine.untune()
        killed = subprocess.run(
            [machine.ansible_playbook, "-i", "localhost,", "-c", "local", "headroom.netfilter.tune"],
            env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": machine.python, **KILLER, "KILL_AT": f"task:{task}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        assert killed.returncode == -9, f"task {task} was never reached"
        machine.play()
        assert (machine.values(), SYSCTL.read_text()) == (wanted, text), task
