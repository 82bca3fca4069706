# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""One playbook at a time on the hosts: how long it took, and that it did what it is measured for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests import peers
from tests.bench.hosts import Hosts, end_all

FORKS = 10
SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"  # ansible-core's default
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
TELLING = re.compile(r"^(?:changed|fatal|failed|\[?ERROR).*", re.MULTILINE)

CFG = """\
[defaults]
inventory = {home}/inventory
collections_path = {collections}
forks = {forks}
interpreter_python = {interpreter}
remote_user = root
private_key_file = {home}/client
[ssh_connection]
ssh_args = {ssh_args} -F none -o IdentitiesOnly=yes {known_hosts}
"""
KNOWN_HOSTS = "-o UserKnownHostsFile={home}/known_hosts -o GlobalKnownHostsFile=/dev/null"


class Failure(Exception):
    """What went wrong, in sentences."""


class Play(NamedTuple):
    name: str
    playbook: str
    changes: bool = False  # on every host, or on none
    limit: float | None = None  # times a ping
    environment: Mapping[str, str] = MappingProxyType({})
    options: tuple[str, ...] = ()


class Player:
    """Runs plays on the hosts, all with the same programs and the same ansible.cfg."""

    def __init__(self, hosts: Hosts, program: str, collections: list[Path], log: Path) -> None:
        self.hosts, self.home, self.program, self.log = hosts, hosts.home, program, log
        system = Path("/usr/bin/python3")
        self.interpreter = str(system) if system.exists() else os.path.realpath(sys.executable)
        settings = CFG.format(
            home=self.home,
            collections=":".join(str(path.resolve()) for path in collections),
            forks=FORKS,
            interpreter=self.interpreter,
            ssh_args=SSH_ARGS,
            known_hosts=KNOWN_HOSTS.format(home=self.home),
        )
        (self.home / "ansible.cfg").write_text(settings)
        (self.home / "inventory").write_text(hosts.inventory())

    def seconds(self, play: Play) -> float:
        with tempfile.TemporaryDirectory(dir=self.home) as sockets:  # new for each: no run finds connections open
            started = time.monotonic()
            code, output = self._run(play, sockets)
            taken = time.monotonic() - started
            for control in os.listdir(sockets):
                close = ["ssh", "-F", "none", "-O", "exit", "-S", f"{sockets}/{control}", "bench"]
                subprocess.run(close, capture_output=True, check=False)
        self._check(play, code, output)
        return taken

    def setting(self) -> dict[str, str]:
        """With what the plays were run, without a path."""
        versions = _said(self.program, "--version")
        core, python = (re.search(rf"{what} ?=? ?([\d.]+\w*)", versions) for what in (r"\[core", "python version"))
        return {
            "controller": f"ansible-core {core and core[1]}, Python {python and python[1]}",
            "hosts": f"{len(self.hosts.all)}, {_said(self.interpreter, '-V')}, {_said('ssh', '-V').split(',')[0]}",
            "ansible.cfg": f"forks {FORKS}, interpreter_python set, pipelining not, ssh_args `{SSH_ARGS}` (the default)",
            "ansible.posix": f"of the package {peers.SOURCE}",
        }

    def _run(self, play: Play, sockets: str) -> tuple[int, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SSH_"))}
        own = {
            "ANSIBLE_CONFIG": f"{self.home}/ansible.cfg",
            "ANSIBLE_HOME": f"{self.home}/ansible",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
            "LC_ALL": "C.UTF-8",
            **play.environment,
        }
        process = subprocess.Popen(
            [self.program, play.playbook, *play.options],
            cwd=self.home,
            env=inherited | own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the bench, which ends it
        )
        try:
            output, _nothing = process.communicate()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
                end_all(self._is_ours)
        return process.returncode, output

    def _is_ours(self, pid: int) -> bool:
        """Told by the environment: ansible-playbook's workers have sessions of their own."""
        try:
            return f"ANSIBLE_CONFIG={self.home}/".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended
            return False

    def _check(self, play: Play, code: int, output: str) -> None:
        """The time of a play that failed, or did other work than it is measured for, is worth nothing."""
        recap = {name: [int(number) for number in numbers] for name, *numbers in RECAP.findall(output)}
        results = [recap.get(host.name, [0, 1, 0]) for host in self.hosts.all]
        if code == 0 and all((changed > 0) == play.changes and not bad + worse for changed, bad, worse in results):
            return
        self.log.write_text(output)
        wanted = "every host should have changed" if play.changes else "no host should have changed"
        said = "\n".join(f"  {line[:300]}" for line in TELLING.findall(output)[:10])
        raise Failure(
            f"{play.name}: {wanted} and none failed; ansible-playbook ended with {code}.\n{said}\nAll of it: {self.log}. "
            "Nothing else may set conntrack values on this machine while the bench runs."
        )


def _said(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout.strip()
