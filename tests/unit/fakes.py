# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Hosts to be changed: a kernel in memory, which rounds, refuses and clamps as told, and looks at each state it goes through; and
a golden host whose tree is changed like a machine, and which fails or ends at any call that changes it."""

import errno
import os
import shutil
import signal
import tempfile
import weakref

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.writing import WritableHost
from ansible_collections.headroom.netfilter.tests.unit.golden import GoldenHost

SYSCTL = "/proc/sys/net/netfilter/nf_conntrack_"
COUNT, MAX, BUCKETS = SYSCTL + "count", SYSCTL + "max", SYSCTL + "buckets"
EXPECT_MAX = SYSCTL + "expect_max"
HASHSIZE = "/sys/module/nf_conntrack/parameters/hashsize"

MAX_KEY = "net.netfilter.nf_conntrack_max"
EXPECT_MAX_KEY = "net.netfilter.nf_conntrack_expect_max"
ESTABLISHED_KEY = "net.netfilter.nf_conntrack_tcp_timeout_established"
ESTABLISHED = SYSCTL + "tcp_timeout_established"
UDP = SYSCTL + "udp_timeout"

# Seconds, by file: some that every profile sets, and one that none does.
TIMEOUTS = {
    ESTABLISHED: 432000,
    SYSCTL + "tcp_timeout_close_wait": 60,
    SYSCTL + "tcp_timeout_time_wait": 120,
    UDP: 30,
    SYSCTL + "udp_timeout_stream": 120,
    SYSCTL + "icmp_timeout": 30,
    SYSCTL + "generic_timeout": 600,
    SYSCTL + "gre_timeout": 30,
}


class FakeKernel(WritableHost):
    """A host of this one kernel: sysctl files hold numbers, the others text. What else is written goes to a folder of its own."""

    def __init__(
        self,
        limit=65536,
        buckets=65536,
        count=1000,
        expect_max=1024,
        timeouts=None,
        module=True,
        first_netns=True,
        root=True,
    ):
        super().__init__(tempfile.mkdtemp(prefix="kernel-"))
        self.clean = weakref.finalize(self, shutil.rmtree, self.root, True)
        for folder in ("run", "var/lib"):
            os.makedirs(os.path.join(self.root, folder))
        self.machine_name, self.page, self.root_user = "x86_64", 4096, root
        self.values = {MAX: limit, BUCKETS: buckets, HASHSIZE: buckets, COUNT: count}
        if expect_max is not None:
            self.values[EXPECT_MAX] = expect_max
        self.values.update(TIMEOUTS if timeouts is None else timeouts)
        self.texts = {
            "/proc/sys/kernel/osrelease": "6.1.0-37-amd64\n",
            "/proc/meminfo": "MemTotal:        2097152 kB\nMemAvailable:    1500000 kB\n",
            "/sys/devices/system/cpu/online": "0-1\n",
            "/proc/modules": "nf_conntrack 180224 1 nft_ct, Live 0x0\n" if module else "",
            "/sys/module/nf_conntrack": "",
        }
        if first_netns:
            self.texts["/proc/sys/net/core/netdev_max_backlog"] = "1000\n"
        self.locked = {COUNT} if first_netns else {COUNT, MAX, BUCKETS, EXPECT_MAX, HASHSIZE}
        self.errors = {}  # path: errno of each write to it
        self.clamps = {}  # path: what the kernel makes of any value written to it
        self.fails_at = ()  # which writes fail, 1 for the first
        self.attempts = []  # paths
        self.written = []  # (path, value)
        self.ratios = [self.ratio()]
        self._least = min(count, limit)

    # What it is.

    def machine(self):
        return self.machine_name

    def page_size(self):
        return self.page

    def python(self):
        return "3.11.2"

    def is_root(self):
        return self.root_user

    def apart(self, work):
        return work()

    def ratio(self):
        """Entries to a bucket of a full table."""
        return self.values[MAX] / self.values[HASHSIZE]

    # Reading.

    def exists(self, path):
        return path in self.values or path in self.texts or super().exists(path)

    def read(self, path):
        if path == HASHSIZE and not self.root_user:
            self.unreadable.append(path)
            return None
        if path in self.values:
            return f"{self.values[path]}\n"
        return self.texts[path] if path in self.texts else super().read(path)

    def list(self, path):
        return sorted(os.path.basename(file) for file in self.values if os.path.dirname(file) == path) or super().list(
            path
        )

    def writable(self, path):
        return self.root_user and path in self.values and path not in self.locked

    # Writing.

    def write(self, path, text):
        self.attempts.append(path)
        if not self.writable(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if len(self.attempts) in self.fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if path in self.errors:
            raise OSError(self.errors[path], os.strerror(self.errors[path]))
        value = self.clamps.get(path, int(text))
        self.written.append((path, value))
        if path in (HASHSIZE, BUCKETS):
            self.values[HASHSIZE] = self.values[BUCKETS] = self._whole_pages(value)
        else:
            self.values[path] = value
        self._look()

    def _whole_pages(self, buckets):
        """Counted up rather than computed, so that the rule is not tested against itself."""
        of_a_page = self.page // (4 if self.machine_name == "armv7l" else 8)
        while buckets % of_a_page:
            buckets += 1
        return buckets

    def _look(self):
        """No state, however short, may have a limit below the flows in use."""
        assert self.values[MAX] == 0 or self.values[MAX] >= self._least, "the limit went below the flows in use"
        self.ratios.append(self.ratio())

    def chains_stayed_short(self):
        """On the way, a full table's chains were never longer than at both of its ends."""
        return max(self.ratios) <= max(self.ratios[0], self.ratios[-1])


