# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Lose the connection before each step of a change, and have two of them at once: the host ends its work, whole.

The playbook tune over SSH, as users run it, on user-mode guests; hang_up.py there cuts the session of sshd that the module came
by, while the module stands at the step. Where the line alone is lost, the run asks for the result again and tells of it; where
the controller is gone as well, the host is left alone. Either way the change is kept. Where the host kills all that the session
has started, the run undoes what was left, and makes the change anew. Files and values are those of a change that nobody
disturbed, and the next run finds nothing to do. A sample by default; --every 1 tries all steps. Exits non-zero where
anything is otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
import images
import machine
import uml

REPO = Path(__file__).resolve().parents[2]
SECONDS = 240
"""A run, with all that it waits for."""
LONGEST_LINE = 400
LIMIT, OTHER = 100000, 200000
PLACE = "/run/hang_up"
LOCK = "/run/headroom.netfilter.lock"
PYTHON = "/usr/lib/python3/dist-packages"
DRILL = "/var/lib/headroom/drill"
# A user who may use sudo, which gives what it runs a terminal of its own (Debian's default), and a file of theirs.
SETUP = rf"""
useradd --create-home --password '*' joe
install -d -o joe -m 700 ~joe/.ssh
install -o joe -m 600 ~root/.ssh/authorized_keys ~joe/.ssh/
echo 'joe ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/joe
grep -q '^Defaults.*use_pty' /etc/sudoers
echo import hang_up > {PYTHON}/hang_up.pth
"""
RESET = rf"""
test ! -e {LOCK} || flock -w 100 {LOCK} true
rm -rf /var/lib/headroom {PLACE} /etc/sysctl.d/99-conntrack.conf
rm -f /etc/modprobe.d/nf_conntrack.conf /etc/modules-load.d/nf_conntrack.conf /etc/udev/rules.d/90-conntrack.rules
printf '# mine\r\nnet.netfilter.nf_conntrack_max = 30000\n' > /etc/sysctl.d/99-conntrack.conf
chmod 640 /etc/sysctl.d/99-conntrack.conf
udevadm control --reload
modprobe -r nf_conntrack; modprobe nf_conntrack; udevadm settle
mkdir {PLACE}; touch {PLACE}/held
cat > {PLACE}/todo
"""
CHANGES = r"""
import glob, json, os
def state(folder):
    try:
        with open(folder + "/result.json") as opened:
            return json.load(opened)["state"]
    except FileNotFoundError:
        return "unfinished"
found = [os.path.dirname(path) for path in glob.glob("/var/lib/headroom/netfilter/*/begun")]
print(json.dumps({os.path.basename(folder): state(folder) for folder in sorted(found, key=os.path.getmtime)}))
"""
LIST = Path(__file__).with_name("state.py").read_text()
RESULT = re.compile(r"^(?:ok|changed|fatal): \[[^]]+\](?:: [A-Z]+!)? => (\{.*\})$", re.MULTILINE)


class Wrong(Exception):
    """The host, or what was said of it, is not as it has to be."""


class Mode(NamedTuple):
    """A way to a host."""

    name: str
    environment: dict[str, str] = {}
    options: tuple[str, ...] = ()
    seconds: int = 1
    """For what a lost session sends its processes: sudo ends them one signal after the other."""


SUDO = ("--become", "-e", "ansible_user=joe")
PIPELINED, SENT = {"ANSIBLE_PIPELINING": "True"}, {"ANSIBLE_PIPELINING": "False"}
MODES = (
    Mode("pty", SENT),  # ansible-core's default: the module is sent by sftp and run with ssh -tt
    Mode("no-pty", {**SENT, "ANSIBLE_SSH_USETTY": "False"}),
    Mode("pipelining"),  # the collection's, without sudo: the module is sent as standard input, which takes no pty
    Mode("sudo", {}, SUDO, 4),
    Mode("sudo-pipelining", PIPELINED, SUDO, 4),
)
WAYS = ("line", "controller", "session")
"""What is lost."""


class Said(NamedTuple):
    """What a playbook said."""

    code: int
    changed: bool
    result: dict[str, Any]
    """Of the role; nothing where it came to none."""
    text: str


