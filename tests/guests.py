# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts of the lab for what is measured on them: one lab of its own, started and ended by the run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
FILES = REPO / "tests/lab/files"
SETTLED = "udevadm settle; sleep 0.5; udevadm settle"
COMMAND_SECONDS, BOOT_SECONDS = 300, 600


class Failure(Exception):
    """What did not go as a measurement needs it to."""


class Lab:
    """A lab in a folder of its own."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self._command = (sys.executable, str(REPO / "tests/lab/lab.py"), "--at", str(where))

    def run(self, *words: str) -> None:
        command = [*self._command, *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(done.stdout + done.stderr)

    @contextlib.contextmanager
    def up(self, releases: list[str]) -> Iterator[None]:
        """The hosts run as long as this does, and no longer than this process."""
        try:
            self.run("--owner", str(os.getpid()), "up", *releases)
            yield
        finally:
            self.run("down")


class Guest:
    """A host of the lab, with the few things that are done to it."""

    def __init__(self, lab: Lab, release: str) -> None:
        self.release = release
        self._lab = lab
        inventory = json.loads((lab.where / "inventory.yml").read_text())["all"]["children"]["lab"]
        port, key = inventory["hosts"][release]["ansible_port"], inventory["vars"]["ansible_ssh_private_key_file"]
        options = [
            *inventory["vars"]["ansible_ssh_common_args"].split(),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=30",
        ]
        self._ssh = ["ssh", "-i", key, "-p", str(port), *options, "root@127.0.0.1"]

    def run(self, script: str) -> str:
        """What a script of Bash printed."""
        done = self._try("set -euo pipefail\n" + script)
        if done.returncode:
            raise Failure(f"{self.release}: exit code {done.returncode} of\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout

    def place(self, files: dict[str, Path]) -> None:
        """Files of this machine, on the guest, where anybody may run them."""
        for target, source in files.items():
            self.run(f"cat > {target} <<'END OF FILE'\n{source.read_text()}\nEND OF FILE\nchmod 755 {target}")

    def reboot(self, commands: str) -> None:
        """Ends when it has come back, and all that starts has started."""
        boot = self.run("cat /proc/sys/kernel/random/boot_id")
        self._try(commands)
        deadline = time.monotonic() + BOOT_SECONDS
        back = "cat /proc/sys/kernel/random/boot_id"
        while (answer := self._try(back)).returncode or answer.stdout == boot:
            if time.monotonic() > deadline:
                raise Failure(f"{self.release} did not come back within {BOOT_SECONDS} seconds")
            time.sleep(1)
        self.run("systemctl is-system-running --wait || true")

    def snapshot(self, verb: str, name: str) -> None:
        self._lab.run(verb, name, self.release)

    def _try(self, script: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._ssh, "bash -s"],
                input=script,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{self.release}: not done within {COMMAND_SECONDS} seconds:\n{script}") from late
