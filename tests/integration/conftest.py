# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The local kernel, converged for real: every test starts from a host that nobody has tuned.

Needs root. Files are private to each test (apart.py). The kernel's values are real: they are afterwards what they were before, and
whoever changes them holds the machine's one lock meanwhile (tests/bench/live.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apart
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
sys.path.insert(0, os.environ["ANSIBLE_COLLECTIONS_PATH"])
import entries
import hosts
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
# Seconds after which something hangs, however busy the machine.
PATIENCE = 600


# What conntrack_expire comes to, without Ansible, which the Python that runs modules may lack: again and again, so many times
# or until a line comes.
RUN = """
import json, select, sys, time
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.expire import expire
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.wanted import read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host

options, check, times, pause = json.loads(sys.argv[1])
found = []
while len(found) < times and not (select.select([sys.stdin], [], [], 0)[0] and sys.stdin.readline()):
    found.append(expire(Host(), read_options(options), None, check))
    time.sleep(pause)
print(json.dumps(found))
"""
EXPIRE_OPTIONS: dict[str, Any] = {
    "timeouts": {},
    "timeout_profile": None,
    "match": None,
    "limit": 0,
    "rate": 0,
    "most": 0,
    "under_policies": False,
}


class Ran(NamedTuple):
    code: int
    output: str
    changed: int


def until(look: Callable[[], Any]) -> Any:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def kill_all(setting: str) -> None:
    """All of a controller, whose workers have sessions of their own: by a setting in their environment."""

    def is_its(pid: int) -> bool:
        try:
            return setting.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    hosts.end_all(is_its)


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

    def tasks(
        self, place: Path, tasks: list[dict[str, Any]], inside: tuple[str, ...] = (), **settings: str
    ) -> list[dict[str, Any]]:
        """What tasks come to, those that fail as well."""
        said = place / "said.json"
        for number, task in enumerate(tasks):
            task.update(register=f"said{number}", ignore_errors=True)
        told = "[" + ", ".join(f"said{number}" for number in range(len(tasks))) + "]"
        write: dict[str, Any] = {
            "ansible.builtin.copy": {"dest": str(said), "content": "{{ " + told + " | to_json }}", "mode": "0644"}
        }
        # By whoever runs this, on a Python that is at hand.
        write["vars"] = {"ansible_python_interpreter": self.python}
        plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [*tasks, write]}]
        playbook = place / "tasks.json"
        playbook.write_text(json.dumps(plays))
        command = [*inside, self.ansible_playbook, "-i", "localhost,", "-c", "local", str(playbook)]
        environment = {"ANSIBLE_PYTHON_INTERPRETER": self.python, "ANSIBLE_NOCOLOR": "1", **settings}
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return list(json.loads(said.read_text()))

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
def _left() -> None:
    """Also on SIGTERM, which otherwise ends Python without any finally."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    apart.leave()


@pytest.fixture(autouse=True)
def _apart(_left: None) -> Iterator[None]:
    with apart.private():
        yield


@pytest.fixture
def machine(_apart: None, request: pytest.FixtureRequest) -> Iterator[Machine]:
    here = Machine(request.config.getoption("--ansible-playbook"), request.config.getoption("--target-python"))
    with live.kept():
        here.untune()
        yield here


class Private:
    """A network namespace with a table of its own."""

    def __init__(self, process: int, python: str) -> None:
        self.process = process
        self.python = python

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["nsenter", "--net", "--target", str(self.process), *command],
            env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str | Path) -> str:
        process = self.start(*command)
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
        return output

    def expiring(self, times: int = 1, check: bool = False, pause: float = 0, **options: Any) -> subprocess.Popen[str]:
        job = ({**EXPIRE_OPTIONS, **options}, check, times, pause)
        return self.start(self.python, "-c", RUN, json.dumps(job))

    def expire(self, **options: Any) -> dict[str, Any]:
        """What conntrack_expire does here, on the Python that runs modules."""
        process = self.expiring(**options)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return dict(json.loads(output)[-1])

    def conntrack(self, *options: str) -> list[str]:
        return self.run("conntrack", "-L", "-o", "extended,id", *options).splitlines()


@pytest.fixture
def private(machine: Machine) -> Iterator[Private]:
    command = ["unshare", "--net", "--kill-child", "sh", "-c", "echo $$; read end"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Private(int(process.stdout.readline()), machine.python)
        process.communicate("\n", timeout=PATIENCE)


def inode(path: str) -> int:
    return os.stat(path).st_ino


def fill(count: int, then: str = "") -> list[str]:
    """A command that gives the network namespace it runs in so many entries, and a timeout of its own."""
    make = f"{sys.executable} {entries.__file__} {count}"
    return ["sh", "-ec", f"echo 17 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout; {make}; {then}"]


@pytest.fixture
def held() -> Iterator[Callable[[int], int]]:
    """A process in a network namespace of its own, with so many entries; the process' number."""
    held: list[subprocess.Popen[str]] = []

    def hold(count: int) -> int:
        command = ["unshare", "--net", "--kill-child", *fill(count, then="echo ready; read end")]
        held.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert held[-1].stdout is not None
        assert held[-1].stdout.readline() == "ready\n"
        return held[-1].pid

    yield hold
    for process in held:
        process.communicate("\n", timeout=PATIENCE)


@pytest.fixture
def named() -> Iterator[str]:
    """A network namespace with five entries that ip netns has made, and that holds no process."""
    name = f"headroom-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "netns", "exec", name, *fill(5)], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def bad_hosts(path: Path, cases: list[tuple[str, dict[str, Any]]]) -> str:
    """An inventory with a host for each case, its variables the host's own."""
    hosts = {name: {"ansible_connection": "local", **variables} for name, variables in cases}
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return str(path)
