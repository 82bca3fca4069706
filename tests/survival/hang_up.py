# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""On a host, in each Python that starts there: what befalls a change from outside, before a step of it that is chosen.

A step is what the interpreter tells its audit hooks of: a fork, a file opened for writing, renamed, taken away, a folder made, a
lock, a program. The module is the one that is shipped, as it was sent; it stands still while this is at work. PLACE/todo says,
in JSON, at which step, and what is done then, one after the other:

cut SECONDS   kill the sessions of sshd that the change came by, and give hang-ups and signals so long to come
kill NOTHING  kill the change, and the module that waits for it, as who ends a session with all that it has started
await FILE    until there is PLACE/FILE

PLACE/steps gets a line for each step, PLACE/at comes when the chosen one is reached, PLACE/cut with what was killed, PLACE/waits
when another change waits for the lock. Whoever makes a change holds PLACE/held, shared.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

PLACE = "/run/hang_up"
CHANGE = "ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.change.transaction"
LONGEST = 100
"""Seconds. Nothing is waited for longer: the change goes on, and the trial finds it so."""
NAMES = {
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.symlink", "os.setxattr"),
    *("fcntl.flock", "subprocess.Popen", "socket.sendto"),
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Hook:
    def __init__(self) -> None:
        self.module = os.getpid()
        self.steps = self.locks = 0
        self.is_inside = False
        self.held: int | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_inside or CHANGE not in sys.modules or not os.path.exists(PLACE + "/todo"):
            return
        self.is_inside = True
        try:
            if self._is_step(event, arguments):
                self._step(event, arguments)
        finally:
            self.is_inside = False

    def _is_step(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if os.getpid() == self.module:
            # Until the change is made apart from the session.
            return event == "os.fork" and sys._getframe(2).f_code.co_name == "apart"
        if event == "open":
            return bool(arguments[2] & WRITES) and not str(arguments[0]).startswith("/dev/")
        return event in NAMES

    def _step(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.held is None:
            self.held = os.open(PLACE + "/held", os.O_RDONLY | os.O_CREAT)
            fcntl.flock(self.held, fcntl.LOCK_SH)
        if event == "fcntl.flock":
            self.locks += 1
            if self.locks > 1:
                _say("waits", "")
                return
        self.steps += 1
        with open(PLACE + "/todo") as opened:
            todo = json.load(opened)
        name = f"{self.steps} {event} {_place(arguments)}"
        with open(PLACE + "/steps", "a") as opened:
            opened.write(f"{os.getpid()} {name}\n")
        if self.steps == todo["step"] and _say("at", name):
            for word, said in todo["do"]:
                if word == "cut":
                    self._cut(float(said))
                elif word == "kill":
                    for process in (self.module, os.getpid()):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(process, signal.SIGKILL)
                else:
                    _until(partial(os.path.exists, f"{PLACE}/{said}"), LONGEST)

    def _cut(self, seconds: float) -> None:
        sessions = [process for process in _above(self.module) if _stat(process)[0].startswith("sshd")]
        # The one that listens is nobody's session.
        sessions = [process for process in sessions if _stat(process)[2] != 1]
        for process in sessions:
            # One of a user's ends with the other one.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        gone = _until(lambda: not any(_runs(process) for process in sessions), 10)
        time.sleep(seconds)
        _say("cut", json.dumps({"sessions": len(sessions), "gone": gone, "module": _runs(self.module)}))


def _place(arguments: tuple[Any, ...]) -> str:
    if not arguments:
        return ""
    at = arguments[0]
    return os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) else str(at)


def _say(name: str, text: str) -> bool:
    """Whether nobody has said it before."""
    with contextlib.suppress(FileExistsError):
        with open(f"{PLACE}/.{name}.{os.getpid()}", "w") as opened:
            opened.write(text)
        os.link(opened.name, f"{PLACE}/{name}")
        return True
    return False


def _until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
    return done()


def _stat(process: int) -> tuple[str, str, int]:
    """Its name, its state, its parent."""
    with open(f"/proc/{process}/stat") as opened:
        before, _bracket, after = opened.read().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], fields[0], int(fields[1])


def _runs(process: int) -> bool:
    try:
        return _stat(process)[1] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _above(process: int) -> list[int]:
    found = []
    while process > 1:
        process = _stat(process)[2]
        found.append(process)
    return [one for one in found if one > 1]


sys.addaudithook(Hook())
