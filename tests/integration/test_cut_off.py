# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A flow that is left untracked and must not be: it cuts ssh, for real, and the host comes back by itself, rules and files as they
were, whatever has become of the play meanwhile.

The host has two ways out. Replies go by the way that requests came by, as their connections keep a mark for it: no rule drops what
is not tracked, but its replies go the other way, and are lost there. CUT_OFF_EVERY: each N-th step of a change is tried (by default
a sample). Needs what booted.py needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from booted import PORT, booted, ssh
from conftest import kill_all
from notrack_wire import CLIENT, HOST, HOST6, SERVER, Place, wired

pytestmark = pytest.mark.on_one_core

EVERY = int(os.environ.get("CUT_OFF_EVERY", "30"))
AT_ONCE = 4
# Seconds. In which a change is to be confirmed, by a play and by nobody; what undoing it may take a busy machine, and a log-in.
PLAYED, CONFIRM, UNDOING, LOG_IN = 20, 10, 20, 10
FAR = "10.99.0.2"
RULES = """
table inet uplinks {
 chain in { type filter hook prerouting priority -150; iifname "h0" ct state new ct mark set 7; }
 chain out { type route hook output priority -150; meta mark set ct mark; }
}
table inet filter {
 chain input {
  type filter hook input priority 0; policy drop;
  iif "lo" accept
  meta l4proto { icmp, ipv6-icmp } accept
  tcp dport { 22, 2222 } accept
  udp dport 53 accept
  ct state established,related accept
 }
}
"""
ROUTES = f"""
ip address add {FAR}/32 dev lo
ip route replace 10.77.0.1 via 10.77.0.1 dev c0 onlink src {FAR}
"""
WAYS = f"""
for name in all h0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done
ip route add 10.99.0.0/24 via {SERVER}
ip route add 10.99.0.0/24 via {CLIENT} table 77
ip rule add fwmark 7 lookup 77
"""
WRONG = {"lifeline": ["10.99.0.0/24"], "lifeline_ports": [PORT]}
RIGHT = {"flows": [{"name": "dns", "protocol": "udp", "ports": [53], "role": "server"}]}
COLLECTION = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections/headroom/netfilter"
STEPWISE = Path(__file__).parents[1] / "survival/stepwise.py"


class Trial:
    """A client, and a host with two ways out."""

    def __init__(self, client: Place, place: Place, folder: Path) -> None:
        self.client, self.place, self.folder = client, place, folder
        self.power = contextlib.ExitStack()
        self.on()
        self.before = self.host.state()

    def on(self) -> None:
        self.host = self.power.enter_context(booted(self.place, self.folder))

    def power_is_cut(self) -> None:
        """And comes back: the kernel has what rules others load at a boot."""
        self.power.close()
        self.place.run("nft", "-f", "-", given="flush ruleset\n" + self.before[0])
        self.on()

    def answers(self) -> bool:
        """By a connection that is opened anew."""
        command = self.client.command("timeout", str(LOG_IN), *ssh(self.host.key, HOST, "-b", FAR), "true")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def do(self, how: str, step: int, **asked: Any) -> subprocess.CompletedProcess[str]:
        words = ("timeout", "60", "python3", "-B", str(STEPWISE), how, str(step))
        return self.host.attempt(*words, given=json.dumps(asked), PYTHONPATH=str(COLLECTION))

    def answer(self, **asked: Any) -> Any:
        done = self.do("none", 0, **asked)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def is_there(self, since: float) -> None:
        """Within the time."""
        while not self.answers():
            assert time.monotonic() < since + PLAYED + UNDOING, "the host does not answer"

    def comes_back(self, since: float) -> None:
        """Within the time, and as it was."""
        self.is_there(since)
        self.is_as_before(since)

    def is_as_before(self, since: float) -> None:
        while (now := self.host.state()) != self.before and time.monotonic() < since + PLAYED + UNDOING:
            time.sleep(0.3)
        for was, found in zip(self.before, now, strict=True):
            assert found == was

    def states(self) -> list[str]:
        return [one["state"] for one in self.answer(history=None)["changes"]]


@contextlib.contextmanager
def trial(folder: Path) -> Iterator[Trial]:
    with wired() as (client, host, _server):
        client.run("sh", "-ec", ROUTES)
        host.run("sh", "-ec", WAYS)
        host.nft(RULES)
        made = Trial(client, host, folder)
        with made.power:
            made.is_there(time.monotonic())
            yield made


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Trial]:
    with trial(tmp_path) as made:
        yield made


