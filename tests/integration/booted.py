# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A host in namespaces of this machine's kernel: this machine's own systemd is its first process, sshd answers on PORT, and what it
has of files is this machine's, with an /etc, a /run and a /var of its own, and units for nothing else. What was not synced is not lost
with its power.

Needs root, and systemd, sshd and a hierarchy of cgroups of the second version here.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from notrack_wire import Place

PORT = 2222
SYSTEMD, SSHD, UNITS = "/lib/systemd/systemd", "/usr/sbin/sshd", "/usr/lib/systemd/system"
TARGETS = "sysinit basic local-fs shutdown final umount timers sockets slices paths network-pre network multi-user"
# Seconds. A busy machine takes its time.
PATIENCE = 120
STATE = Path(__file__).parents[1] / "survival/state.py"
SSHD_CONFIG = f"""
Port {PORT}
HostKey {{0}}/own_key
AuthorizedKeysFile {{0}}/own_key.pub
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
MaxStartups 100
"""
SSHD_UNIT = f"""
[Service]
ExecStart={SSHD} -D -f {{0}}/own_config
RuntimeDirectory=sshd
"""
# Given a folder with what is made for it, and others to be laid over /usr. Whatever of the machine's own could be changed is hidden,
# or cannot be written.
SCRIPT = f"""
mount --make-rprivate /
[ -z "$2" ] || mount -t overlay -o "lowerdir=$2:/usr" none /usr
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/units /mnt/none
if [ ! -d "$1/etc" ]; then
    mkdir -p "$1/etc" "$1/var/lib" "$1/var/log" "$1/var/tmp"
    chmod 1777 "$1/var/tmp"
    cp --archive /etc/. "$1/etc"
    cd "$1/etc"
    rm -rf systemd headroom machine-id
    mkdir -p systemd/system
    echo 0123456789abcdef0123456789abcdef > machine-id
    printf '[Manager]\\nDefaultStandardOutput=null\\n' > systemd/system.conf
    cd /
fi
for target in {TARGETS}; do cp {UNITS}/$target.target /mnt/units; done
cp "$1/ssh.service" /mnt/units
mkdir /mnt/units/multi-user.target.wants
ln -s ../ssh.service /mnt/units/multi-user.target.wants
mount --bind "$1/etc" /etc
mount --bind "$1/var" /var
mount -o remount,bind,ro /
mount --bind /mnt/units {UNITS}
mount --bind /mnt/none /usr/lib/systemd/system-generators
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 /dev/${{device%:*}} c 1 ${{device#*:}}; done
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 none /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
umount --recursive --lazy /sys
mount -t sysfs -o ro none /sys
mount -t cgroup2 none /sys/fs/cgroup
exec env -i container=headroom PATH=/usr/sbin:/usr/bin:/sbin:/bin {SYSTEMD} --unit=multi-user.target --log-target=null
"""
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")


class Booted:
    def __init__(self, place: Place, process: int, key: Path) -> None:
        self.place = place
        self.process = process
        self.key = key

    def attempt(self, *words: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "--target", str(self.process), "--net", *NAMESPACES, "--wd=/", *words]
        return subprocess.run(
            inside,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **environment},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def run(self, *words: str, given: str = "") -> str:
        done = self.attempt(*words, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def state(self) -> list[Any]:
        """The rules, all of /etc, and what there is of the collection's own that runs."""
        units = self.run("systemctl", "list-units", "--plain", "--no-legend", "headroom*")
        return [
            self.run("nft", "list", "ruleset"),
            json.loads(self.run("python3", "-B", "-", given=STATE.read_text()))[0],
            units + self.run("sh", "-c", "ls -d /run/headroom-notrack* 2> /dev/null || true"),
        ]


def sshd_files(folder: Path) -> Path:
    """What sshd needs to be told; the key that opens it, and that it is known by."""
    _needed(SSHD)
    key = folder / "own_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "own_config").write_text(SSHD_CONFIG.format(folder))
    return key


def _needed(program: str) -> None:
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is not here")


def ssh(key: Path, address: str, *options: str) -> list[str]:
    """What opens a connection, of a client."""
    plain = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=2")
    told = [word for option in plain for word in ("-o", option)]
    return ["ssh", "-F", "none", "-i", str(key), "-p", str(PORT), *told, *options, f"root@{address}"]


@contextlib.contextmanager
def booted(place: Place, folder: Path, over: Sequence[Path] = ()) -> Iterator[Booted]:
    """In the network namespace of a place, until this ends, as if its power were cut; in the same folder it can be booted again. Its
    /usr has folders laid over this machine's, the first uppermost."""
    _needed(SYSTEMD)
    key = sshd_files(folder)
    (folder / "ssh.service").write_text(SSHD_UNIT.format(folder))
    with _group() as group:
        # It is in its group before it is anything.
        inside = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        apart = ("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc")
        boot = ("sh", "-ec", SCRIPT, "sh", str(folder), ":".join(map(str, over)))
        command = place.command("sh", "-ec", inside, "sh", *apart, *boot)
        with (folder / "boot.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                host = Booted(place, _first(process), key)
                deadline = time.monotonic() + PATIENCE
                while host.attempt("systemctl", "is-active", "multi-user.target").returncode:
                    assert process.poll() is None, (folder / "boot.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield host
            finally:
                process.kill()


def _first(process: subprocess.Popen[bytes]) -> int:
    """The one that unshare has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + PATIENCE
    while not (found := children.read_text().split()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found[0])


@contextlib.contextmanager
def _group() -> Iterator[Path]:
    """A group of processes of its own, below that of this one."""
    mounted = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    at = next((words[4] for words in mounted if words[words.index("-") + 1] == "cgroup2" and words[3] == "/"), None)
    if at is None:
        pytest.skip("cgroups of the second version are not mounted here")
    own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].split("\n")[0]
    group = Path(at, own, f"headroom-{os.getpid()}-{time.monotonic_ns()}")
    group.mkdir()
    try:
        yield group
    finally:
        deadline = time.monotonic() + PATIENCE
        while (group / "cgroup.procs").exists() and "populated 1" in (group / "cgroup.events").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for folder in sorted(group.rglob("*/"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        group.rmdir()
