# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to the machine: nothing else in this collection opens, lists or writes a file.

Reading never raises: what is not there is None, what may not be read is None and is remembered in
``unreadable``. Every read is bounded. Writing raises OSError, because a write that fails matters.
"""

import errno
import grp
import hashlib
import os
import platform
import pwd
import stat
from typing import Any, List, NamedTuple, Optional

# Bytes. The longest file read as text, /proc/slabinfo or a firewall's configuration, is some 30 KiB.
LONGEST_TEXT = 256 * 1024
# Bytes. A file of ours is 2 KiB; one of another's in its place is compared up to here.
LONGEST_FILE = 1024 * 1024


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

    def list(self, path: str) -> List[str]:
        """The sorted names in a directory; none where it is not there."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError as error:
            self._remember(path, error)
            return []

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


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)
