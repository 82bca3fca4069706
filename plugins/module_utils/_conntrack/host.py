# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to the machine: nothing else in this collection opens, lists or writes a file, or runs a program there.

Reading never raises: what is not there is None, what may not be read is None and is remembered in
``unreadable``. Every read is bounded, and so is every run. Writing raises OSError, because a write that fails matters.
"""

import contextlib
import errno
import grp
import hashlib
import json
import mmap
import os
import platform
import pwd
import select
import signal
import stat
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

if TYPE_CHECKING:
    from .netfilter import Netfilter

# Bytes. The longest file read as text, /proc/slabinfo or a firewall's configuration, is some 30 KiB.
LONGEST_TEXT = 256 * 1024
# Bytes. A file of ours is 2 KiB; one of another's in its place is compared up to here.
LONGEST_FILE = 1024 * 1024
# Seconds. What a look into all other network namespaces may take; 500 take 0.1, or 0.4 on a busy machine.
LONGEST_LOOK = 5.0
# Seconds. What a program may take.
LONGEST_RUN = 3.0

# Bytes. A line of /proc/net/nf_conntrack has some 300.
LONGEST_LINE = 4096

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_READ_ALL = 3  # SYSLOG_ACTION_READ_ALL of syslog(2); takes nothing away


class File(NamedTuple):
    """What is needed to tell whether a file is as it should be."""

    sha256: str
    mode: str  # four octal digits, "0644"
    owner: str
    group: str


class Host:
    """The machine below ``root``; the tests hand in the tree of another one."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self.unreadable: List[str] = []

    # What the process is, rather than what a file says.

    def machine(self) -> str:
        """The kernel's architecture, as ``uname -m``."""
        return platform.machine()

    def page_size(self) -> int:
        """Bytes in a page of memory."""
        return int(os.sysconf("SC_PAGE_SIZE"))

    def python(self) -> str:
        return platform.python_version()

    def is_root(self) -> bool:
        return os.geteuid() == 0

    # Reading.

    def path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def read(self, path: str) -> Optional[str]:
        """The text of a file, at most LONGEST_TEXT bytes of it; None where there is none to be had."""
        content = self._bytes(path, LONGEST_TEXT)
        return None if content is None else content.decode("utf-8", "replace")

    def tail(self, path: str, limit: int) -> Optional[str]:
        """The last ``limit`` bytes of a regular file, begun at the start of a line; None where there is none to be had."""
        content = self._bytes(path, limit, from_end=True)
        return None if content is None else content.decode("utf-8", "replace")

    def link(self, path: str) -> Optional[str]:
        """Where a symbolic link points, as it says so; None for what is none. Those of /proc, as net:[4026531840], too."""
        try:
            return os.readlink(self.path(path))
        except OSError as error:
            # EINVAL is what everything else gives.
            if error.errno != errno.EINVAL:
                self._remember(path, error)
            return None

    def kernel_log(self, limit: int) -> Optional[str]:
        """The last ``limit`` bytes of the kernel's ring buffer, as syslog(2) gives them: a line "<level>[seconds] text"
        for each message. A tree has such lines in a file /proc/kmsg, which is never read on a machine: that takes away.
        """
        if self.root != "/":
            return self.tail("/proc/kmsg", limit)
        try:
            # Not every Python has it.
            import ctypes

            # Unlike that of ctypes, memory that is not written to costs nothing.
            room = mmap.mmap(-1, limit)
            address = (ctypes.c_char * limit).from_buffer(room)
            size = ctypes.CDLL(None, use_errno=True).klogctl(_READ_ALL, address, limit)
        except (ImportError, AttributeError):
            return None
        if size < 0:
            self._remember("/dev/kmsg", OSError(ctypes.get_errno(), "klogctl"))
            return None
        return room[:size].decode("utf-8", "replace")

    def namespace(self, path: str) -> Optional[int]:
        """The inode of the namespace that is mounted on a file, as ip netns does it; None for any other file."""
        try:
            found, own = os.stat(self.path(path)), os.stat(self.path("/proc/self/ns/net"))
        except OSError as error:
            self._remember(path, error)
            return None
        return found.st_ino if found.st_dev == own.st_dev else None

    def inside(self, files: Iterable[str], look: Callable[[], Any], longest: float = LONGEST_LOOK) -> Dict[str, Any]:
        """What ``look`` gives, as JSON has it, inside each of the network namespaces that have these files.

        A child enters them one after the other, so that this process stays where it is. Left out is
        what cannot be entered, which takes CAP_SYS_ADMIN, or was not done in ``longest`` seconds.
        """
        reading, writing = os.pipe()
        try:
            child = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return {}
        if child == 0:
            try:
                os.close(reading)
                for file in files:
                    if _entered(self.path(file)):
                        os.write(writing, json.dumps([file, look()]).encode("ascii") + b"\n")
            finally:
                os._exit(0)
        os.close(writing)
        try:
            lines = _until(reading, time.monotonic() + longest).split(b"\n")[:-1]
        finally:
            os.close(reading)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return dict(json.loads(line.decode("ascii")) for line in lines)

    def enter(self, path: str) -> None:
        """Move this process into the network namespace of a file, for good. Raises OSError, as without CAP_SYS_ADMIN."""
        _enter(self.path(path))

    def netfilter(self) -> "Netfilter":
        """A conversation with netfilter, in the network namespace that this runs in. Raises OSError."""
        # Facts, which every run reads on every host, need none of it.
        from .netfilter import Netfilter

        return Netfilter()

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a file of any length, one after the other, each of them as far as LONGEST_LINE; none where there
        is none to be had."""
        try:
            with open(self.path(path), "rb") as source:
                for line in iter(partial(source.readline, LONGEST_LINE), b""):
                    yield line.decode("utf-8", "replace")
        except OSError as error:
            self._remember(path, error)

    def run(self, argv: List[str], limit: int, longest: float = LONGEST_RUN) -> Optional[str]:
        """The first ``limit`` bytes that a program writes, of more the whole lines. None where it cannot be started, fails, or
        is not done in ``longest`` seconds.

        It is run without a shell, an input or an environment; what it has started ends with it. In a tree nothing
        is run: a file in place of the program, argv[0], has what it would write.
        """
        if self.root != "/":
            found = self._bytes(argv[0], limit + 1)
            return None if found is None else _whole_lines(found, limit)
        deadline = time.monotonic() + longest
        reading, writing = os.pipe()
        try:
            null = subprocess.DEVNULL
            process = subprocess.Popen(
                argv, stdin=null, stdout=writing, stderr=null, cwd="/", env={"LC_ALL": "C"}, start_new_session=True
            )
        except (OSError, ValueError):
            os.close(reading)
            return None
        finally:
            os.close(writing)
        try:
            found = _until(reading, deadline, limit + 1)
        finally:
            os.close(reading)
            _end(process, deadline)
        return _whole_lines(found, limit) if process.returncode == 0 or len(found) > limit else None

    def list(self, path: str) -> List[str]:
        """The sorted names in a directory; none where it is not there."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError as error:
            self._remember(path, error)
            return []

    def processes(self) -> List[int]:
        """The numbers of all processes, in ascending order."""
        return sorted(int(name) for name in self.list("/proc") if name.isdigit())

    def file(self, path: str) -> Optional[File]:
        """Hash, mode and owners of a regular file; None where it is not there."""
        content = self._bytes(path, LONGEST_FILE)
        if content is None:
            return None
        try:
            found = os.stat(self.path(path))
        except OSError as error:
            self._remember(path, error)
            return None
        return File(
            sha256=hashlib.sha256(content).hexdigest(),
            mode="{0:04o}".format(stat.S_IMODE(found.st_mode)),
            owner=_name(pwd.getpwuid, found.st_uid),
            group=_name(grp.getgrgid, found.st_gid),
        )

    def is_executable(self, path: str) -> bool:
        """Whether it is a regular file that somebody may run."""
        try:
            mode = os.stat(self.path(path)).st_mode
        except OSError as error:
            self._remember(path, error)
            return False
        return stat.S_ISREG(mode) and mode & 0o111 != 0

    def writable(self, path: str) -> bool:
        """Whether a write would be let through: mode, read-only mounts and namespaces all count."""
        return os.access(self.path(path), os.W_OK)

    # Writing.

    def write(self, path: str, text: str) -> None:
        """Write ``text`` to a file that is there already, in one write, as sysctl files want it."""
        with open(self.path(path), "r+b", buffering=0) as target:
            target.write(text.encode("ascii"))

    def _bytes(self, path: str, limit: int, from_end: bool = False) -> Optional[bytes]:
        real = self.path(path)
        try:
            # A FIFO or a device in place of a file would block or never end.
            if not stat.S_ISREG(os.stat(real).st_mode):
                return None
            with open(real, "rb") as source:
                if from_end and source.seek(0, os.SEEK_END) > limit:
                    source.seek(-limit - 1, os.SEEK_END)
                    source.readline()
                elif from_end:
                    source.seek(0)
                return source.read(limit)
        except OSError as error:
            self._remember(path, error)
            return None

    def _remember(self, path: str, error: OSError) -> None:
        # A process that has ended meanwhile was not there either.
        absent = (FileNotFoundError, NotADirectoryError, ProcessLookupError)
        if not isinstance(error, absent) and path not in self.unreadable:
            self.unreadable.append(path)


def _entered(path: str) -> bool:
    try:
        _enter(path)
        return True
    except (OSError, ImportError, AttributeError):
        return False


def _enter(path: str) -> None:
    """Move this process into a network namespace."""
    # os.setns came with Python 3.12.
    import ctypes

    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(opened, _CLONE_NEWNET):
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


def _whole_lines(found: bytes, limit: int) -> str:
    """As text; if it is longer than the limit, up to the last end of a line within."""
    if len(found) > limit:
        found = found[: found.rfind(b"\n", 0, limit) + 1]
    return found.decode("utf-8", "replace")


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)
