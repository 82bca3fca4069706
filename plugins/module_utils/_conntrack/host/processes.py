# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the door behind which other processes are: programs that are run, and children that enter a network namespace."""

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import time
from typing import Any, Callable, List, Optional, Tuple

# Of what a program writes: what it says of its failures, with the rest.
TOGETHER = subprocess.STDOUT

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(argv: List[str], limit: int, longest: float) -> Optional[bytes]:
    """The first ``limit`` bytes that a program writes, as Host.run has it."""
    try:
        found, code = ran(argv, limit, longest)
    except (OSError, ValueError):
        return None
    return found if code == 0 or len(found) >= limit else None


def ran(
    argv: List[str], limit: int, longest: float, errors: int = subprocess.DEVNULL, path: str = ""
) -> Tuple[bytes, Optional[int]]:
    """The first ``limit`` bytes that a program writes, and how it ended. Raises OSError where it cannot be started."""
    deadline = time.monotonic() + longest
    reading, writing = os.pipe()
    try:
        environment = {"LC_ALL": "C", "PATH": path} if path else {"LC_ALL": "C"}
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=errors,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError):
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        found = _until(reading, deadline, limit)
    finally:
        os.close(reading)
        _end(process, deadline)
    return found, process.returncode


def start(argv: List[str]) -> None:
    """Start a program that outlives this one, in a session of its own."""
    null = subprocess.DEVNULL
    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, cwd="/", env={"LC_ALL": "C"}, start_new_session=True)


def within(door: str, path: str, work: Callable[[], Any], longest: float) -> Any:
    """What ``work`` gives in the network namespace of the file ``door``, called ``path``, as Host.within has it."""

    def enter_and_work(tell: Callable[[Any], None]) -> None:
        try:
            enter(door)
        except OSError as error:
            tell({"refused": error.errno})
        else:
            try:
                tell({"found": work()})
            except Exception:
                import traceback

                tell({"failed": traceback.format_exc()})

    deadline = time.monotonic() + longest
    told = told_by_child(enter_and_work, longest)
    if not told and time.monotonic() >= deadline:
        raise OSError(errno.ETIMEDOUT, "what went there gave no answer in {0:.0f} s".format(longest))
    if not told:
        raise OSError(errno.ECHILD, "what went there ended without an answer")
    if "refused" in told[0]:
        raise OSError(told[0]["refused"], os.strerror(told[0]["refused"]), path)
    if "failed" in told[0]:
        raise RuntimeError(told[0]["failed"])
    return told[0]["found"]


def told_by_child(job: Callable[[Callable[[Any], None]], None], longest: float) -> List[Any]:
    """What a child process tells, as JSON has it, until its end or for so many seconds; it never outlives this. Raises
    OSError where there can be none."""
    parent = os.getpid()
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if child == 0:
        # Nothing of what the parent has begun, as text that it has not yet written, is the child's to end.
        try:
            os.close(reading)
            _end_with(parent)
            job(lambda thing: _tell(writing, thing))
        finally:
            os._exit(0)
    os.close(writing)
    try:
        lines = _until(reading, time.monotonic() + longest).split(b"\n")[:-1]
    finally:
        os.close(reading)
        # Who lets nobody wait for children has none left.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return [json.loads(line.decode("ascii")) for line in lines]


def _tell(writing: int, thing: Any) -> None:
    left = json.dumps(thing).encode("ascii") + b"\n"
    while left:
        left = left[os.write(writing, left) :]


def _end_with(parent: int) -> None:
    """Make the kernel end this process with its parent, however that ends; where it can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *[ctypes.c_ulong(0)] * 3)
    if os.getppid() != parent:
        os._exit(0)


def entered(path: str) -> bool:
    try:
        enter(path)
        return True
    except OSError:
        return False


def enter(path: str) -> None:
    """Move this process into a network namespace. Raises OSError."""
    # os.setns came with Python 3.12, and not every Python has ctypes.
    try:
        import ctypes

        setns = ctypes.CDLL(None, use_errno=True).setns
    except (ImportError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path) from None

    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if setns(opened, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(opened)


def _until(reading: int, deadline: float, limit: Optional[int] = None) -> bytes:
    """All that comes through a pipe until its end, the deadline, or as many bytes."""
    found = b""
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    while waiting.poll(max(0, deadline - time.monotonic()) * 1000):
        more = os.read(reading, 65536)
        if not more:
            break
        found += more
        if limit is not None and len(found) >= limit:
            return found[:limit]
    return found


def _end(process: "subprocess.Popen[bytes]", deadline: float) -> None:
    """Wait for a process, until the deadline; then kill it and all of its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        if time.monotonic() < deadline:
            process.wait(deadline - time.monotonic())
    if process.returncode is None:
        # Not waited for, so the number cannot be another's yet. One that the kernel does not let go is left behind.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(1.0)
