# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to the machine: nothing else in this collection opens, lists or writes a file, or runs a program there.

Reading never raises: what is not there is None, what may not be read, or is longer than its bound, is None and is remembered
in ``unreadable``. Nothing but regular files is opened, and no open or read waits for another process. Every run is bounded.
How it is written stands in writing.py, which those have who change a machine, and facts do not.

Some of what is read others than root have made. ``exposed`` and ``doubt`` tell of a file and of a process whether it is so;
the time for all of that together has a bound, and what is left out for it is in ``untold``.
"""

import errno
import hashlib
import mmap
import os
import platform
import posixpath
import re
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..values import hexadecimal

if TYPE_CHECKING:
    from .netfilter import Netfilter

# Bytes. The longest file read as text, /proc/stat of a host with a thousand processors, is some 300 KiB.
LONGEST_TEXT = 1024 * 1024
# Bytes. A file of ours is 2 KiB.
LONGEST_FILE = 1024 * 1024
# Seconds. What a look into all other network namespaces may take; 500 take 0.1, or 0.4 on a busy machine.
LONGEST_LOOK = 5.0
# Seconds. What a program may take.
LONGEST_RUN = 3.0
# Processes of root, those of the kernel among them. A host has some hundreds; who starts more with set-user-id programs is asked for.
FEW = 2000
# Seconds. What reading things that are not root's may take in all; 10,000 processes take 0.1.
BUDGET = 10.0

# Bytes. A line of /proc/net/nf_conntrack has some 300.
LONGEST_LINE = 4096

_MONOTONIC_COARSE = 6  # of linux/time.h
# No kernel has more, but what takes itself for one may say anything.
_MOST_TICKS = 10000
_READ_ALL = 3  # SYSLOG_ACTION_READ_ALL of syslog(2); takes nothing away
# As many links as the kernel follows (MAXSYMLINKS).
_MOST_LINKS = 40
# linux/capability.h
_NET_ADMIN, _SYS_ADMIN = 12, 21
_PATH_ONLY = os.O_PATH | os.O_CLOEXEC
# Neither waits for the other end of a FIFO nor for who holds a lease.
_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class File(NamedTuple):
    """What is needed to tell whether a file is as it should be."""

    sha256: str
    mode: str  # four octal digits, "0644"
    owner: str
    group: str


class Host:
    """The machine below ``root``. Whoever hands in the tree of another one vouches for all that is in it."""

    def __init__(self, root: str = "/", budget: float = BUDGET) -> None:
        self.root = root
        self.unreadable: List[str] = []
        self.untold: List[str] = []
        self._budget = budget  # seconds left for what is not root's
        self._by_user: Optional[Tuple[List[int], List[int]]] = None

    def path(self, path: str) -> str:
        """Where something stands; a link itself, not what it leads to."""
        return os.path.join(self.root, path.lstrip("/"))

    def led(self, path: str) -> str:
        """Where a path leads to."""
        return self.path(path)

    # What the process is, rather than what a file says.

    def machine(self) -> str:
        """The kernel's architecture, as ``uname -m``."""
        return platform.machine()

    def page_size(self) -> int:
        """Bytes in a page of memory."""
        return int(os.sysconf("SC_PAGE_SIZE"))

    def ticks(self, release: str) -> Optional[int]:
        """Ticks a second of the kernel (CONFIG_HZ), which the resolution of its coarse clock is; None where it has none."""
        try:
            found = round(1 / time.clock_getres(_MONOTONIC_COARSE))
        except OSError:
            return None
        return found if found <= _MOST_TICKS else None

    def python(self) -> Optional[str]:
        return platform.python_version()

    def is_root(self) -> bool:
        return os.geteuid() == 0

    # Reading.

    def exists(self, path: str) -> bool:
        try:
            os.lstat(self.path(path))
        except (OSError, ValueError):
            return False
        return True

    def read(self, path: str) -> Optional[str]:
        """The text of a file; None where there is none to be had, or more than LONGEST_TEXT bytes of it."""
        content = self._bytes(path, LONGEST_TEXT)
        return None if content is None else content.decode("utf-8", "replace")

    def content(self, path: str, limit: int) -> Optional[bytes]:
        """The bytes of a file that is no text; None where there is none to be had, or more than ``limit`` of them."""
        return self._bytes(path, limit)

    def tail(self, path: str, limit: int) -> Optional[str]:
        """The last ``limit`` bytes of a regular file, begun at the start of a line; None where there is none to be had."""
        content = self._bytes(path, limit, from_end=True)
        return None if content is None else content.decode("utf-8", "replace")

    def link(self, path: str) -> Optional[str]:
        """Where a symbolic link points, as it says so; None for what is none. Those of /proc, as net:[4026531840], too."""
        try:
            return os.readlink(self.path(path))
        except (OSError, ValueError) as error:
            # EINVAL is what everything else gives.
            if getattr(error, "errno", None) != errno.EINVAL:
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
            found, own = os.stat(self.led(path)), os.stat(self.path("/proc/self/ns/net"))
        except (OSError, ValueError) as error:
            self._remember(path, error)
            return None
        return found.st_ino if found.st_dev == own.st_dev else None

    def inside(self, files: Iterable[str], look: Callable[[], Any], longest: float = LONGEST_LOOK) -> Dict[str, Any]:
        """What ``look`` gives, as JSON has it, inside each of the network namespaces that have these files.

        A child enters them one after the other, so that this process stays where it is. Left out is
        what cannot be entered, which takes CAP_SYS_ADMIN, or was not done in ``longest`` seconds.
        """

        # Few hosts have others.
        from .processes import entered, told_by_child

        def look_into_each(tell: Callable[[Any], None]) -> None:
            for file in files:
                if entered(self.path(file)):
                    tell([file, look()])

        try:
            return dict(told_by_child(look_into_each, longest))
        except OSError:
            return {}

    def within(self, path: str, work: Callable[[], Any], longest: float) -> Any:
        """What ``work`` gives, as JSON has it, in the network namespace of a file.

        A child enters it, so that this process stays where it is. Raises OSError where it cannot be entered, as
        without CAP_SYS_ADMIN, or was not done in ``longest`` seconds; RuntimeError where ``work`` raised anything.
        """

        from .processes import within

        return within(self.path(path), path, work, longest)

    def card(self, interface: str) -> Dict[str, int]:
        """What the driver of a network card counts, by the driver's names; nothing where it does not tell. A tree has none."""
        if self.root != "/":
            return {}
        # Few hosts have one that is asked.
        from .nic import counters

        try:
            return counters(interface)
        except OSError as error:
            self._remember("/sys/class/net/" + interface, error)
            return {}

    def netfilter(self) -> "Netfilter":
        """A conversation with netfilter, in the network namespace that this runs in. Raises OSError, as for any tree."""
        if self.root != "/":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        # Facts, which every run reads on every host, need none of it.
        from .netfilter import Netfilter

        return Netfilter()

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a file of any length, one after the other, each of them as far as LONGEST_LINE; none where there
        is none to be had."""
        try:
            opened = self._open(path)
            if opened is not None:
                with os.fdopen(opened, "rb") as source:
                    begun = True
                    for line in iter(partial(source.readline, LONGEST_LINE), b""):
                        # Of a longer one the rest is no line of its own.
                        if begun:
                            yield line.decode("utf-8", "replace")
                        begun = line.endswith(b"\n")
        except (OSError, ValueError) as error:
            self._remember(path, error)

    def chunks(self, path: str, size: int = 65536) -> Iterator[bytes]:
        """The bytes of a file of any length, so many at a time; none where there is none to be had."""
        try:
            opened = self._open(path)
            if opened is not None:
                with os.fdopen(opened, "rb") as source:
                    yield from iter(partial(source.read, size), b"")
        except (OSError, ValueError) as error:
            self._remember(path, error)

    def run(self, argv: List[str], limit: int, longest: float = LONGEST_RUN) -> Optional[str]:
        """The first ``limit`` bytes that a program writes, of more the whole lines. None where it cannot be started, fails, or
        is not done in ``longest`` seconds.

        It is run without a shell, an input or an environment; what it has started ends with it. In a tree nothing
        is run: a file in place of the program, argv[0], has what it would write.
        """
        if self.root != "/":
            found = self._bytes(argv[0], limit + 1, whole=False)
            return None if found is None else _whole_lines(found, limit)
        from .processes import run

        found = run(argv, limit + 1, longest)
        return None if found is None else _whole_lines(found, limit)

    def list(self, path: str) -> List[str]:
        """The sorted names in a directory; none where it is not there."""
        try:
            return sorted(os.listdir(self.led(path)))
        except (OSError, ValueError) as error:
            self._remember(path, error)
            return []

    def processes(self) -> List[int]:
        """The numbers of all processes, in ascending order."""
        return sorted(int(name) for name in self.list("/proc") if re.fullmatch("[0-9]{1,10}", name))

    def file(self, path: str) -> Optional[File]:
        """Hash, mode and owners of a regular file; None where it is not there, or is longer than LONGEST_FILE."""
        content = self._bytes(path, LONGEST_FILE)
        if content is None:
            return None
        try:
            found = os.stat(self.led(path))
        except OSError as error:
            self._remember(path, error)
            return None
        return File(
            sha256=hashlib.sha256(content).hexdigest(),
            mode="{0:04o}".format(stat.S_IMODE(found.st_mode)),
            owner=_name(found.st_uid),
            group=_name(found.st_gid),
        )

    def is_executable(self, path: str) -> bool:
        """Whether it is a regular file that somebody may run."""
        try:
            mode = os.stat(self.led(path)).st_mode
        except (OSError, ValueError) as error:
            self._remember(path, error)
            return False
        return stat.S_ISREG(mode) and mode & 0o111 != 0

    def writable(self, path: str) -> bool:
        """Whether a write would be let through: mode, read-only mounts and namespaces all count."""
        try:
            return os.access(self.led(path), os.W_OK)
        except ValueError:
            return False

    def is_locked(self, path: str) -> bool:
        """Whether a process holds the lock of a file, as the kernel lists locks."""
        try:
            found = os.lstat(self.path(path))
        except (OSError, ValueError):
            return False
        place = "{0:02x}:{1:02x}:{2}".format(os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
        return any(place in line.split() for line in (self.read("/proc/locks") or "").split("\n"))

    # Whose it is.

    def mode(self, path: str) -> Optional[os.stat_result]:
        """Mode and owner of what a path leads to; None where there is nothing."""
        try:
            return os.stat(self.led(path))
        except (OSError, ValueError):
            return None

    def exposed(self, path: str) -> Optional[str]:
        """Who else than root can change what a path leads to, its folders and those of links among them, in words; None where
        nobody can, or nothing is there."""
        return self.resolved(path)[1]

    def resolved(self, path: str, root: str = "/") -> Tuple[str, Optional[str]]:
        """Where a path leads to, links followed as a process does whose root is ``root``; and the first on the way that
        others than root can change, in words. From there on nothing is looked at."""
        if self.root != "/":
            return posixpath.join(root, path.lstrip("/")), None
        at, links = root, 0
        pending = path.split("/")[::-1] + ["."]
        while pending:
            name = pending.pop()
            if name == "..":
                at = at if at == root else posixpath.dirname(at)
                continue
            here = posixpath.join(at, name) if name not in ("", ".") else at
            try:
                # What the root of a process is, is a link of a kind that has no path.
                found = os.stat(here) if here == root else os.lstat(here)
                target = os.readlink(here) if stat.S_ISLNK(found.st_mode) else None
            except (OSError, ValueError):
                return posixpath.join(here, *pending[::-1]), None
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    return posixpath.join(here, *pending[::-1]), None
                at = root if target.startswith("/") else at
                pending += target.split("/")[::-1]
                continue
            at = here
            why = _writers(found, here)
            if why:
                return posixpath.join(here, *pending[::-1]), why
        return at, None

    def user(self, process: int) -> Optional[int]:
        """Whose a process is, by number: its effective user, or where that is root its real one; None where it has ended. In a
        tree all are root's."""
        user = self._effective(process)
        if user != 0 or self.root != "/":
            return user
        found = re.search(r"^Uid:\t([0-9]{1,10})\t", self.read("/proc/{0}/status".format(process)) or "", re.M)
        return int(found.group(1)) if found else None

    def _effective(self, process: int) -> Optional[int]:
        try:
            found = os.stat(self.path("/proc/{0}".format(process)))
        except OSError:
            return None
        return found.st_uid if self.root == "/" else 0

    def by_user(self) -> Tuple[List[int], List[int]]:
        """The numbers of all processes, those of root apart from those of others; of very many that seem root's, those that only
        run a set-user-id program are among the others."""
        if self._by_user is None:
            users = {process: self._effective(process) for process in self.processes()}
            if sum(user == 0 for user in users.values()) > FEW:
                users = {process: self.user(process) if user == 0 else user for process, user in users.items()}
            roots = [process for process, user in users.items() if user == 0]
            self._by_user = roots, [process for process, user in users.items() if user]
        return self._by_user

    def doubt(self, process: int) -> Optional[str]:
        """Why a process speaks for somebody else than root of this host, in words; None where it does for root."""
        if self.root != "/":
            return None
        proc = "/proc/{0}".format(process)
        said = dict(line.partition(":")[::2] for line in (self.read(proc + "/status") or "").split("\n"))
        users = said.get("Uid", "").split()
        if users[:2] != ["0", "0"]:
            return "its real and effective users are {0}".format(" and ".join(users[:2])) if users else "it has ended"
        for kind, word in (("user", "user"), ("net", "network")):
            own, its = self.link("/proc/self/ns/" + kind), self.link("{0}/ns/{1}".format(proc, kind))
            if own is not None and its is None:
                return "only root can see in which {0} namespace it is".format(word)
            if own != its:
                return "it is in another {0} namespace".format(word)
        able = hexadecimal(said.get("CapEff", "").strip()) or 0
        for capability, name in ((_SYS_ADMIN, "CAP_SYS_ADMIN"), (_NET_ADMIN, "CAP_NET_ADMIN")):
            if not able >> capability & 1:
                return "it lacks " + name
        program = self.mode(proc + "/exe")
        # While it asks for a password, sudo is wholly root's, under the name and with the arguments that its caller chose.
        if program is None or program.st_mode & (stat.S_ISUID | stat.S_ISGID):
            return "its program is set-user-id: who runs it chose its name and arguments"
        return None

    def unhurried(self, things: Sequence[Any], left_out: str) -> Iterator[Any]:
        """Things that are not root's, one after the other as long as there is time for such; of those that are left out the
        number, {0}, is told by that text."""
        for place, thing in enumerate(things):
            if self._budget <= 0:
                self.untold.append(left_out.format(len(things) - place))
                return
            begun = time.monotonic()
            try:
                yield thing
            finally:
                self._budget -= time.monotonic() - begun

    def _open(self, path: str) -> Optional[int]:
        """A regular file, opened; None for anything else. Raises OSError.

        What it is is asked before it is opened, of the very same: to open a device may do something, and a link may be
        turned elsewhere meanwhile.
        """
        found = os.open(self.led(path), _PATH_ONLY)
        try:
            said = os.fstat(found)
            if not stat.S_ISREG(said.st_mode):
                return None
            try:
                return os.open("/proc/self/fd/{0}".format(found), _TO_READ)
            except FileNotFoundError:
                pass
            # There is no /proc, as in a chroot that is being made.
            opened = os.open(self.led(path), _TO_READ | os.O_NOFOLLOW)
            if not os.path.samestat(os.fstat(opened), said):
                os.close(opened)
                return None
            return opened
        finally:
            os.close(found)

    def _bytes(self, path: str, limit: int, from_end: bool = False, whole: bool = True) -> Optional[bytes]:
        """All of a file, or unless it has to be whole as much; from its end, so much at most, begun at the start of a line."""
        try:
            opened = self._open(path)
            if opened is None:
                return None
            try:
                more = os.fstat(opened).st_size - limit
                if from_end and more > 0:
                    os.lseek(opened, more - 1, os.SEEK_SET)
                content = _content(opened, limit + 1)
            finally:
                os.close(opened)
        except (OSError, ValueError) as error:
            self._remember(path, error)
            return None
        if from_end:
            return content.partition(b"\n")[2] if more > 0 else content[:limit]
        if len(content) > limit and whole:
            self._remember(path, OSError(errno.EFBIG, os.strerror(errno.EFBIG)))
            return None
        return content[:limit]

    def _remember(self, path: str, error: Exception) -> None:
        # A process that has ended meanwhile was not there either, and nothing has a name with a NUL.
        absent = (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError)
        if not isinstance(error, absent) and path not in self.unreadable:
            self.unreadable.append(path)


def _whole_lines(found: bytes, limit: int) -> str:
    """As text; if it is longer than the limit, up to the last end of a line within."""
    if len(found) > limit:
        found = found[: found.rfind(b"\n", 0, limit) + 1]
    return found.decode("utf-8", "replace")


def _content(opened: int, most: int) -> bytes:
    """What can be read, so many bytes at most."""
    found: List[bytes] = []
    while most > 0:
        more = os.read(opened, min(most, 65536))
        if not more:
            break
        found.append(more)
        most -= len(more)
    return b"".join(found)


def _writers(found: os.stat_result, path: str) -> Optional[str]:
    """Who else than root may write it; for a folder, make and move what is in it."""
    if found.st_uid != 0:
        return "{0} belongs to user {1}".format(path, found.st_uid)
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write {0}".format(path)
    if found.st_mode & stat.S_IWGRP and (found.st_gid != 0 or _has_list(path)):
        return "group {0} may write {1}".format(found.st_gid, path)
    return None


def _has_list(path: str) -> bool:
    """Whether there is a list of access, of which the group's bits are the most that it gives to anybody."""
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False


def _name(number: int) -> str:
    """Of a user or a group. Others than root's are numbers: to ask for their names may ask a server far away."""
    return str(number) if number else "root"