def play(one: Trial, folder: Path, ansible_playbook: str, **variables: Any) -> subprocess.Popen[str]:
    playbook = folder / "play.json"
    role = {"role": "headroom.netfilter.notrack"}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": [role]}]))
    inventory = folder / "hosts.json"
    told = {
        "ansible_host": HOST,
        "ansible_port": PORT,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(one.host.key),
        "ansible_ssh_common_args": f"-F none -b {FAR} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_remote_tmp": "/var/tmp/ansible",
        "ansible_python_interpreter": "/usr/bin/python3",
        "notrack_confirm_seconds": PLAYED,
        **{f"notrack_{name}": value for name, value in variables.items()},
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"far": told}}}))
    settings = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"), "ANSIBLE_TIMEOUT": "5"}
    return subprocess.Popen(
        one.client.command(ansible_playbook, "-i", str(inventory), str(playbook)),
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def ansible_playbook(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--ansible-playbook"))


def await_cut(one: Trial, process: subprocess.Popen[str]) -> float:
    """Until the rules are there, and the host answers no more; when that was."""
    while "headroom_notrack" not in one.host.run("nft", "list", "tables"):
        assert process.poll() is None, process.communicate()[0]
    cut = time.monotonic()
    assert not one.answers()
    return cut


def test_a_play_that_cuts_its_own_way_fails_and_the_host_answers_again(
    one: Trial, tmp_path: Path, ansible_playbook: str
) -> None:
    with play(one, tmp_path, ansible_playbook, **WRONG) as process:
        cut = await_cut(one, process)
        one.comes_back(cut)
        said = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "was not confirmed" in said or "is undone, not unconfirmed" in said, said
    assert one.states() == ["undone"]


def test_killed_once_it_has_cut_its_own_way(one: Trial, tmp_path: Path, ansible_playbook: str) -> None:
    with play(one, tmp_path, ansible_playbook, **WRONG) as process:
        cut = await_cut(one, process)
        kill_all(f"ANSIBLE_SSH_CONTROL_PATH_DIR={tmp_path / 'cp'}")
        one.comes_back(cut)
    assert one.states() == ["undone"]


def test_what_is_confirmed_stays(one: Trial, tmp_path: Path, ansible_playbook: str) -> None:
    with play(one, tmp_path, ansible_playbook, **RIGHT, confirm_seconds=300) as process:
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert one.states() == ["kept"]
    assert "undo" not in one.host.run("ls", "-R", "/etc/systemd/system")
    assert one.client.asks("udp", HOST6, 53)
    assert one.host.place.entries("-f", "ipv6", "-p", "udp", "--dport", "53") == []
    one.is_there(time.monotonic())


# As cloud-init has some of it before sysinit.target, and after the network.
EARLY = """
[Unit]
DefaultDependencies=no
After=network-pre.target
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/true
"""


def test_a_boot_takes_back_what_nobody_confirmed(one: Trial) -> None:
    one.answer(notrack={**WRONG, "confirm_seconds": 3600, "id": "one"})
    assert not one.answers()
    one.power_is_cut()
    one.comes_back(time.monotonic())
    assert one.states() == ["undone"]


def test_a_boot_takes_back_what_has_taken_the_place_of_others(one: Trial) -> None:
    """What was confirmed before is in force again, and the boot is not held up by that."""
    one.host.run("sh", "-ec", "cat > /etc/systemd/system/early.service", given=EARLY)
    wants = "/etc/systemd/system/sysinit.target.wants"
    one.host.run("sh", "-ec", f"mkdir -p {wants} && ln -s ../early.service {wants}/")
    one.answer(notrack=RIGHT)
    one.before, before = one.host.state(), one.before
    one.answer(notrack={**RIGHT, **WRONG, "confirm_seconds": 3600, "id": "one"})
    assert not one.answers()
    confirmed, one.before = one.before, before
    since = time.monotonic()
    one.power_is_cut()
    one.before = confirmed
    one.comes_back(since)
    assert sorted(one.states()) == ["kept", "undone"]


def test_ended_before_any_step_the_host_answers_again(tmp_path: Path) -> None:
    """Killed by a signal that nothing can handle, before each step of the host's own part of it."""
    with contextlib.ExitStack() as opened:
        hosts = []
        for number in range(AT_ONCE):
            (folder := tmp_path / str(number)).mkdir()
            hosts.append(opened.enter_context(trial(folder)))
        done = hosts[0].do("count", 0, notrack={**WRONG, "confirm_seconds": 60, "id": "counted"})
        assert done.returncode == 0, done.stdout + done.stderr
        assert not hosts[0].answers()
        names = [line.partition(" ")[2] for line in done.stderr.splitlines() if line.partition(" ")[0].isdigit()]
        hosts[0].answer(rollback=None)
        hosts[0].is_as_before(time.monotonic())
        begun = next(number for number, name in enumerate(names, 1) if "is-active" in name)
        steps = sorted({begun // 2, *range(begun, len(names) + 1, EVERY), len(names)})
        if EVERY == 1:
            steps = list(range(1, len(names) + 1))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            shares = [steps[number::AT_ONCE] for number in range(AT_ONCE)]
            wrong = [
                line
                for found in pool.map(killed, hosts, shares, [begun] * AT_ONCE, [names] * AT_ONCE)
                for line in found
            ]
    assert wrong == []


def killed(one: Trial, steps: list[int], begun: int, names: list[str]) -> list[str]:
    wrong = []
    for step in steps:
        one.host.run("rm", "-rf", "/var/lib/headroom")
        done = one.do("kill", step, notrack={**WRONG, "confirm_seconds": CONFIRM, "id": "one"})
        since = time.monotonic()
        try:
            assert done.returncode == -signal.SIGKILL or done.returncode == 128 + signal.SIGKILL, (
                done.stdout + done.stderr
            )
            if step < begun:
                # Nothing of the host is changed, but what is to take the change back is not all there.
                one.is_there(time.monotonic())
                one.answer(rollback=None)
            one.comes_back(since)
        except AssertionError as error:
            wrong.append(f"{step} ({names[step - 1]}): {error}")
    return wrong
