# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""One change of this machine's own kernel, with an /etc, a /var/lib and a /run of its own: made, proved, killed, taken back.

The modules run for real, each in a process of its own, with a link to a terminal that is hung up, under a caller that is killed.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Machine

SYSCTL = "/etc/sysctl.d/99-conntrack.conf"
OTHER = "/etc/sysctl.d/10-other.conf"
PREFIX = "net.netfilter.nf_conntrack_"
CHANGE = {
    "id": "one",
    "files": [{"path": SYSCTL, "content": f"{PREFIX}max = 300000\n", "found": ""}],
    "lines": [{"path": OTHER, "found": f"{PREFIX}max = 4711", "wanted": f"# {PREFIX}max = 4711"}],
    "max": 300000,
    "buckets": 300000,
    "timeouts": {"tcp_established": 7440},
    "who": "the tests",
}
# Before the first call of this kind it waits until it is told to go on.
RUN = """
import json, os, sys, time
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change import request, rollback, transaction
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.failure import ChangeError
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost

module, options, check, at = json.loads(sys.argv[1])

class Slow(WritableHost):
    def do(self, call, *arguments):
        if at and at in "{0} {1}".format(call.__name__, arguments[:1]) and not os.path.exists("/run/go"):
            open("/run/waits", "w").close()
            while not os.path.exists("/run/go"):
                time.sleep(0.01)
        return call(*arguments)

try:
    if module == "rollback":
        said = rollback.run(Slow(), options.get("to"), 60, "the tests", check)
    else:
        said = transaction.run(Slow(), request.read(options), check)
    said.pop("facts", None)
except ChangeError as error:
    said = dict(error.told, failed=True, msg=str(error))
print(json.dumps(said))
"""


class Private:
    """What a process sees that keeps a mount namespace, in which the folders that a change writes are its own."""

    def __init__(self, process: int, python: str) -> None:
        self.process, self.python = process, python
        self.root = Path(f"/proc/{process}/root")

    def command(self, module: str, options: dict[str, Any], check: bool = False, at: str = "") -> list[str]:
        inside = ["nsenter", "--mount", "--target", str(self.process)]
        return [*inside, self.python, "-c", RUN, json.dumps([module, options, check, at])]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}

    def run(self, module: str, options: dict[str, Any], check: bool = False) -> dict[str, Any]:
        command = self.command(module, options, check)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def wait_for(self, path: str, process: subprocess.Popen[bytes] | None = None) -> None:
        deadline = time.monotonic() + 60
        while not self.at(path).exists():
            assert time.monotonic() < deadline, path
            assert process is None or process.poll() is None, process.communicate()
            time.sleep(0.02)

    def etc(self) -> dict[str, tuple[Any, ...]]:
        found = {}
        for path in self.at("/etc").rglob("*"):
            there = path.lstat()
            said = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (said, there.st_mode, there.st_uid, there.st_gid)
        return found