class ChangedHost(GoldenHost):
    """A golden host that is changed. ``calls`` are all that changed it; at the ``nth`` of them, 1 for the first, it fails with an
    errno, ``for_good`` at all that follow as well, or the process ends before it."""

    def __init__(self, name, root, nth=0, number=None, for_good=False):
        super().__init__(name, root)
        self.nth, self.number, self.for_good = nth, number, for_good
        self.calls = []
        self.ran = []
        self.count = 0

    def do(self, call, *arguments):
        self.count += 1
        self.calls.append("{0} {1}".format(call.__name__, arguments[0]))
        if self.nth and (self.count == self.nth or (self.for_good and self.count > self.nth)):
            if self.number is None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(self.number, os.strerror(self.number))
        return call(*arguments)

    def apart(self, work):
        return work()

    def write(self, path, text):
        self.do(self._as_kernel, path, int(text))

    def _as_kernel(self, path, value):
        if path in (HASHSIZE, BUCKETS):
            value = -(-value // 512) * 512
            paths = [HASHSIZE, BUCKETS]
        else:
            paths = [path]
        for one in paths:
            with open(self.path(one), "w", encoding="ascii") as target:
                target.write(f"{value}\n")

    def run(self, argv, limit, longest=3.0):
        self.ran.append(argv)
        return super().run(argv, limit, longest)

    def value(self, path):
        return int(self.read(path))


class Watching(ChangedHost):
    """One with systemd, whose timers are files of the tree, so that they outlast a process; and with a program that turns a thing
    on and off."""

    SYSTEMCTL, TURN, THING = "/usr/bin/systemctl", "/usr/sbin/turn", "/run/thing"
    UNITS, TIMERS = "/etc/systemd/system/", "/run/timers/"

    def is_executable(self, path):
        return path == self.SYSTEMCTL or super().is_executable(path)

    def start(self, argv):
        self.do(self._start, argv)

    def _start(self, argv):
        self.ran.append(argv)

    def _command(self, argv, longest):
        self.ran.append(argv)
        if argv[0] == self.TURN:
            return self._turn(argv[1])
        if argv[0] == self.SYSTEMCTL and argv[1] != "daemon-reload":
            return self._timer(argv[1], argv[2])
        return ""

    def _turn(self, how):
        if how == "fail":
            raise OSError(errno.ECHILD, "turn: exit code 1: it sticks")
        with open(self.path(self.THING), "w", encoding="ascii") as target:
            target.write(how)
        return ""

    def _timer(self, verb, name):
        at = self.path(self.TIMERS + name)
        if verb == "stop" and os.path.exists(at):
            os.unlink(at)
        if verb == "restart":
            if not self.exists(self.UNITS + name):
                raise OSError(errno.ENOENT, "there is no unit {0}".format(name))
            os.makedirs(os.path.dirname(at), exist_ok=True)
            with open(at, "w", encoding="ascii"):
                pass
        if verb == "is-active" and not os.path.exists(at):
            raise OSError(errno.ECHILD, "inactive")
        return ""

    def is_timed(self):
        """Whether systemd runs the program when the time is over."""
        return self.exists(self.TIMERS + "headroom-netfilter-undo.timer")

    def boots_into(self):
        """Whether a boot runs it."""
        wanted = self.UNITS + "sysinit.target.wants/headroom-netfilter-undo.service"
        return os.path.exists(self.path(wanted))
