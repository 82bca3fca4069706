# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A change that nobody confirms, on this machine without its systemd: the program that was kept with it takes it back, by itself in
time, and as the init system starts it at a boot. With an /etc, a /var/lib and a /run of its own; nothing of the kernel is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import program

NAME = "headroom-netfilter-undo"
MAKE = """
import json, sys
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.perform import Found, Order, Work, confirm, run
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.writes import Write, there
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import Kept, WritableHost
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.journal.record import Step

host, seconds = WritableHost(), int(sys.argv[1])
step = Step("commands", "the thing", [["rm", "-f", "/run/thing"]], [["touch", "/run/thing"]])
write = Write("/etc/theirs", there(host, "/etc/theirs"), Kept("file", b"ours\\n", "", 0o644))
said = run(host, Order("one", "the tests", "a test", confirm_seconds=seconds), lambda: Found(Work([write], [], [step]), {}))
if len(sys.argv) > 2:
    said = confirm(host, "one", 10, "the tests")
print(json.dumps(said))
"""


class Apart:
    def __init__(self, process: int) -> None:
        self.process = process
        self.root = Path(f"/proc/{process}/root")

    def run(self, *words: str) -> str:
        inside = ["nsenter", "--mount", "--target", str(self.process), *words]
        environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make(self, seconds: int, *more: str) -> Any:
        return json.loads(self.run(sys.executable, "-B", "-c", MAKE, str(seconds), *more))

    def state(self) -> tuple[str, int, bool]:
        theirs = self.root / "etc/theirs"
        return theirs.read_text(), theirs.stat().st_mode, (self.root / "run/thing").exists()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def sleepers(self) -> list[int]:
        """The processes that run the program in here."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                same = os.readlink(process / "ns/mnt") == os.readlink(f"/proc/{self.process}/ns/mnt")
                if same and b"undo.pyz" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found


@pytest.fixture
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Apart]:
    """``request.param``: what makes it a host of this init system."""
    script = f"""
mount -t tmpfs none {tmp_path}
mkdir {tmp_path}/upper {tmp_path}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={tmp_path}/upper,workdir={tmp_path}/work /etc
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
{request.param}
echo theirs > /etc/theirs; chmod 600 /etc/theirs
echo $$
read end
"""
    command = ["unshare", "--mount", "sh", "-ec", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "no mount namespace of our own"
        made = Apart(int(line))
        yield made
        for sleeper in made.sleepers():
            os.kill(sleeper, signal.SIGKILL)
        process.communicate("\n", timeout=20)


OPENRC = "mkdir -p /run/openrc /etc/runlevels/boot"
DEBIAN = "mkdir -p /etc/rcS.d && touch /etc/inittab && test -x /usr/sbin/update-rc.d"
WAS = ("theirs\n", 0o100600, False)
IS = ("ours\n", 0o100644, True)


@pytest.mark.parametrize("apart", [OPENRC, DEBIAN], ids=["OpenRC", "Debian's init"], indirect=True)
def test_it_wakes_and_takes_the_change_back(apart: Apart) -> None:
    assert apart.make(10)["state"] == "unconfirmed"
    assert apart.state() == IS
    assert apart.exists(f"etc/init.d/{NAME}")
    deadline = time.monotonic() + 120
    while apart.state() != WAS and time.monotonic() < deadline:
        time.sleep(0.2)
    assert apart.state() == WAS
    while apart.sleepers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not apart.exists(f"etc/init.d/{NAME}")
    assert not apart.exists(f"etc/runlevels/boot/{NAME}")
    assert not apart.exists("var/lib/headroom/netfilter/one/undo.pyz")


@pytest.mark.parametrize("apart", [DEBIAN], ids=["Debian's init"], indirect=True)
def test_a_boot_takes_it_back(apart: Apart) -> None:
    assert apart.make(3600)["state"] == "unconfirmed"
    for sleeper in apart.sleepers():
        os.kill(sleeper, signal.SIGKILL)
    # What is started after it finds all as it was.
    seen = apart.run("sh", "-c", f"/etc/rcS.d/S??{NAME} start > /dev/null 2>&1 < /dev/null; cat /etc/theirs")
    assert seen == "theirs\n"
    assert apart.state() == WAS
    assert apart.run("sh", "-c", f"ls /etc/rc?.d | grep {NAME} || echo none") == "none\n"


@pytest.mark.parametrize("apart", [OPENRC], ids=["OpenRC"], indirect=True)
def test_a_boot_of_the_real_openrc_takes_it_back(apart: Apart) -> None:
    """Before whatever reads what was changed, and by an order that it finds by itself."""
    openrc = program("openrc", "openrc")
    if openrc.root == Path("/"):
        pytest.skip("OpenRC is this machine's own")
    assert apart.make(3600)["state"] == "unconfirmed"
    for sleeper in apart.sleepers():
        os.kill(sleeper, signal.SIGKILL)
    services = {
        "localmount": "",
        "aaa": "provide net",
        "firewall": "need localmount",
        "late": "need net",
    }
    for name, needs in services.items():
        script = apart.root / f"etc/init.d/{name}"
        script.write_text(
            f"#!/sbin/openrc-run\ndepend() {{\n\t{needs or ':'}\n}}\nstart() {{\n"
            f"\techo {name} $(cat /etc/theirs) >> /run/log\n}}\n"
        )
        script.chmod(0o755)
        apart.run("ln", "-s", f"/etc/init.d/{name}", f"/etc/runlevels/boot/{name}")
    # It would mount what is mounted.
    boot = f"""
    mkdir -p /run/own/lib/rc/sh /etc/runlevels/sysinit /etc/runlevels/default
    printf '#!/bin/sh\nexit 0\n' > /run/own/lib/rc/sh/init.sh
    chmod 755 /run/own/lib/rc/sh/init.sh
    mount -t overlay -o lowerdir=/run/own:{openrc.root}:/usr none /usr
    openrc sysinit; openrc boot
    """
    said = apart.run("sh", "-c", boot)
    seen = dict(line.split() for line in (apart.root / "run/log").read_text().splitlines())
    assert set(seen) == set(services), said
    assert {seen[name] for name in services if name != "localmount"} == {"theirs"}, said
    assert seen["localmount"] == "ours"
    assert apart.state() == WAS
    assert not apart.exists(f"etc/init.d/{NAME}")
    assert not apart.exists(f"etc/runlevels/boot/{NAME}")


@pytest.mark.parametrize("apart", [OPENRC, DEBIAN], ids=["OpenRC", "Debian's init"], indirect=True)
def test_confirmed_it_stays(apart: Apart) -> None:
    assert apart.make(10, "confirm")["state"] == "kept"
    assert not apart.exists(f"etc/init.d/{NAME}")
    deadline = time.monotonic() + 60
    while apart.sleepers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not apart.sleepers()
    assert apart.state() == IS
