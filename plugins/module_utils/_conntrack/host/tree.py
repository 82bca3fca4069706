# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that does not run here: the tree of an image, a chroot or a backup, or a sosreport.

All is read from there. Nothing is run, nothing of the machine that reads it is mixed in, and links lead nowhere out of it. Whoever
names it vouches for all that is in it; what cannot be known from it is told in ``untold``.
"""

import errno
import os
import posixpath
import re
import struct
import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional

from ..values import natural
from .door import BUDGET, LONGEST_FILE, LONGEST_LOOK, LONGEST_RUN, LONGEST_TEXT, Host

# As many links as the kernel follows (MAXSYMLINKS).
_MOST_LINKS = 40
# Where distributions put the configuration of a kernel, by its release.
_CONFIGS = ("/boot/config-{0}", "/lib/modules/{0}/config")
# What of a machine that runs may be mounted into a tree.
_OF_MACHINES = ("/proc", "/sys")
# Programs that every system has one of, and the names of uname -m for e_machine of elf(5), of 64 bits and of 32.
_PROGRAMS = ("/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/lib/systemd/systemd", "/bin/busybox")
_MACHINES = {
    (3, 1): "i686",
    (40, 1): "armv7l",
    (62, 2): "x86_64",
    (183, 2): "aarch64",
    (21, 2): "ppc64",
    (22, 2): "s390x",
    (243, 2): "riscv64",
}
# The same, by how distributions end the release of a kernel.
_RELEASES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "i686": "i686",
    "s390x": "s390x",
}
_RELEASES.update({"ppc64le": "ppc64", "riscv64": "riscv64", "armmp": "armv7l", "pve": "x86_64"})
# Those whose kernels have pages of one size, 4096 bytes.
_PLAIN = ("i686", "armv7l", "x86_64", "s390x", "riscv64")


class Tree(Host):
    """The machine whose files lie below ``root``."""

    def __init__(self, root: str, budget: float = BUDGET) -> None:
        super().__init__(root, budget)
        self._hidden = tuple(folder for folder in _OF_MACHINES if os.path.ismount(os.path.join(root, folder[1:])))
        self._fill()
        self._machine = self._of_kernel() or self._of_programs()
        self.untold += self._lacks()

    def path(self, path: str) -> str:
        folder, name = posixpath.split(path.rstrip("/") or "/")
        return posixpath.join(self._inside(folder), name)

    def led(self, path: str) -> str:
        return self._inside(path)

    def _inside(self, path: str) -> str:
        """Where a path leads to for one whose root the tree is. Raises OSError."""
        at: List[str] = []
        pending, links = path.split("/")[::-1], 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = at[:-1]
                continue
            target = self._target(posixpath.join(self.root, *at, name))
            if target is None:
                at.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            at = [] if target.startswith("/") else at
            pending += target.split("/")[::-1]
        if "/" + "/".join(at[:1]) in self._hidden:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return posixpath.join(self.root, *at)

    @staticmethod
    def _target(at: str) -> Optional[str]:
        try:
            return os.readlink(at)
        except (OSError, ValueError):
            return None

    # What the process is, for the machine of the tree.

    def machine(self) -> str:
        return self._machine or "x86_64"

    def page_size(self) -> int:
        return 4096

    def ticks(self, release: str) -> Optional[int]:
        """As the kernel's configuration has them."""
        texts = (self.read(path.format(release)) for path in _CONFIGS)
        found = re.search(r"^CONFIG_HZ=([0-9]{2,4})$", next(filter(None, texts), "") or self._packed(), re.M)
        return int(found.group(1)) if found else None

    def _packed(self) -> str:
        try:
            text = zlib.decompressobj(31).decompress(self.content("/proc/config.gz", LONGEST_FILE) or b"", LONGEST_TEXT)
        except zlib.error:
            return ""
        return text.decode("utf-8", "replace")

    def python(self) -> Optional[str]:
        return None

    def is_root(self) -> bool:
        """Who may change it is asked where it is changed."""
        return True

    def writable(self, path: str) -> bool:
        return self.exists(path)

    # Nothing is run.

    def run(self, argv: List[str], limit: int, longest: float = LONGEST_RUN) -> Optional[str]:
        return None

    def kernel_log(self, limit: int) -> Optional[str]:
        return None

    def namespace(self, path: str) -> Optional[int]:
        return None

    def inside(self, files: Iterable[str], look: Callable[[], Any], longest: float = LONGEST_LOOK) -> Dict[str, Any]:
        return {}

    def _fill(self) -> None:
        """Read what stands in for files, before they are asked for."""

    def _of_kernel(self) -> Optional[str]:
        """The architecture in the name of the kernel that runs, or is there to."""
        names = [self.read("/proc/sys/kernel/osrelease") or ""] + self.list("/lib/modules")
        ends = [re.split("[-._]", name.strip().replace("x86_64", "amd64"))[-1] for name in names if name]
        return next((_RELEASES[end] for end in ends if end in _RELEASES), None)

    def _of_programs(self) -> Optional[str]:
        """The architecture of the first program that is there."""
        for path in _PROGRAMS:
            head = (self._bytes(path, 20, whole=False) or b"")[:20]
            if len(head) == 20 and head.startswith(b"\x7fELF"):
                order = ">" if head[5] == 2 else "<"
                return _MACHINES.get((struct.unpack(order + "H", head[18:20])[0], head[4]))
        return None

    def _lacks(self) -> Iterable[str]:
        """What cannot be known from this tree."""
        for folder in self._hidden:
            yield "{0}: it is of the machine that reads the tree".format(folder)
        if self._machine is None:
            yield "the architecture: neither a kernel nor a program of the tree tells it, and x86_64 is taken"
        elif self._machine not in _PLAIN:
            yield "the size of a page: kernels for {0} have several, and 4096 bytes are taken".format(self._machine)
        if not self.exists("/proc/sys/kernel/osrelease"):
            yield "which kernel will run: the newest in /lib/modules is taken"
        if not self.exists("/proc/sys/net"):
            yield "the values in force: the tree has no /proc/sys/net"
        if not self.exists("/proc/meminfo"):
            yield "memory: the tree has no /proc/meminfo"
        if not self.processes():
            yield "what runs there, as kube-proxy may: the tree has no processes"


