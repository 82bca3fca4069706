# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""conntrack_unload on user-mode guests, which have conntrack as a module: unloaded, kept out, confirmed or undone, and back to the byte;
killed and without power at some steps of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import uml

REPO = Path(__file__).resolve().parents[2]
SURVIVAL = REPO / "tests/survival"
COLLECTIONS = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or str(REPO.parents[2])
DRIVER = "/opt/stepwise.py"
SECONDS = 20
"""In which a change is to be confirmed: long enough for a busy machine to make it."""
STACK = ["nf_conntrack_netlink", "nf_nat", "nf_conntrack"]
ESTABLISHED = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
SETUP = f"""
mkdir -p /etc/sysconfig
printf '# theirs\\nIPTABLES_MODULES="ip_conntrack_netbios_ns xt_tcpudp"\\n' > /etc/sysconfig/iptables-config
chmod 640 /etc/sysconfig/iptables-config
printf 'loop\\nnf_nat\\n' > /etc/modules-load.d/theirs.conf
echo 'options nf_conntrack hashsize=8192' > /etc/modprobe.d/theirs.conf
modprobe nf_nat; modprobe nf_conntrack_netlink
echo 7777 > {ESTABLISHED}
sync
"""
STATE = r"""
import hashlib, json, os
found = {}
for folder, folders, files in os.walk("/etc"):
    for path in [os.path.join(folder, name) for name in files + folders]:
        entry = os.lstat(path)
        said = os.readlink(path) if os.path.islink(path) else ""
        if os.path.isfile(path) and not said:
            said = hashlib.sha256(open(path, "rb").read()).hexdigest()
        found[path] = [oct(entry.st_mode), entry.st_uid, entry.st_gid, said]
stack = sorted(line.split()[0] for line in open("/proc/modules") if line.startswith(("nf_conntrack", "nf_nat")))
print(json.dumps([found, stack]))
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uml.Guest]:
    if reason := uml.lack():
        pytest.skip(reason)
    with uml.running(tmp_path_factory.mktemp("unload"), 1) as guests:
        made = guests[0]
        command = ["tar", "-C", str(REPO / "plugins"), "--exclude=__pycache__", "-c", "module_utils"]
        packed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        place = "mkdir -p /opt/plugins && tar -C /opt/plugins --no-same-owner -x"
        subprocess.run([*made.ssh(), place], input=packed, check=True, timeout=60)
        driver = (SURVIVAL / "stepwise.py").read_bytes()
        subprocess.run([*made.ssh(), f"cat > {DRIVER}"], input=driver, check=True, timeout=60)
        made.run(SETUP)
        yield made


@pytest.fixture
def before(guest: uml.Guest) -> Any:
    """What a test begins with, and what others have left is no part of."""
    guest.run(
        f"rm -rf /var/lib/headroom; modprobe nf_nat; modprobe nf_conntrack_netlink; echo 7777 > {ESTABLISHED}; sync"
    )
    return state(guest)


def state(guest: uml.Guest) -> Any:
    return json.loads(guest.run(f"python3 -B - <<'END'\n{STATE}\nEND\n"))


def do(guest: uml.Guest, how: str = "none", step: int = 0, **asked: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*guest.ssh(), f"PYTHONPATH=/opt timeout 120 python3 -B {DRIVER} {how} {step}"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def answer(guest: uml.Guest, **asked: Any) -> Any:
    done = do(guest, **asked)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def unload(guest: uml.Guest, **options: Any) -> Any:
    return answer(guest, unload=options)


def states(guest: uml.Guest) -> list[str]:
    return [one["state"] for one in answer(guest, history=None)["changes"]]


def await_undone(guest: uml.Guest, before: Any) -> None:
    """By the host itself; a lab that is busy is waited for."""
    deadline = time.monotonic() + SECONDS + 60
    while state(guest) != before and time.monotonic() < deadline:
        time.sleep(1)
    assert state(guest) == before
    assert guest.run(f"cat {ESTABLISHED}") == "7777\n"


def boot(guest: uml.Guest) -> None:
    deadline = time.monotonic() + 60
    while guest.runs():
        assert time.monotonic() < deadline, "the power was not cut"
        time.sleep(0.05)
    guest.boot(os.getpid())


def test_unloaded_kept_out_and_back_to_the_byte(guest: uml.Guest, before: Any) -> None:
    made = unload(guest, confirm_seconds=60, id="first")
    assert (made["state"], made["modules"]) == ("unconfirmed", STACK)
    assert unload(guest, confirm="first")["state"] == "kept"
    assert guest.run("cat /etc/sysconfig/iptables-config") == '# theirs\nIPTABLES_MODULES="xt_tcpudp"\n'
    assert guest.run("cat /etc/modules-load.d/theirs.conf") == "loop\n# headroom.netfilter: nf_nat\n"
    assert unload(guest)["changed"] is False
    made_state = state(guest)
    assert made_state[1] == []
    guest.reboot()
    assert state(guest) == made_state
    assert guest.attempt("systemctl is-failed systemd-modules-load").stdout == "active\n"
    assert guest.attempt("modprobe nf_nat").returncode != 0
    assert state(guest) == made_state
    assert unload(guest, state="restored")["not_restored"] == []
    assert state(guest) == before
    assert guest.run(f"cat {ESTABLISHED} /sys/module/nf_conntrack/parameters/hashsize") == "7777\n8192\n"
    assert unload(guest, state="restored")["changed"] is False


@pytest.mark.parametrize(
    ("setup", "end", "named"),
    [
        ("modprobe ip_vs", "modprobe -r ip_vs", "module ip_vs: it stands on conntrack"),
        (
            "cp /bin/sleep /run/dockerd && mount -o remount,exec /run && (setsid /run/dockerd 600 < /dev/null > /dev/null 2>&1 &)",
            "kill $(pidof dockerd)",
            "service docker: process dockerd",
        ),
    ],
    ids=["IPVS", "docker"],
)
def test_refused_while_somebody_needs_it(guest: uml.Guest, before: Any, setup: str, end: str, named: str) -> None:
    guest.run(setup)
    found = state(guest)
    try:
        assert named in unload(guest)["failed"]
        assert state(guest) == found
    finally:
        guest.run(end)


def test_not_confirmed_it_is_undone(guest: uml.Guest, before: Any) -> None:
    assert unload(guest, confirm_seconds=SECONDS)["state"] == "unconfirmed"
    assert "still to be confirmed" in answer(guest, change={"files": [{"path": "/etc/x", "content": ""}]})["failed"]
    await_undone(guest, before)
    assert states(guest) == ["undone"]
    assert "undone: " in guest.run("journalctl -t headroom.netfilter --no-pager -o cat | tail -n 1")


def test_the_next_one_has_all_of_its_time(guest: uml.Guest, before: Any) -> None:
    """Though the host has taken one back before, in the same boot."""
    unload(guest, confirm_seconds=10, id="early")
    await_undone(guest, before)
    assert unload(guest, confirm_seconds=600, id="late")["state"] == "unconfirmed"
    time.sleep(15)
    assert unload(guest, confirm="late")["state"] == "kept"
    assert unload(guest, state="restored")["not_restored"] == []
    assert state(guest) == before


def test_a_connection_that_was_there_before_confirms_nothing(guest: uml.Guest, before: Any, tmp_path: Path) -> None:
    """The play's own goes on, and no new one comes through."""
    play = tmp_path / "play.yml"
    play.write_text(
        f"""
- hosts: all
  gather_facts: false
  tasks:
    - name: Nobody new comes in
      ansible.builtin.command: systemctl stop ssh.socket ssh.service
    - name: Back later
      ansible.builtin.command: systemd-run --on-active={2 * SECONDS} --timer-property=AccuracySec=1s systemctl start ssh.service
    - name: Unload
      ansible.builtin.import_role:
        name: headroom.netfilter.conntrack_unload
      vars:
        conntrack_unload_confirm_seconds: {SECONDS}
"""
    )
    inventory = uml.write_inventory(guest.lab)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            str(inventory),
            str(play),
            "-e",
            "ansible_timeout=30",
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode != 0
    assert "no new connection came through after change" in done.stdout, done.stdout + done.stderr
    deadline = time.monotonic() + 4 * SECONDS
    while guest.attempt("true").returncode and time.monotonic() < deadline:
        time.sleep(1)
    await_undone(guest, before)
    assert states(guest) == ["undone"]


