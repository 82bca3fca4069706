# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A rollout over real sshd: after a wave with a host that fails, is refused, is undone or cannot be reached, nobody is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hosts as sshd
import pytest
from conftest import FILES, Machine, Ran, kill_all, until

SYSCTL = FILES[0]
COUNT = 4


class Fleet:
    """Hosts with an /etc of their own each; the kernel, and so the live values, they share."""

    def __init__(self, machine: Machine, home: Path, hosts: sshd.Hosts) -> None:
        self.machine, self.home, self.hosts = machine, home, hosts
        self.own: dict[str, dict[str, object]] = {host.name: {} for host in hosts.all}

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        lines = []
        for host in self.hosts.all:
            said = {"ansible_host": "127.0.0.1", "ansible_port": host.port, **self.own[host.name]}
            lines.append(host.name + "".join(f" {name}={json.dumps(value)!r}" for name, value in said.items()))
        (self.home / "inventory").write_text("\n".join(lines) + "\n")
        ssh = f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={self.home}/known_hosts"
        settings = {
            "ANSIBLE_PYTHON_INTERPRETER": self.machine.python,
            "ANSIBLE_REMOTE_USER": "root",
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.home / "client"),
            "ANSIBLE_SSH_COMMON_ARGS": ssh,
            "ANSIBLE_NOCOLOR": "1",
        }
        command = [
            self.machine.ansible_playbook,
            "-i",
            str(self.home / "inventory"),
            "headroom.netfilter.tune",
            *arguments,
        ]
        return command, {**os.environ, **settings}

    def play(self, *arguments: str) -> Ran:
        command, environment = self.command(*arguments)
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stdout + done.stderr, 0)

    def path(self, host: int, path: Path) -> Path:
        """As it is on a host."""
        return Path(f"/proc/{self.hosts._running[host].pid}/root", *path.parts[1:])

    def changed(self) -> list[int]:
        return [number for number in range(len(self.hosts.all)) if self.path(number, SYSCTL).exists()]

    def changes(self, host: int) -> int:
        """That the host has made."""
        history = self.path(host, Path("/var/lib/headroom/netfilter"))
        return len(list(history.glob("*/journal.json"))) if history.exists() else 0


@pytest.fixture
def fleet(machine: Machine, tmp_path: Path) -> Iterator[Fleet]:
    if lack := sshd.missing():
        pytest.skip(lack)
    home = Path("/tmp", f"rollout-{os.getpid()}")
    home.mkdir(mode=0o700)
    try:
        with sshd.running(home, COUNT) as hosts:
            hosts.fresh()
            yield Fleet(machine, home, hosts)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def refused(fleet: Fleet) -> str:
    fleet.own["bench02"] = {"conntrack_max": 10**8}
    return "refused: bench02: conntrack_max: 100000000 entries take"


def unreachable(fleet: Fleet) -> str:
    fleet.own["bench02"] = {"ansible_port": 1}
    return "unreachable: bench02: "


def failing(fleet: Fleet) -> str:
    # A link to nothing is a mask, which is somebody's word.
    mask = fleet.path(1, Path("/etc/sysctl.d/99-conntrack.conf"))
    mask.parent.mkdir(exist_ok=True)
    mask.symlink_to("/dev/null")
    return "bench02: /etc/sysctl.d/99-conntrack.conf"


def red(fleet: Fleet) -> str:
    fleet.own["bench02"] = {
        "tune_probes": [{"name": "shop", "command": f"test ! -e {SYSCTL}"}, {"name": "never", "port": 1}],
        "tune_probe_seconds": 1,
    }
    return "undone: bench02: a probe is red after the change: shop"


@pytest.mark.parametrize("spoil", [refused, unreachable, failing, red])
def test_after_a_wave_that_went_wrong_nobody_is_touched(fleet: Fleet, spoil: Callable[[Fleet], str]) -> None:
    said = spoil(fleet)
    before = [fleet.path(number, Path("/etc/passwd")).stat().st_mtime_ns for number in range(COUNT)]
    ran = fleet.play("-e", '{"tune_waves": [1]}')
    assert ran.code == (4 if spoil is unreachable else 2), ran.output
    assert said in ran.output
    assert "stopped before wave 3 of 4, 2 hosts not begun: bench02 " in ran.output
    assert "--limit 'bench02,bench03,bench04'" in ran.output
    assert [number for number in fleet.changed() if number != 1] == [0]
    assert [fleet.changes(number) for number in (0, 2, 3)] == [1, 0, 0]
    assert [fleet.path(number, Path("/etc/passwd")).stat().st_mtime_ns for number in range(COUNT)] == before
    if spoil is red:
        assert not fleet.path(1, SYSCTL).exists()


def test_as_many_as_are_allowed_may_fail_and_the_order_is_as_asked(fleet: Fleet) -> None:
    refused(fleet)
    fleet.own["bench02"]["tune_order"] = -1
    ran = fleet.play("-e", "tune_max_failures=1")
    assert ran.code == 2, ran.output
    assert fleet.changed() == [0, 2, 3]
    assert "1 refused, 3 applied" in ran.output
    # What is done stays done, and costs one execution.
    fleet.own["bench02"] = {}
    assert "1 applied, 3 converged" in fleet.play().output
    again = fleet.play()
    assert again.code == 0
    assert "nothing to change" in again.output
    assert "no hosts matched" in again.output


def test_check_mode_looks_at_all_and_fails_if_asked(fleet: Fleet) -> None:
    refused(fleet)
    ran = fleet.play("--check", "--diff")
    assert (ran.code, fleet.changed()) == (2, [])
    assert "1 refused, 3 pending" in ran.output
    fleet.own["bench02"] = {}
    assert fleet.play("--check").code == 0
    assert fleet.play("--check", "-e", "tune_check_fail=true").code == 2


@pytest.mark.on_one_core
def test_a_rollout_whose_controller_was_killed_goes_on(fleet: Fleet) -> None:
    command, environment = fleet.command("-e", '{"tune_waves": [1, 1, 2]}')
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ):
        until(lambda: fleet.changed() == [0, 1])
        kill_all(f"ANSIBLE_PRIVATE_KEY_FILE={fleet.home / 'client'}")
    ran = fleet.play()
    assert ran.code == 0, ran.output
    assert fleet.changed() == [0, 1, 2, 3]
    assert [fleet.changes(number) for number in (0, 2, 3)] == [1, 1, 1]
    # The second one's change had begun: it was kept, or undone and made again.
    assert fleet.changes(1) <= 2
    assert not re.search("failed=[1-9]", ran.output)