@pytest.fixture
def private(machine: Machine, tmp_path: Path) -> Iterator[Private]:
    """The machine's own /etc below an overlay, and empty folders in place of the others."""
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    # An overlay cannot lie on another one everywhere: a file system in memory can.
    script = f"""
mount -t tmpfs none {tmp_path}
mkdir {tmp_path}/upper {tmp_path}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={tmp_path}/upper,workdir={tmp_path}/work /etc
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
mkdir -p /etc/sysctl.d
printf '# Theirs.\\n{PREFIX}max = 4711\\n' >{OTHER}
chmod 0640 {OTHER}
echo $$
read end
"""
    command = ["unshare", "--mount", "--kill-child", "sh", "-ec", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "no mount namespace of our own"
        yield Private(int(line), machine.python)
        process.communicate("\n", timeout=20)


def test_made_proved_repeated_and_taken_back(private: Private, machine: Machine) -> None:
    values, etc = machine.values(), private.etc()
    checked = private.run("settings", CHANGE, check=True)
    assert (machine.values(), private.etc()) == (values, etc)
    assert not private.at("/var/lib/headroom").exists()
    made = private.run("settings", CHANGE)
    assert (made["changed"], made["state"], made["diff"]) == (True, "kept", checked["diff"])
    assert (machine.get("max"), machine.get("buckets")) == (300000, 300032)
    assert machine.get("tcp_timeout_established") == 7440
    assert private.at(SYSCTL).read_text() == CHANGE["files"][0]["content"]  # type: ignore[index]
    # The same run, sent again by a connection that was lost.
    assert private.run("settings", CHANGE) == made
    foretold = private.run("rollback", {}, check=True)
    back = private.run("rollback", {})
    assert (back["undone"], back["not_restored"], back["diff"]) == (["one"], [], foretold["diff"])
    assert (machine.values(), private.etc()) == (values, etc)
    assert private.run("rollback", {})["changed"] is False
    # Nothing of all that was the machine's own.
    assert not Path("/etc/sysctl.d/10-other.conf").exists()


@pytest.mark.parametrize("at", ["rename", "_write_there", "journal.json", "result.json"])
def test_killed_with_all_it_has_started_the_next_run_undoes_it(private: Private, machine: Machine, at: str) -> None:
    values, etc = machine.values(), private.etc()
    process = subprocess.Popen(
        private.command("settings", CHANGE, at=at),
        env=private.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    private.wait_for("/run/waits", process)
    told = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    # The one that makes the change, in a session of its own; then the one that has started it.
    for number in (int(told.split()[0]), process.pid):
        os.kill(number, signal.SIGKILL)
    process.communicate()
    again = private.run("settings", dict(CHANGE, id="two"))
    if again.get("failed"):
        assert again["stale"], again["msg"]
        assert (machine.values(), private.etc()) == (values, etc)
        again = private.run("settings", dict(CHANGE, id="three"))
    assert (again["changed"], again["state"]) == (True, "kept")
    assert private.run("rollback", {"to": "first"})["not_restored"] == []
    assert (machine.values(), private.etc()) == (values, etc)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_caller_that_is_lost_ends_no_change(private: Private, machine: Machine, number: signal.Signals) -> None:
    """On a terminal that hangs up, as of ssh -tt, and under one that kills the group of what it has started, as sudo does."""
    child, terminal = pty.fork()
    if child == 0:
        command = private.command("settings", CHANGE, at="rename")
        os.execvpe(command[0], command, private.environment)
    private.wait_for("/run/waits")
    if number == signal.SIGHUP:
        os.close(terminal)
    else:
        os.killpg(child, number)
    private.at("/run/go").touch()
    private.wait_for("/var/lib/headroom/netfilter/one/result.json")
    os.waitpid(child, 0)
    assert machine.get("max") == 300000
    again = private.run("settings", CHANGE)
    assert (again["changed"], again["state"], again["id"]) == (True, "kept", "one")


def test_two_at_once_are_made_one_after_the_other(private: Private, machine: Machine) -> None:
    jobs = []
    for name, limit in (("left", 280000), ("right", 320000)):
        files = [{"path": SYSCTL, "content": f"{PREFIX}max = {limit}\n"}]
        options = {"id": name, "files": files, "max": limit, "shrink": True}
        command = private.command("settings", options)
        jobs.append(subprocess.Popen(command, env=private.environment, stdout=subprocess.PIPE, text=True))
    said = [json.loads(job.communicate()[0]) for job in jobs]
    assert [(one["changed"], one["state"]) for one in said] == [(True, "kept")] * 2
    assert private.at(SYSCTL).read_text() == f"{PREFIX}max = {machine.get('max')}\n"
    assert machine.get("max") in (280000, 320000)


def test_a_read_only_etc_is_named_and_nothing_is_changed(private: Private, machine: Machine) -> None:
    values, etc = machine.values(), private.etc()
    inside = ["nsenter", "--mount", "--target", str(private.process)]
    subprocess.run([*inside, "mount", "-o", "remount,ro", "/etc"], check=True)
    said = private.run("settings", CHANGE)
    assert said["failed"]
    assert (
        f"writing {SYSCTL} failed: Read-only file system (file system /etc, overlay, read-only; remount" in said["msg"]
    )
    assert "again what it was before" in said["msg"]
    assert (machine.values(), private.etc()) == (values, etc)


def test_a_full_disk_is_named_and_nothing_is_left_on_it(private: Private, machine: Machine) -> None:
    values, etc = machine.values(), private.etc()
    inside = ["nsenter", "--mount", "--target", str(private.process)]
    subprocess.run(
        [*inside, "mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4,mode=755", "none", "/var/lib"], check=True
    )
    said = private.run("settings", CHANGE)
    assert said["failed"]
    assert "No space left on device (file system /var/lib, tmpfs, writable; make room on it)" in said["msg"]
    assert (machine.values(), private.etc()) == (values, etc)