def test_a_power_cut_before_the_time_is_over(guest: uml.Guest, before: Any) -> None:
    assert unload(guest, confirm_seconds=600)["state"] == "unconfirmed"
    guest.cut()
    boot(guest)
    await_undone(guest, before)
    assert states(guest) == ["undone"]


def steps(guest: uml.Guest) -> list[str]:
    done = do(guest, "count", unload={"confirm_seconds": 600, "id": "counted"})
    assert done.returncode == 0, done.stdout + done.stderr
    answer(guest, rollback=None)
    return [line.partition(" ")[2] for line in done.stderr.splitlines() if line.partition(" ")[0].isdigit()]


@pytest.mark.parametrize("how", ["kill", "power"])
def test_ended_at_any_step_the_host_is_as_it_was(guest: uml.Guest, before: Any, how: str) -> None:
    names = steps(guest)
    assert state(guest) == before
    begun = next(number for number, name in enumerate(names, 1) if "is-active" in name)
    # The watch stands: from here on the host comes back by itself. Before that nothing but the watch is made.
    chosen = [begun // 2, begun, *range(begun + 1 + (how == "power"), len(names) + 1, 6)]
    for step in chosen:
        guest.run("rm -rf /var/lib/headroom; sync")
        done = do(guest, how, step, unload={"confirm_seconds": SECONDS, "id": "one"})
        if how == "power":
            boot(guest)
        else:
            assert done.returncode in (137, 255), done.stdout + done.stderr
        if step < begun:
            answer(guest, rollback=None)
        await_undone(guest, before)
