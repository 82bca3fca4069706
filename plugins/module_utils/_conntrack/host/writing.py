# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of the door that changes the machine: files written whole, folders, the lock, a line to the log, work that outlives its
caller. Links are never followed. Everything here raises OSError, because what fails matters."""

import contextlib
import errno
import fcntl
import json
import os
import posixpath
import signal
import socket
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

from .door import Host

# Bytes. The longest file that is replaced: a crontab or a sysctl.conf of somebody else's has some KiB.
LONGEST_KEPT = 16 * 1024 * 1024
# Seconds. What a program may take that changes the machine.
LONGEST_COMMAND = 120.0
# Bytes of what it says.
_LONGEST_SAID = 65536
# Programs of others, as modprobe's install lines, call by name what they need.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds between two looks whether a lock is free.
_PAUSE = 0.05
# Made by the kernel of what a file says, and not to be written by others.
_SIGNATURES = ("security.ima", "security.evm")
_LIST = "system.posix_acl_access"
# authpriv, notice: RFC 5424.
_PRIORITY = 10 * 8 + 5
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Kept(NamedTuple):
    """What stands at a path, so that it can be made again."""

    kind: str  # none, file, link, or other, which cannot be made again: a folder, a device and the like
    content: bytes = b""  # of a file
    target: str = ""  # of a link
    mode: int = 0
    uid: int = 0
    gid: int = 0
    attributes: Dict[str, bytes] = {}  # the extended ones, lists of access among them


class Busy(Exception):
    """Somebody else holds the lock; the text says who."""


class WritableHost(Host):
    """The machine below ``root``, for those who change it."""

    def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Every call that changes the machine goes through here."""
        return call(*arguments)

    def now(self) -> str:
        """The time, ISO 8601, UTC."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def owner(self) -> Tuple[int, int]:
        """Whose what is made here is, user and group: root's; in a tree, of whoever has laid it out."""
        return (0, 0) if self.root == "/" else (os.geteuid(), os.getegid())

    def kept(self, path: str) -> Kept:
        """What stands at a path now, whole."""
        at = self.path(path)
        try:
            found = os.lstat(at)
        except (FileNotFoundError, NotADirectoryError):
            return Kept("none")
        mode, uid, gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
        if stat.S_ISLNK(found.st_mode):
            return Kept("link", b"", os.readlink(at), mode, uid, gid)
        if not stat.S_ISREG(found.st_mode):
            return Kept("other", b"", "", mode, uid, gid)
        if found.st_size > LONGEST_KEPT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        opened = os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as source:
            if not os.path.samestat(os.fstat(opened), found):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
            return Kept("file", source.read(LONGEST_KEPT), "", mode, uid, gid, _attributes(opened))

    def put(self, path: str, wanted: Kept) -> None:
        """Make what stands at a path so, in one step: what was there stays until it is whole."""
        at, aside = self.path(path), self.path(self.aside(path))
        self.discard(path)
        if wanted.kind == "none":
            with contextlib.suppress(FileNotFoundError):
                self.do(os.unlink, at)
        else:
            try:
                if wanted.kind == "link":
                    self.do(os.symlink, wanted.target, aside)
                    self._give(aside, os.lstat(aside), wanted, os.lchown)
                else:
                    self._write_new(aside, wanted)
                self.do(os.rename, aside, at)
            except BaseException:
                with contextlib.suppress(OSError):
                    self.discard(path)
                raise
        self._sync(posixpath.dirname(path))

    def aside(self, path: str) -> str:
        """Where a file is written before it takes its place: no program reads a name like that."""
        folder, name = posixpath.split(path)
        return posixpath.join(folder, ".{0}.headroom".format(name))

    def discard(self, path: str) -> None:
        """Take away what a write that ended half-way has left beside a path."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(self.path(self.aside(path)))
            self.do(os.unlink, self.path(self.aside(path)))

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        at = self.path(path)
        self.do(os.mkdir, at, mode)
        self._give(at, os.lstat(at), Kept("other", uid=self.owner()[0], gid=self.owner()[1]), os.lchown)
        if stat.S_IMODE(os.lstat(at).st_mode) != mode:
            self.do(os.chmod, at, mode)
        self._sync(posixpath.dirname(path))

    def remove_folder(self, path: str) -> None:
        """One that is empty."""
        self.do(os.rmdir, self.path(path))
        self._sync(posixpath.dirname(path))

    def write(self, path: str, text: str) -> None:
        """Write ``text`` to a file that is there already, in one write, as sysctl files want it."""
        self.do(self._write_there, self.path(path), text)

    @staticmethod
    def _write_there(at: str, text: str) -> None:
        with open(at, "r+b", buffering=0) as target:
            target.write(text.encode("ascii"))

    @contextlib.contextmanager
    def lock(self, path: str, seconds: float, who: str) -> Iterator[None]:
        """Hold the lock of a file, in which stands who has it; wait so long for it. Raises Busy.

        It ends with the process, however that ends. The file is nobody's but its owner's to open, and so to hold.
        """
        until = time.monotonic() + seconds
        while True:
            opened = self.do(os.open, self.path(path), _LOCK_FILE, 0o600)
            try:
                found = os.fstat(opened)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != self.owner()[0] or found.st_mode & 0o077:
                    raise OSError(errno.EEXIST, "what is there is no file of root's with mode 0600; take it away", path)
                self._wait_for(opened, until)
                with contextlib.suppress(FileNotFoundError):
                    # Whoever takes the file away makes room for another one of that name.
                    if os.path.samestat(found, os.lstat(self.path(path))):
                        os.ftruncate(opened, 0)
                        os.write(opened, who.encode("utf-8", "replace"))
                        yield
                        return
            finally:
                os.close(opened)

    def _wait_for(self, opened: int, until: float) -> None:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() >= until:
                raise Busy(os.pread(opened, 400, 0).decode("utf-8", "replace"))
            time.sleep(_PAUSE)

    def apart(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives, as JSON has it. It is done to its end by a child in a session of its own: whoever hangs up, or
        ends this process, does not end it. Raises RuntimeError where it raised anything."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                os.setsid()
                try:
                    told = {"found": work()}
                except Exception:
                    import traceback

                    told = {"failed": traceback.format_exc()}
                with os.fdopen(writing, "w") as answer:
                    json.dump(told, answer)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        told = json.loads(text) if text else {"failed": "the process that made the change ended without an answer"}
        if "failed" in told:
            raise RuntimeError(told["failed"])
        return told["found"]

    def command(self, argv: List[str], longest: float = LONGEST_COMMAND) -> str:
        """Run a program that changes the machine; what it says. Where it fails, OSError has that. In a tree nothing is run, as in
        ``run``."""
        return str(self.do(self._command, argv, longest))

    def _command(self, argv: List[str], longest: float) -> str:
        if self.root != "/":
            found = self.run(argv, _LONGEST_SAID)
            if found is None:
                raise OSError(errno.ENOENT, "{0}: {1}".format(" ".join(argv), os.strerror(errno.ENOENT)))
            return found
        from .processes import TOGETHER, ran

        said, code = ran(argv, _LONGEST_SAID, longest, TOGETHER, _PATH)
        text = said.decode("utf-8", "replace").strip()
        if code != 0:
            why = "no end in {0:.0f} s".format(longest) if code is None or code < 0 else "exit code {0}".format(code)
            raise OSError(errno.ECHILD, "{0}: {1}: {2}".format(" ".join(argv), why, text))
        return text

    def start(self, argv: List[str]) -> None:
        """Start a program that outlives this process."""
        from .processes import start

        self.do(start, argv)

    def log(self, line: str) -> None:
        """A line to the host's log, where there is one."""
        text = "<{0}>{1} headroom.netfilter[{2}]: {3}".format(
            _PRIORITY, time.strftime("%b %e %H:%M:%S"), os.getpid(), line
        )
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            # A log that is full keeps nobody waiting.
            log.setblocking(False)
            log.sendto(text.encode("utf-8", "replace"), self.path("/dev/log"))

    def _write_new(self, at: str, wanted: Kept) -> None:
        opened = self.do(os.open, at, _NEW_FILE, 0o600)
        try:
            left = wanted.content
            while left:
                left = left[self.do(os.write, opened, left) :]
            self._give(opened, os.fstat(opened), wanted, os.fchown)
            there = _attributes(opened)
            if _LIST in there and _LIST not in wanted.attributes:
                # Of the folder's default list.
                self.do(os.removexattr, opened, _LIST)
            for name, value in wanted.attributes.items():
                if there.get(name) != value:
                    self._set_attribute(opened, name, value)
            # After the owner, whose change takes bits away.
            self.do(os.fchmod, opened, wanted.mode)
            self.do(os.fsync, opened)
        finally:
            os.close(opened)

    def _set_attribute(self, opened: int, name: str, value: bytes) -> None:
        try:
            self.do(os.setxattr, opened, name, value)
        except OSError as error:
            # What a namespace of users or a policy forbids keeps no content back; a list of access is part of the mode.
            if name == _LIST or error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP):
                raise

    def _give(self, at: Any, found: os.stat_result, wanted: Kept, chown: Callable[..., Any]) -> None:
        if (found.st_uid, found.st_gid) != (wanted.uid, wanted.gid):
            self.do(chown, at, wanted.uid, wanted.gid)

    def _sync(self, folder: str) -> None:
        """Make what was renamed, made or taken away in a folder outlast a power cut."""
        opened = os.open(self.path(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.do(os.fsync, opened)
        except OSError as error:
            # Not every file system can.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(opened)


def _attributes(opened: int) -> Dict[str, bytes]:
    """The extended attributes of a file; none where the file system has none."""
    try:
        names = os.listxattr(opened)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise
    return {name: os.getxattr(opened, name) for name in names if name not in _SIGNATURES}
