#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Virtual machines to test on: Debian 11, 12 and 13 as bullseye, bookworm and trixie, each up in seconds.

lab.py check                   say what this machine lacks for it, after installing what it can (as root, with APT)
lab.py up [HOST...]            build what is not built, start the hosts, write DIR/inventory.yml
lab.py down [HOST...]          end them
lab.py ssh HOST [COMMAND...]   a shell, or a command, on a host
lab.py save NAME HOST...       keep a snapshot of a host, until it is ended
lab.py load NAME HOST...       back to a snapshot; "booted" is the host as it was at first

Hosts listen on 127.0.0.1 only, at ports that are free, and reach nothing beyond. All that belongs to running hosts lies in
DIR (--at DIR, or $LAB, or .cache/lab): labs in several folders do not meet. A host ends with its keeper, the process that
has started it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import images
import machine

REPO = Path(__file__).resolve().parents[2]
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
}
START_SECONDS = 900
PATIENCE_SECONDS = 60
"""A keeper has its lock by then."""
AT_ONCE = 2
"""Machines built and booted at once: each takes a core."""


class Host:
    """A host of a lab, in a folder of its own. Whoever holds the lock in there keeps the host: no lock, no host."""

    def __init__(self, lab: Path, name: str) -> None:
        self.lab = lab
        self.name = name
        self.home = lab / name

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)

    def keeper(self) -> int | None:
        """The process that keeps it; None when it is down."""
        try:
            with (self.home / "lock").open() as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(lock.read() or 0)
        except FileNotFoundError:
            pass
        return None

    @property
    def port(self) -> int:
        return int((self.home / "port").read_text())

    def ssh(self) -> list[str]:
        return machine.ssh(self.port, images.key())

    # What follows is done by whoever uses the host.

    def up(self, owner: int | None) -> None:
        if self.keeper() is None:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir(parents=True)
            images.Image(self.name, self.say).booted()
            owned = ("--owner", str(owner)) if owner else ()
            words = [sys.executable, __file__, "--at", str(self.lab), *owned, "keep", self.name]
            with (self.home / "keeper.log").open("wb") as log:
                subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._wait()

    def down(self) -> None:
        keeper = self.keeper()
        if keeper:
            os.kill(keeper, signal.SIGTERM)
            while self.keeper() == keeper:
                time.sleep(0.1)
            self.say("ended")
        shutil.rmtree(self.home, ignore_errors=True)

    def save(self, snapshot: str) -> None:
        said = machine.monitor(self.home, f"savevm {snapshot}")
        if said:
            raise images.Failed(f"{self.name}: QEMU does not save {snapshot}: {said.strip()}")

    def load(self, snapshot: str) -> None:
        """The keeper starts it again from there; connections to it end."""
        (self.home / "snapshot").write_text(snapshot)
        started = (self.home / "started").read_text()
        machine.monitor(self.home, "quit")
        while self.keeper() and (self.home / "started").read_text() == started:
            time.sleep(0.05)
        self._wait()

    def _wait(self) -> None:
        """Until SSH answers."""
        started = time.monotonic()
        while not ((self.home / "started").exists() and machine.answers(self.port, images.key())):
            time.sleep(0.2)
            waited = time.monotonic() - started
            if waited > START_SECONDS or (waited > PATIENCE_SECONDS and self.keeper() is None):
                raise images.Failed(f"{self.name} does not answer: see keeper.log and console.log in {self.home}")
        self.say(f"answers at 127.0.0.1:{self.port} after {time.monotonic() - started:.1f} s")

    # What follows is done by the keeper.

    def keep(self, owner: int | None) -> None:
        """Run QEMU until it is told to end, its owner ends, or the host powers off."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        with (self.home / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            image = images.Image(self.name, self.say)
            accel, booted = image.booted()
            disk = image.disk._replace(image=self.home / "disk.qcow2")
            subprocess.run(["cp", "--reflink=auto", "--sparse=always", booted, disk.image], check=True)
            (self.home / "snapshot").write_text(images.BOOTED)
            (self.home / "started").unlink(missing_ok=True)
            port = machine.free_port()
            (self.home / "port").write_text(str(port))
            while snapshot := self._next_snapshot():
                words = machine.command(disk, accel, port, snapshot)
                process = subprocess.Popen(words, cwd=self.home, stdin=subprocess.DEVNULL)
                (self.home / "started").write_text(str(process.pid))
                try:
                    _wait_for(process, owner)
                finally:
                    process.kill()
                    process.wait()

    def _next_snapshot(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            asked = self.home / "snapshot"
            name = asked.read_text()
            asked.unlink()
            return name
        return None


def _wait_for(process: subprocess.Popen[bytes], owner: int | None) -> None:
    """Until a process ends, or its owner does, who ends all."""
    try:
        descriptors = [os.pidfd_open(pid) for pid in (process.pid, owner) if pid]
    except ProcessLookupError:
        sys.exit("the owner has ended")
    ended, _writable, _failed = select.select(descriptors, [], [])
    for descriptor in descriptors:
        os.close(descriptor)
    if descriptors[0] not in ended:
        sys.exit("the owner has ended")


def lack() -> str | None:
    """Why there can be no lab here; packages that are missing are installed where that is possible."""
    if platform.machine() != "x86_64":
        return f"its hosts are x86_64, this machine is {platform.machine()}"
    if os.geteuid() != 0:
        return "needs root, to build images"
    if not shutil.which("apt-get"):
        return "needs APT, to build images of Debian"
    packages = sorted({package for command, package in NEEDED.items() if not shutil.which(command)})
    if packages:
        print(f"Installing {' '.join(packages)} with apt-get ...", flush=True)
        images.cache().mkdir(parents=True, exist_ok=True)
        with (images.cache() / "apt.log").open("wb") as log:
            for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(["apt-get", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    missing = sorted({package for command, package in NEEDED.items() if not shutil.which(command)})
    return f"these packages are not installed: {' '.join(missing)}" if missing else None


def write_inventory(lab: Path) -> Path:
    """All hosts that are up, as Ansible reads it: JSON is YAML."""
    common = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(images.key()),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_timeout": 30,
    }
    running = [host for name in images.RELEASES if (host := Host(lab, name)).keeper()]
    hosts = {host.name: {"ansible_port": host.port} for host in running}
    inventory = {"all": {"children": {"lab": {"hosts": hosts, "vars": common}}}}
    path = lab / "inventory.yml"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(inventory, indent=2) + "\n")
    partial.rename(path)
    return path


def each(hosts: list[Host], work: Callable[[Host], None]) -> None:
    """For hosts at once, each alone with it; the first failure is raised when all have ended."""

    def alone(host: Host) -> None:
        with images.locked(host.home.with_suffix(".lock")):
            work(host)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(alone, host) for host in hosts]:
            done.result()


def main(arguments: argparse.Namespace) -> int:
    lab = Path(arguments.at).resolve()
    if arguments.verb in ("save", "load"):
        hosts = [Host(lab, name) for name in arguments.host]
        each(hosts, lambda host: getattr(host, arguments.verb)(arguments.snapshot))
    elif arguments.verb == "keep":
        Host(lab, arguments.host).keep(arguments.owner)
    elif arguments.verb == "ssh":
        words = Host(lab, arguments.host).ssh()
        os.execvp(words[0], words + arguments.command)
    else:
        hosts = [Host(lab, name) for name in arguments.host or images.RELEASES]
        reason = lack() if arguments.verb in ("up", "check") else None
        if reason:
            sys.exit(f"no lab on this machine: {reason}")
        if arguments.verb == "up":
            each(hosts, lambda host: host.up(arguments.owner))
            print(f"inventory: {os.path.relpath(write_inventory(lab))}")
        elif arguments.verb == "down":
            each(hosts, Host.down)
            if lab.exists():
                write_inventory(lab)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", default=os.environ.get("LAB") or REPO / ".cache/lab", metavar="DIR")
    parser.add_argument("--owner", type=int, metavar="PID", help="the hosts end when this process does")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in ("check", "up", "down"):
        verbs.add_parser(verb).add_argument("host", nargs="*", choices=[[], *images.RELEASES], metavar="HOST")
    for verb in ("save", "load"):
        adding = verbs.add_parser(verb)
        adding.add_argument("snapshot", metavar="NAME")
        adding.add_argument("host", nargs="+", choices=images.RELEASES, metavar="HOST")
    for verb in ("ssh", "keep"):
        verbs.add_parser(verb).add_argument("host", choices=images.RELEASES, metavar="HOST")
    verbs.choices["ssh"].add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(parse()))
    except images.Failed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")
