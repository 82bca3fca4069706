# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""User-mode guests: what is not synced is lost with the power, what is stays, and none outlives its owner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import images
import uml

KILLS = (0.1, 0.5, 2, 5)
"""Seconds after the start of an owner."""


@pytest.fixture(scope="module", autouse=True)
def _here() -> None:
    if reason := uml.lack():
        pytest.skip(reason)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert gone(tmp_path)


@pytest.fixture
def guest(lab: Path) -> Iterator[uml.Guest]:
    with uml.running(lab, 1) as guests:
        yield guests[0]


def processes(lab: Path) -> list[str]:
    """Those that name a lab, or write to its files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = str(lab).encode() in (process / "cmdline").read_bytes()
            writes = str(lab) in os.readlink(process / "fd/1")
        except OSError:
            continue
        if (named or writes) and int(process.name) != os.getpid():
            found.append(process.name)
    return found


def gone(lab: Path) -> bool:
    deadline = time.monotonic() + 10
    while processes(lab) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes(lab)


def test_what_is_not_synced_is_lost_with_the_power(guest: uml.Guest) -> None:
    guest.run("echo kept > /srv/synced; sync; echo lost > /srv/unsynced")
    guest.cut()
    assert not guest.runs()
    guest.boot(os.getpid())
    assert guest.run("cat /srv/synced; ls /srv") == "kept\nsynced\n"


def test_a_guest_can_cut_its_own_power(guest: uml.Guest) -> None:
    guest.run("sync; echo lost > /srv/unsynced; (sleep 0.1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    deadline = time.monotonic() + 20
    while guest.runs():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    guest.boot(os.getpid())
    assert guest.run("ls /srv") == ""


WRITES = "for i in $(seq 1000); do echo $i > /srv/$i; sync; done"


@pytest.mark.parametrize(
    ("command", "when", "is_cut"),
    [(WRITES, "test -e /srv/20", True), (WRITES, 1, True), ("true", 30, False), ("true", "test -e /srv/20", False)],
    ids=["once a file is there", "after a second", "ended before the time", "ended before the file"],
)
def test_the_power_is_cut_in_the_midst_of_a_command(
    guest: uml.Guest, command: str, when: float | str, is_cut: bool
) -> None:
    before = guest.run("cat /proc/sys/kernel/random/boot_id")
    assert uml.cut_at(guest, command, when) == is_cut
    assert (guest.run("cat /proc/sys/kernel/random/boot_id") != before) == is_cut
    written = int(guest.run("ls /srv | wc -l"))
    # The file that was waited for has not been synced.
    assert (0 if when == 1 else 19) <= written < 1000 if is_cut else written == 0


def test_it_reboots_and_powers_off_as_a_host_does(guest: uml.Guest) -> None:
    port, boots = guest.port, set()
    for _time in range(3):
        guest.run("echo here > /srv/unsynced; modprobe nf_conntrack")
        guest.reboot()
        boots.add(
            guest.run("cat /proc/sys/kernel/random/boot_id /srv/unsynced; grep -c ^nf_conntrack /proc/modules || true")
        )
    assert len(boots) == 3
    assert all(boot.endswith("here\n0\n") for boot in boots)
    guest.attempt("poweroff")
    deadline = time.monotonic() + 60
    while guest.runs():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    guest.boot(os.getpid())
    assert guest.port == port


def test_conntrack_is_a_module(guest: uml.Guest) -> None:
    said = guest.run("modprobe nf_conntrack hashsize=5000; cat /sys/module/nf_conntrack/parameters/hashsize; sysctl -a")
    assert said.startswith("5120\n")
    assert "\nnet.netfilter.nf_conntrack_max = " in said
    guest.run("modprobe -r nf_conntrack; ! test -e /proc/sys/net/netfilter/nf_conntrack_max")


def test_guests_carry_bulk_and_do_not_share_a_disk(lab: Path) -> None:
    with uml.running(lab, 2) as guests:
        inventory = json.loads((lab / "inventory.yml").read_text())["all"]["children"]["uml"]["hosts"]
        assert [inventory[guest.name]["ansible_port"] for guest in guests] == [guest.port for guest in guests]
        bulk = "x" * 10_000_000
        for guest in guests:
            done = subprocess.run(
                [*guest.ssh(), "tee /srv/own | sha256sum; uname -n >> /srv/own; cat /srv/own"],
                input=bulk,
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            )
            assert done.stdout.endswith(f"{bulk}{guest.name}\n")
        assert len({guest.run("cat /etc/machine-id") for guest in guests}) == 2


def test_nothing_listens_beyond_loopback_and_nothing_is_reached(guest: uml.Guest) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[3] for line in listening if line.split()[3].endswith(f":{guest.port}")] == [
        f"127.0.0.1:{guest.port}"
    ]
    assert guest.run("timeout 5 bash -c 'echo > /dev/tcp/10.0.2.2/22' 2>/dev/null || echo none") == "none\n"
    interfaces = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert "tap0" not in interfaces


def test_one_that_cannot_boot_is_told_of_with_its_logs(lab: Path) -> None:
    guest = uml.Guest(lab, "broken")
    guest.home.mkdir()
    (guest.home / "disk.cow").write_bytes(b"no disk" * 1000)
    with pytest.raises(images.Failed, match=r"ended instead of booting: see console\.log"):
        guest.boot(os.getpid())
    assert not guest.runs()
    guest.down()


@pytest.mark.parametrize("seconds", KILLS)
def test_an_owner_killed_at_any_time_takes_its_guests_with_it(lab: Path, seconds: float) -> None:
    command = [sys.executable, uml.__file__, "--at", str(lab)]
    script = f"import subprocess, os, time; subprocess.run({command} + ['--owner', str(os.getpid()), 'up', '2']); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, start_new_session=True) as owner:
        time.sleep(seconds)
        os.killpg(owner.pid, signal.SIGKILL)
    assert gone(lab)
    with uml.running(lab, 1) as guests:
        assert guests[0].run("hostname") == "uml1\n"