class Run:
    """A playbook on its way."""

    def __init__(self, subject: Subject, name: str, variables: Mapping[str, Any], mode: Mode = MODES[0]) -> None:
        command = [
            *machine.WITH_PARENT,
            *(str(Path(sys.executable).with_name("ansible-playbook")), "-v", "-i", str(subject.lab / "inventory.yml")),
            *("--limit", subject.guest.name, f"headroom.netfilter.{name}", "-e", json.dumps(variables), *mode.options),
        ]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        own = {
            "ANSIBLE_COLLECTIONS_PATH": str(subject.collections),
            "ANSIBLE_HOME": str(subject.lab / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        }
        self.process = subprocess.Popen(
            command,
            env={**kept, **own, **mode.environment},
            cwd=subject.lab,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        subject.runs.append(self)

    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> Said:
        try:
            text = self.process.communicate(timeout=SECONDS)[0]
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong(f"a run does not end in {SECONDS} s") from None
        results = [json.loads(found) for found in RESULT.findall(text)]
        of_role = [result for result in results if "plan" in result or "refusals" in result or "id" in result]
        short = "\n".join(line[:LONGEST_LINE] for line in text.splitlines())
        return Said(self.process.returncode, " changed=0 " not in text, (of_role or results or [{}])[0], short)

    def kill(self) -> None:
        """With every ssh of its own; the one that waits for more is left with a connection that is cut."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


class Subject:
    """A guest, and what it is after a change that nobody has disturbed."""

    def __init__(self, guest: uml.Guest, collections: Path) -> None:
        self.guest, self.lab, self.collections = guest, guest.lab, collections
        hook = Path(__file__).with_name("hang_up.py").read_bytes()
        subprocess.run([*guest.ssh(), f"cat > {PYTHON}/hang_up.py"], input=hook, check=True, timeout=60)
        guest.run(SETUP)
        self.runs: list[Run] = []
        self.wanted = {}
        for limit in (OTHER, LIMIT):
            self.reset()
            self.well(self.tune(limit).end())
            self.wanted[limit] = self.state()
        self.steps = [line.split(" ", 2)[2] for line in guest.run(f"cat {PLACE}/steps").splitlines()]

    def reset(self, step: int = 0, *deeds: tuple[str, str]) -> None:
        todo = json.dumps({"step": step, "do": deeds})
        self.guest.run(f"{RESET.strip()} <<'END'\n{todo}\nEND\n")

    def step(self, name: str) -> int:
        """The number of the first that ends so."""
        return next(number for number, said in enumerate(self.steps, 1) if said.endswith(name))

    def tune(self, limit: int = LIMIT, mode: Mode = MODES[0], shrink: bool = False) -> Run:
        return Run(self, "tune", {"conntrack_max": limit, "conntrack_shrink": shrink}, mode)

    def state(self) -> Any:
        """All of /etc, and the values."""
        return json.loads(self.guest.run(f"python3 -B - <<'END'\n{LIST}\nEND\n"))

    def changes(self) -> dict[str, str]:
        """Their states, by id; the first of them first."""
        found: dict[str, str] = json.loads(self.guest.run(f"python3 -B - <<'END'\n{CHANGES}\nEND\n"))
        return found

    def said(self, name: str) -> str | None:
        """What hang_up.py has left there."""
        done = self.guest.attempt(f"cat {PLACE}/{name}")
        return None if done.returncode else done.stdout

    def awaited(self, what: str, *runs: Run) -> None:
        """Until a condition of the shell is true; or a run has ended before."""
        for _time in range(SECONDS):
            done = self.guest.attempt(f"for i in $(seq 20); do {what} && exit; sleep 0.05; done; exit 7")
            if done.returncode == 0:
                return
            if runs and not any(run.runs() for run in runs):
                break
        ended = "".join(run.end().text for run in runs)
        raise Wrong(f"came too late: ended before {what}: {ended}")

    def reached(self, *runs: Run) -> None:
        self.awaited(f"test -e {PLACE}/at", *runs)

    def go(self) -> None:
        self.guest.run(f"touch {PLACE}/go")

    def left_alone(self) -> None:
        """Until no process of a change is left."""
        if self.guest.attempt(f"flock -w 60 {PLACE}/held true").returncode:
            raise Wrong("the host does not end its work within a minute")

    def is_as(self, limit: int) -> None:
        for wanted, now in zip(self.wanted[limit], self.state()):
            differing = {
                key: [wanted.get(key), now.get(key)]
                for key in wanted.keys() | now.keys()
                if wanted.get(key) != now.get(key)
            }
            if differing:
                raise Wrong(f"not as after a change to {limit} that nobody disturbed (that, this): {differing}")

    @staticmethod
    def well(said: Said, changed: bool | None = True) -> None:
        if said.code or changed not in (None, said.changed):
            raise Wrong(f"exit code {said.code}, changed {said.changed}:\n{said.text}")

    def is_over(self, limit: int, *states: str) -> None:
        """All is as after a change to that limit; these are the states of all changes; and the next run says so, too."""
        found = self.changes()
        if list(found.values()) != list(states):
            raise Wrong(f"the host has {found} and not {', '.join(states)}")
        self.is_as(limit)
        said = self.tune(limit).end()
        self.well(said, changed=False)
        history = said.result["before"]["history"]
        if history["unfinished"] or history["last"]["id"] != list(found)[-1] or history["last"]["state"] != states[-1]:
            raise Wrong(f"the next run is told: {history}")


# A connection that is lost.


class Trial(NamedTuple):
    mode: Mode
    way: str
    step: int

    def told(self, subject: Subject) -> str:
        return f"{self.mode.name}, {self.way} lost before {self.step} ({subject.steps[self.step - 1]})"


def lose(subject: Subject, trial: Trial) -> str:
    cut = ("cut", str(trial.mode.seconds))
    deeds = {"line": [cut], "controller": [("await", "go"), cut], "session": [cut, ("kill", "")]}
    subject.reset(trial.step, *deeds[trial.way])
    run = subject.tune(mode=trial.mode)
    if trial.way == "controller":
        subject.reached(run)
        run.kill()
        subject.go()
        subject.left_alone()
        how = _cut(subject, "")
        if trial.step == 1 and not how["module"] and not subject.changes():
            # Ended before it had begun anything: sudo ends what has not left its session.
            subject.well(subject.tune().end())
    else:
        said = run.end()
        how = _cut(subject, said.text)
        subject.well(said)
        subject.left_alone()
        if said.result.get("id") not in list(subject.changes())[-1:]:
            raise Wrong(f"the run tells of change {said.result.get('id')}, and the host has {subject.changes()}")
    is_anew = trial.way == "session" and len(subject.changes()) == 2
    subject.is_over(LIMIT, *(["undone", "kept"] if is_anew else ["kept"]))
    if trial.way == "session":
        return "undone, and made anew" if is_anew else "nothing was to be undone"
    return "the module's own process " + ("stayed" if how["module"] else "was ended")


def _cut(subject: Subject, text: str) -> dict[str, Any]:
    said = subject.said("cut")
    if said is None:
        raise Wrong(f"nothing was cut; reached: {subject.said('at')}\n{text}")
    how: dict[str, Any] = json.loads(said)
    if not (how["sessions"] and how["gone"]):
        raise Wrong(f"no session was ended: {how}")
    return how


# Two at once.

MIDST = "/nf_conntrack_max"
"""Files are written, and the buckets, and no more."""


def second_waits(subject: Subject) -> None:
    """Another run comes in the midst of a change."""
    subject.reset(subject.step(MIDST), ("await", "waits"))
    first = subject.tune()
    subject.reached(first)
    second = subject.tune(OTHER)
    subject.well(first.end())
    subject.well(second.end())
    subject.is_over(OTHER, "kept", "kept")


def second_is_refused(subject: Subject) -> str:
    """Another run comes in the midst of a change that takes more than a minute."""
    subject.reset(subject.step(MIDST), ("await", "go"))
    first = subject.tune()
    subject.reached(first)
    said = subject.tune(OTHER).end()
    words = str(said.result.get("msg"))
    if said.code == 0 or said.changed or "another change of this host is on its way, of " not in words:
        raise Wrong(f"the second run is not refused:\n{said.text}")
    subject.go()
    subject.well(first.end())
    subject.is_over(LIMIT, "kept")
    return words


def second_is_lower(subject: Subject) -> str:
    """Another run comes in the midst of a change, and asks for less."""
    subject.reset(subject.step(MIDST), ("await", "waits"))
    first = subject.tune(OTHER)
    subject.reached(first)
    second = subject.tune(LIMIT)
    subject.well(first.end())
    said = second.end()
    words = str(said.result.get("msg"))
    if said.code == 0 or said.changed or str(OTHER) not in words:
        raise Wrong(f"the second run is not refused:\n{said.text}")
    subject.is_over(OTHER, "kept")
    return words


def same_time(subject: Subject) -> None:
    """Two runs begin at once."""
    subject.reset()
    runs = {limit: subject.tune(limit, shrink=True) for limit in (LIMIT, OTHER)}
    for run in runs.values():
        subject.well(run.end())
    last = subject.state()[1]["nf_conntrack_max"]
    if list(subject.changes().values()) != ["kept", "kept"] or last not in runs:
        raise Wrong(f"the limit is {last}, and the changes are {subject.changes()}")
    wanted, now = subject.wanted[last][0], subject.state()[0]
    if wanted != now:
        raise Wrong(
            f"the limit is {last}, and not all files are: {[name for name in now if now[name] != wanted[name]]}"
        )
    subject.well(subject.tune(last, shrink=True).end(), changed=False)


def sent_again(mode: Mode) -> Callable[[Subject], None]:
    def trial(subject: Subject) -> None:
        subject.reset(subject.step(MIDST), ("cut", str(mode.seconds)), ("await", "waits"))
        said = subject.tune(mode=mode).end()
        _cut(subject, said.text)
        subject.well(said)
        if subject.said("waits") is None or said.result.get("id") not in subject.changes():
            raise Wrong(f"it was not sent again, or has another id:\n{said.text}")
        subject.is_over(LIMIT, "kept")

    trial.__doc__ = f"A change is sent again while it is at work ({mode.name})."
    return trial


def drill_waits(subject: Subject) -> None:
    """A drill comes in the midst of a change."""
    subject.reset(subject.step("/.99-conntrack.conf.headroom"), ("await", "go"))
    run = subject.tune()
    subject.reached(run)
    drill = Run(subject, "drill", {"drill_reload": True, "drill_out_of_band": True})
    subject.awaited(f"ls {DRILL}/*/reload/drill.sh", drill)
    time.sleep(2)
    if subject.guest.attempt(f"ls {DRILL}/*/reload/end").returncode == 0:
        raise Wrong("the drill does not wait")
    subject.go()
    subject.well(run.end())
    _drilled(drill.end())
    subject.is_over(LIMIT, "kept")


def change_waits(subject: Subject) -> None:
    """A change comes in the midst of a drill."""
    subject.reset(subject.step(LOCK), ("await", "go"))
    run = subject.tune()
    subject.reached(run)
    drill = Run(subject, "drill", {"drill_reload": True, "drill_out_of_band": True})
    subject.awaited(f"test -e {LOCK} && ! flock -n {LOCK} true", drill)
    subject.go()
    subject.awaited(f"test -e {PLACE}/waits", run)
    subject.well(run.end())
    _drilled(drill.end())
    subject.is_over(LIMIT, "kept")


def _drilled(said: Said) -> None:
    """To its end. That the limit is another one than before, it tells where the change came between its readings."""
    if "NOT DONE" in said.text or (said.code and "MOVED by the module reload: limit (entries)" not in said.text):
        raise Wrong(f"the drill says:\n{said.text}")


RETRIES = {"ANSIBLE_SSH_RETRIES": "3"}
AT_ONCE: tuple[Callable[[Subject], str | None], ...] = (
    second_waits,
    second_is_lower,
    second_is_refused,
    *(same_time,) * 3,
    sent_again(MODES[0]),
    sent_again(MODES[2]),
    sent_again(MODES[3]),
    sent_again(Mode("pty, ansible-core's own retries", RETRIES)),
    sent_again(Mode("pipelining, ansible-core's own retries", {**PIPELINED, **RETRIES})),
    drill_waits,
    change_waits,
)


def trials(subject: Subject, arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """What is tried, and what does it."""
    ways = [(mode, way) for mode in MODES if mode.name in arguments.mode for way in arguments.way]
    for number, (mode, way) in enumerate(ways):
        # Each begins at another one, so that a sample differs from way to way.
        for step in range(1 + number % arguments.every, len(subject.steps) + 1, arguments.every):
            trial = Trial(mode, way, step)
            yield trial.told(subject), lambda trial=trial: lose(subject, trial)  # type: ignore[misc]
    for work in AT_ONCE if arguments.at_once else ():
        yield str(work.__doc__).rstrip("."), lambda work=work: work(subject)  # type: ignore[misc]


def of_guest(guest: uml.Guest, mine: slice, arguments: argparse.Namespace) -> list[str]:
    subject = Subject(guest, arguments.collections)
    wrong = []
    for name, work in list(trials(subject, arguments))[mine]:
        started = time.monotonic()
        try:
            said = f"well{'; ' + told if (told := work()) else ''}"
        except (Wrong, images.Failed, subprocess.SubprocessError, json.JSONDecodeError, LookupError) as problem:
            said = f"{type(problem).__name__}: {problem}"
            wrong.append(f"{name}: {said}")
            # What goes on would meet the next trial.
            for run in subject.runs:
                if run.runs():
                    run.kill()
            with contextlib.suppress(images.Failed, Wrong):
                subject.go()
                subject.left_alone()
        subject.runs.clear()
        print(f"{time.strftime('%H:%M:%S')} {name}: {said} ({time.monotonic() - started:.0f} s)", flush=True)
    return wrong


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [mode.name for mode in MODES]
    parser.add_argument("--mode", nargs="*", choices=names, default=names)
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--every", type=int, default=8, metavar="N", help="each N-th step (default 8)")
    parser.add_argument("--no-at-once", dest="at_once", action="store_false", help="leave out two at once")
    parser.add_argument("--guests", type=int, default=2, metavar="N", help="that work at once (default 2)")
    parser.add_argument("--collections", type=Path, default=REPO / ".cache/collections", metavar="PATH")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if reason := uml.lack():
        sys.exit(f"no user-mode guests on this machine: {reason}")
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="lost-") as folder,
        uml.running(Path(folder), arguments.guests) as guests,
        ThreadPoolExecutor(len(guests)) as pool,
    ):
        shares = [slice(number, None, len(guests)) for number in range(len(guests))]
        for found in pool.map(of_guest, guests, shares, [arguments] * len(guests)):
            wrong += found
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
