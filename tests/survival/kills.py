# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""End a change of a host before each of its steps, by a kill or by a power cut, and look what becomes of the host.

Whatever the step, every file is afterwards what it was or what was planned, never anything between; the next runs make the
change; and taken back it leaves /etc (bytes, modes, owners, links, attributes) and the live values as they were. Needs what
user-mode guests need. A sample by default; --every 1 tries all steps. Exits non-zero where anything is otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images
import uml

REPO = Path(__file__).resolve().parents[2]
DRIVER = "/opt/stepwise.py"
KINDS = ("kill", "power", "synced", "full")
SECONDS = 60
RUNS = 3
"""The change is made by then: the first undoes what was left, the next one plans anew."""

# What somebody has made of a host before: modes, an owner, a link, an attribute, a list of access and a line that are not ours.
SETUP = r"""
cd /etc
groupadd --force hardening
rm -rf sysctl.d/99-conntrack.conf modprobe.d/nf_conntrack.conf modules-load.d/nf_conntrack.conf udev/rules.d/90-conntrack.rules
printf '# mine\r\nnet.netfilter.nf_conntrack_max = 30000\n' > sysctl.d/99-conntrack.conf
chown 0:hardening sysctl.d/99-conntrack.conf; chmod 640 sysctl.d/99-conntrack.conf
python3 -c 'import os; os.setxattr("/etc/sysctl.d/99-conntrack.conf", "user.note", b"ours")'
printf 'net.netfilter.nf_conntrack_max = 20000\nnet.ipv4.ip_forward = 0\n' > sysctl.d/10-theirs.conf
chgrp hardening modprobe.d; chmod 2750 modprobe.d
echo nf_conntrack > theirs; ln -s ../theirs modules-load.d/nf_conntrack.conf
rmdir udev/rules.d 2> /dev/null || true
"""
LIST = Path(__file__).with_name("state.py").read_text()
MAX, BUCKETS, EXPECT, ESTABLISHED = 65536, 65536, 512, 7200
RULE = (
    'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", '
    'RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter --prefix=/net/nf_conntrack_max"\n'
)
FILES = {
    "/etc/sysctl.d/99-conntrack.conf": (
        f"# headroom.netfilter\nnet.netfilter.nf_conntrack_max = {MAX}\nnet.netfilter.nf_conntrack_expect_max = {EXPECT}\n"
        f"net.netfilter.nf_conntrack_tcp_timeout_established = {ESTABLISHED}\n"
    ),
    "/etc/modprobe.d/nf_conntrack.conf": f"# headroom.netfilter\noptions nf_conntrack hashsize={BUCKETS}\n",
    "/etc/modules-load.d/nf_conntrack.conf": "# headroom.netfilter\nnf_conntrack\n",
    "/etc/udev/rules.d/90-conntrack.rules": f"# headroom.netfilter\n{RULE}",
}
LINE = {"path": "/etc/sysctl.d/10-theirs.conf", "found": "net.netfilter.nf_conntrack_max = 20000", "wanted": "# ours"}
_BOTH = {
    "net.netfilter.nf_conntrack_max": MAX,
    "hashsize": BUCKETS,
    "net.netfilter.nf_conntrack_tcp_timeout_established": ESTABLISHED,
}
CHANGE = {
    "files": [{"path": path, "content": content} for path, content in FILES.items()],
    "lines": [LINE],
    "max": MAX,
    "buckets": BUCKETS,
    "expect_max": EXPECT,
    "timeouts": {"tcp_established": ESTABLISHED},
    "expected": {"boot": _BOTH, "reload": _BOTH},
    "takeover": True,
    "who": "a test",
}


class Wrong(Exception):
    """The host is not as it has to be."""


class Trial(NamedTuple):
    verb: str
    kind: str
    step: int
    name: str
    """Of the step."""


