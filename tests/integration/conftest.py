# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The local kernel, converged for real: every test starts from a host that nobody has tuned.

Needs root. The values of the kernel and the files in /etc are afterwards what they were before.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import live

HERE = Path(__file__).parent
FILES = tuple(
    Path(name)
    for name in (
        "/etc/sysctl.d/99-conntrack.conf",
        "/etc/modprobe.d/nf_conntrack.conf",
        "/etc/modules-load.d/nf_conntrack.conf",
        "/etc/udev/rules.d/90-conntrack.rules",
    )
)
SYSCTL = FILES[0]


class Ran(NamedTuple):
    code: int
    output: str
    changed: int


class Machine:
    """This machine, as the collection sees it."""

    def __init__(self, ansible_playbook: str, python: str) -> None:
        self.ansible_playbook = ansible_playbook
        self.python = python

    def play(
        self,
        *arguments: str,
        name: str = "tune",
        expect: int | None = 0,
        inside: tuple[str, ...] = (),
        **environment: str,
    ) -> Ran:
        """Run a playbook of the installed collection here, or inside what another command makes; look at its exit code."""
        command = [
            *inside,
            self.ansible_playbook,
            "-i",
            "localhost,",
            "-c",
            "local",
            f"headroom.netfilter.{name}",
            *arguments,
        ]
        settings = {"ANSIBLE_PYTHON_INTERPRETER": self.python, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_NOCOWS": "1"}
        done = subprocess.run(
            command,
            env={**os.environ, **settings, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if expect is not None:
            assert done.returncode == expect, output
        changed = [word for word in output.split() if word.startswith("changed=")]
        return Ran(done.returncode, output, int(changed[-1].partition("=")[2]) if changed else 0)

    def values(self) -> dict[str, str]:
        return {path.name: value for path, value in live.read().items()}

    def etc(self) -> dict[str, tuple[Any, ...]]:
        """Every file below /etc: what it says, when it was written, its mode and owner."""
        found = {}
        for path in Path("/etc").rglob("*"):
            there = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = (content, there.st_mtime_ns, there.st_mode, there.st_uid, there.st_gid)
        return found

    def set(self, key: str, value: int) -> None:
        (live.SYSCTLS / f"nf_conntrack_{key}").write_text(str(value))

    def get(self, key: str) -> int:
        return int((live.SYSCTLS / f"nf_conntrack_{key}").read_text())

    def untune(self) -> None:
        """No file of ours, and the values that this kernel starts with."""
        for path in FILES:
            path.unlink(missing_ok=True)
        live.to_defaults()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ansible-playbook", default="ansible-playbook", help="the ansible-playbook to run")
    parser.addoption("--target-python", default="/usr/bin/python3", help="the Python that runs the modules")


def pytest_report_header(config: pytest.Config) -> list[str]:
    core, python = (
        subprocess.run([config.getoption(option), "--version"], capture_output=True, text=True, check=True).stdout
        for option in ("--ansible-playbook", "--target-python")
    )
    return [f"kernel {os.uname().release}, {core.splitlines()[0]}, modules on {python.strip()}"]


@pytest.fixture(scope="session")
def _kept() -> Iterator[None]:
    """Also on SIGTERM, which otherwise ends Python without any finally."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = {path: (path.read_bytes(), path.stat().st_mode & 0o7777) for path in FILES if path.exists()}
    with live.kept():
        try:
            yield
        finally:
            for path in FILES:
                path.unlink(missing_ok=True)
                if path in before:
                    path.write_bytes(before[path][0])
                    path.chmod(before[path][1])


@pytest.fixture
def machine(_kept: None, request: pytest.FixtureRequest) -> Iterator[Machine]:
    here = Machine(request.config.getoption("--ansible-playbook"), request.config.getoption("--target-python"))
    here.untune()
    yield here
    here.untune()


def bad_hosts(path: Path, cases: list[tuple[str, dict[str, Any]]]) -> str:
    """An inventory with a host for each case, its variables the host's own."""
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in cases}
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return str(path)
