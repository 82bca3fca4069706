# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What goes wrong half-way: put back by the role, or completed by the next run."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
from conftest import FILES, HERE, SYSCTL, Machine

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


@pytest.mark.on_one_core
def test_a_run_killed_at_any_task_is_completed_by_the_next(machine: Machine) -> None:
    whole = machine.play()
    wanted, text = machine.values(), SYSCTL.read_text()
    tasks = whole.output.count("\nTASK [") + whole.output.count("\nRUNNING HANDLER [")
    assert tasks > 8
    moments = [f"task:{number}" for number in range(1, tasks + 1)] + ["item:1", "item:2"]
    completed = []
    for moment in moments:
        machine.untune()
        killed = subprocess.run(
            [machine.ansible_playbook, "-i", "localhost,", "-c", "local", "headroom.netfilter.tune"],
            env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": machine.python, **KILLER, "KILL_AT": moment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
        assert killed.returncode == -9, f"{moment} was never reached"
        left = machine.values(), [path.exists() and (path.read_text(), path.stat().st_mode) for path in FILES]
        if left in completed:
            continue
        machine.play()
        assert (machine.values(), SYSCTL.read_text()) == (wanted, text), moment
        completed.append(left)
    assert len(completed) > 2