class Subject:
    """A guest, and what it was before any change."""

    def __init__(self, guest: uml.Guest, plugins: Path) -> None:
        self.guest = guest
        packed = subprocess.run(
            ["tar", "-C", str(plugins), "--exclude=__pycache__", "-c", "module_utils"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        place = "mkdir -p /opt/plugins && tar -C /opt/plugins --no-same-owner -x"
        subprocess.run([*guest.ssh(), place], input=packed, check=True, timeout=60)
        driver = Path(__file__).with_name("stepwise.py").read_bytes()
        subprocess.run([*guest.ssh(), f"cat > {DRIVER}"], input=driver, check=True, timeout=60)
        guest.run(f"{SETUP}\nsync")
        guest.reboot()
        self.before = self.state()

    def do(self, how: str, step: int, asked: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        words = f"PYTHONPATH=/opt timeout {SECONDS} python3 -B {DRIVER} {how} {step}"
        return subprocess.run(
            [*self.guest.ssh(), words],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
            check=False,
        )

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        done = self.do("none", 0, asked)
        if done.returncode:
            raise Wrong(f"exit code {done.returncode} of {next(iter(asked))}: {done.stdout}{done.stderr}")
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def state(self) -> list[dict[str, Any]]:
        """All of /etc, and the values."""
        found: list[dict[str, Any]] = json.loads(self.guest.run(f"python3 -B - <<'END'\n{LIST}\nEND\n"))
        return found

    def pristine(self) -> None:
        """What was kept of changes is forgotten, so that the next trial finds a host as the first one did."""
        self.guest.run("rm -rf /var/lib/headroom; sync")

    def steps(self, verb: str) -> list[str]:
        """Their names, from a run to its end."""
        if verb == "rollback":
            self.made()
        done = self.do("count", 0, {"change": CHANGE} if verb == "change" else {"rollback": None})
        if done.returncode or "failed" in json.loads(done.stdout):
            raise Wrong(f"{verb}, left alone: {done.stdout}{done.stderr}")
        if verb == "change":
            self.is_made()
        self.taken_back()
        return [line.partition(" ")[2] for line in done.stderr.splitlines() if line.partition(" ")[0].isdigit()]

    def end(self, trial: Trial) -> None:
        """A change, or its way back, that comes to its end before a step."""
        if trial.verb == "rollback":
            self.made()
        asked: dict[str, Any] = {"change": CHANGE} if trial.verb == "change" else {"rollback": None}
        done = self.do(trial.kind, trial.step, asked)
        if trial.kind in ("power", "synced"):
            deadline = time.monotonic() + SECONDS
            while self.guest.runs():
                if time.monotonic() > deadline:
                    raise Wrong(f"the power was not cut: {done.stdout}{done.stderr}")
                time.sleep(0.05)
            self.guest.boot(os.getpid())
        elif trial.kind == "kill" and done.returncode != 137 and done.returncode != 255:
            raise Wrong(f"it was not killed: exit code {done.returncode}: {done.stdout}{done.stderr}")
        self.is_whole()
        if trial.step % 2:
            self.made()
        self.taken_back()

    def is_whole(self) -> None:
        """Every file is what it was, or what was planned."""
        was, now = self.before[0], self.state()[0]
        for path in FILES.keys() | {LINE["path"]}:
            if now.get(path) != was.get(path) and not self._is_wanted(path):
                raise Wrong(f"{path} is neither what it was nor what was planned: {now.get(path)}")

    def _is_wanted(self, path: str) -> bool:
        wanted = FILES.get(path) or f"{LINE['wanted']}\nnet.ipv4.ip_forward = 0\n"
        said = self.guest.attempt(f"cat {path}; test -f {path} && ! test -L {path}; stat -c '%a %u %g' {path}")
        return said.stdout == f"{wanted}644 0 0\n"

    def planned(self) -> dict[str, Any]:
        """The change, as a plan that reads the host now has it."""
        is_there = self.guest.attempt(f"grep -qx '{LINE['found']}' {LINE['path']}").returncode == 0
        return {"change": {**CHANGE, "lines": [LINE] if is_there else []}}

    def made(self) -> None:
        """By the next runs, at the latest the last of them."""
        said: dict[str, Any] = {}
        for _run in range(RUNS):
            said = self.answer(self.planned())
            if "failed" not in said:
                return self.is_made()
            if not said["told"].get("stale"):
                break
        raise Wrong(f"the next run does not make the change: {said}")

    def is_made(self) -> None:
        for path in FILES.keys() | {LINE["path"]}:
            if not self._is_wanted(path):
                raise Wrong(f"{path} is not what was planned, though the change was made")
        values = self.state()[1]
        if list(values.values()) != [MAX, BUCKETS, EXPECT, ESTABLISHED]:
            raise Wrong(f"the change was made, and the values are {values}")

    def taken_back(self) -> None:
        said = self.answer({"rollback": "first"})
        if "failed" in said:
            raise Wrong(f"it cannot be taken back: {said}")
        if said.get("not_restored"):
            raise Wrong(f"taken back but for: {said['not_restored']}")
        again = self.answer({"rollback": "first"})
        if again.get("changed") is not False:
            raise Wrong(f"taking it back a second time: {again}")
        now = self.state()
        for before, after in zip(self.before, now):
            differing = {
                key: [before.get(key), after.get(key)]
                for key in before.keys() | after.keys()
                if before.get(key) != after.get(key)
            }
            if differing:
                raise Wrong(f"taken back, but not as it was (was, is): {differing}")
        left = self.answer({"history": None})
        if left.get("unfinished"):
            raise Wrong(f"taken back, and still unfinished: {left}")
        self.pristine()


def trials(subject: Subject, kinds: list[str], every: int) -> Iterator[Trial]:
    for verb in ("change", "rollback"):
        names = subject.steps(verb)
        print(f"{verb}: {len(names)} steps", flush=True)
        for kind in kinds:
            # Each kind begins at another one, so that a sample differs from kind to kind.
            for step in range(1 + KINDS.index(kind) % every, len(names) + 1, every):
                yield Trial(verb, kind, step, names[step - 1])


def run(subject: Subject, trial: Trial) -> str | None:
    """What went wrong."""
    started = time.monotonic()
    wrong = None
    try:
        subject.end(trial)
    except (Wrong, images.Failed, subprocess.SubprocessError, json.JSONDecodeError) as problem:
        wrong = f"{trial.kind} before step {trial.step} of {trial.verb} ({trial.name}): {problem}"
    said = f"{time.strftime('%H:%M:%S')} {trial.verb}, {trial.kind} before {trial.step} ({trial.name})"
    print(f"{said}: {wrong or 'well'} ({time.monotonic() - started:.0f} s)", flush=True)
    return wrong


def of_guest(guest: uml.Guest, plugins: Path, mine: slice, arguments: argparse.Namespace) -> list[str]:
    subject = Subject(guest, plugins)
    wrong = []
    for trial in list(trials(subject, arguments.kind, arguments.every))[mine]:
        if problem := run(subject, trial):
            wrong.append(problem)
            # As new, or what comes next would tell of this one.
            guest.down()
            guest.boot(os.getpid())
            subject = Subject(guest, plugins)
    return wrong


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--every", type=int, default=8, metavar="N", help="each N-th step (default 8)")
    parser.add_argument("--guests", type=int, default=2, metavar="N", help="that work at once (default 2)")
    parser.add_argument("--plugins", type=Path, default=REPO / "plugins", metavar="PATH", help="the collection's")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if reason := uml.lack():
        sys.exit(f"no user-mode guests on this machine: {reason}")
    wrong: list[str] = []
    with contextlib.ExitStack() as stack:
        lab = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        guests = stack.enter_context(uml.running(lab, arguments.guests))
        pool = stack.enter_context(ThreadPoolExecutor(len(guests)))
        shares = [slice(number, None, len(guests)) for number in range(len(guests))]
        for found in pool.map(
            lambda pair: of_guest(pair[0], arguments.plugins, pair[1], arguments), zip(guests, shares)
        ):
            wrong += found
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
