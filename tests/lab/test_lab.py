# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A lab that is ended, or killed, at any time leaves no machine behind, and nothing that the next one stumbles over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import images
import lab
import machine

RELEASE = "bookworm"
KILLS = 4
# Seconds after which something hangs, however busy the machine.
PATIENCE = 600


@pytest.fixture
def host(tmp_path: Path) -> Iterator[lab.Host]:
    """A host of a lab in a folder whose name is longer than a socket's may be."""
    host = lab.Host(tmp_path / ("long" * 25), RELEASE)
    yield host
    host.down()
    assert not machines(host.lab)


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, lab.__file__, "--at", str(place), *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)


def machines(place: Path) -> list[int]:
    """The processes that work in a lab's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if place in Path(os.readlink(process / "cwd")).parents:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def gone(place: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while machines(place) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not machines(place)


def says(host: lab.Host, command: str) -> str:
    return subprocess.run([*host.ssh(), command], capture_output=True, text=True, check=True).stdout.strip()


def test_a_snapshot_brings_a_host_back_as_it_was(host: lab.Host) -> None:
    run(host.lab, "up", RELEASE)
    says(host, "echo 1 > /var/tmp/mark; modprobe nf_conntrack")
    run(host.lab, "save", "marked", RELEASE)
    run(host.lab, "load", images.BOOTED, RELEASE)
    assert says(host, "ls /var/tmp/mark 2>/dev/null; grep -c ^nf_conntrack /proc/modules || true") == "0"
    run(host.lab, "load", "marked", RELEASE)
    assert says(host, "cat /var/tmp/mark; grep -c '^nf_conntrack ' /proc/modules") == "1\n1"
    before, there, after = time.time(), int(says(host, "date +%s")), time.time()
    # Not that of the snapshot; a second is as long as an emulated clock makes it.
    assert before - 30 < there < after + 30


def test_labs_in_two_folders_do_not_meet(host: lab.Host, tmp_path: Path) -> None:
    other = lab.Host(tmp_path / "other", RELEASE)
    run(host.lab, "up", RELEASE)
    try:
        run(other.lab, "up", RELEASE)
        assert other.port != host.port
        says(other, "echo other > /etc/hostname")
    finally:
        other.down()
    assert says(host, "cat /etc/hostname") == RELEASE


def test_nothing_listens_beyond_loopback(host: lab.Host) -> None:
    run(host.lab, "up", RELEASE)
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line.split()[3] for line in listening if f"pid={(host.home / 'started').read_text()}," in line]
    assert ours == [f"127.0.0.1:{host.port}"]
    assert says(host, "timeout 5 bash -c 'echo > /dev/tcp/10.0.2.2/22' 2>&1 || echo none").endswith("none")


def test_a_keeper_killed_takes_its_machine_with_it(host: lab.Host) -> None:
    run(host.lab, "up", RELEASE)
    keeper = host.keeper()
    assert keeper
    assert machines(host.lab)
    os.kill(keeper, signal.SIGKILL)
    assert gone(host.lab)
    run(host.lab, "up", RELEASE)
    assert says(host, "hostname") == RELEASE


@pytest.mark.parametrize("seed", range(KILLS))
def test_an_owner_killed_at_any_time_hinders_no_next_run(host: lab.Host, seed: int) -> None:
    script = f"import subprocess, os; subprocess.run({[sys.executable, lab.__file__, '--at', str(host.lab)]!r} + "
    script += f"['--owner', str(os.getpid()), 'up', {RELEASE!r}]); import time; time.sleep(600)"
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(random.Random(seed).uniform(0, 5))
    os.killpg(owner.pid, signal.SIGKILL)
    owner.wait()
    assert gone(host.lab)
    run(host.lab, "up", RELEASE)
    assert says(host, "hostname") == RELEASE


def test_kvm_that_hangs_or_is_not_there_is_not_used(tmp_path: Path) -> None:
    remembered = tmp_path / "accelerator"
    accel = machine.accelerator(images.Image(RELEASE, print).disk.kernel, remembered)
    assert accel in machine.CPU
    boot, _accel = remembered.read_text().split()
    remembered.write_text(f"{boot} neither")
    assert machine.accelerator(Path("not read again"), remembered) == "neither"