class Report(Tree):
    """A sosreport: what commands have written there stands in for the files they tell of."""

    _COMMANDS = "/sos_commands"
    # sysctl -a, as sos has called its output in the course of time.
    _SYSCTL = ("/kernel/sysctl_-a", "/kernel/sysctl_-a_-N", "/kernel/sysctl")
    _LSMOD = "/kernel/lsmod"
    _DMESG = "/kernel/dmesg"
    # ethtool -i and -S, of an interface each.
    _DRIVER, _COUNTERS = "/networking/ethtool_-i_", "/networking/ethtool_-S_"

    def __init__(self, root: str, budget: float = BUDGET) -> None:
        self._texts: Dict[str, str] = {}
        self._folders: Dict[str, List[str]] = {}
        super().__init__(root, budget)

    def _command(self, *names: str) -> str:
        """The text of the first of them that is there."""
        texts = (super(Report, self).read(self._COMMANDS + name) for name in names)
        return next((text for text in texts if text), "")

    def _fill(self) -> None:
        for line in self._command(*self._SYSCTL).split("\n"):
            key, sep, value = line.partition("=")
            if sep:
                self._put("/proc/sys/" + key.strip().replace(".", "/"), value.strip())
        modules = [line for line in self._command(self._LSMOD).split("\n") if not line.startswith("Module ")]
        if any(modules):
            self._put("/proc/modules", "\n".join(modules))
        if super().exists(self._COMMANDS + "/systemd"):
            # No file of a program is in a report.
            self._put("/usr/lib/systemd/systemd-sysctl", "")
        self._put_cards()

    def _put_cards(self) -> None:
        """The drivers of network cards, as sysfs has them."""
        folder, _slash, start = self._DRIVER.rpartition("/")
        for name in super().list(self._COMMANDS + folder):
            if name.startswith(start):
                said = self._table(self._COMMANDS + folder + "/" + name)
                driver, device = said.get("driver", ""), said.get("bus-info", "")
                if re.fullmatch("[a-z0-9_]+", driver) and re.fullmatch("[0-9a-f:.]+", device):
                    self._put("/sys/bus/pci/drivers/{0}/{1}/net/{2}".format(driver, device, name[len(start) :]), "")

    def _table(self, path: str) -> Dict[str, str]:
        """The lines "name: value" of a file."""
        pairs = (line.partition(":") for line in (super().read(path) or "").split("\n"))
        return {name.strip(): value.strip() for name, sep, value in pairs if sep}

    def card(self, interface: str) -> Dict[str, int]:
        said = self._table(self._COMMANDS + self._COUNTERS + interface)
        numbers = ((name, natural(value)) for name, value in said.items())
        return {name: number for name, number in numbers if number is not None}

    def _put(self, path: str, text: str) -> None:
        self._texts[path] = text + "\n"
        while path != "/":
            path, name = posixpath.split(path)
            names = self._folders.setdefault(path, [])
            if name in names:
                break
            names.append(name)

    def exists(self, path: str) -> bool:
        return path in self._texts or path in self._folders or super().exists(path)

    def read(self, path: str) -> Optional[str]:
        return self._texts[path] if path in self._texts else super().read(path)

    def list(self, path: str) -> List[str]:
        return sorted({*self._folders.get(path, ()), *super().list(path)})

    def kernel_log(self, limit: int) -> Optional[str]:
        """Its lines without their level, as dmesg has them; that of the kernel's warnings is put before them."""
        text = self._command(self._DMESG)
        return re.sub(r"^(?=\[)", "<4>", text, flags=re.M)[-limit:] if text else None


def opened(root: str, budget: float = BUDGET) -> Tree:
    """The host in a folder. Raises OSError where there is none."""
    if not os.path.isdir(root):
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", root)
    kind = Report if os.path.isdir(os.path.join(root, "sos_commands")) else Tree
    return kind(os.path.realpath(root), budget)
