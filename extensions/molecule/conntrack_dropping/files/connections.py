# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Open TCP connections to this host, hold them all, use each of them once, and print what became of them as JSON.

usage: connections.py COUNT [COMMAND...]

The client is in a network namespace of its own, behind a pair of veth with addresses of RFC 5737; both are gone at the
end. Without COMMAND the connections are opened at once. With it they are opened over half a minute, and the command
runs meanwhile. Every wait is bounded. Needs root, iproute2 and Python 3.9.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAMESPACE = "dropping"
SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
PORT = 7777
SYSCTLS = Path("/proc/sys/net/netfilter")
# Connections on their way at a time: fewer than the 1000 packets that a processor's queue (netdev_max_backlog) takes.
PENDING = 500


class Pace(NamedTuple):
    """Seconds: over which the connections are begun, and in which not one of all has had an answer when those that wait have failed:
    a machine that is slow answers some all the time."""

    seconds: float
    patience: float


AT_ONCE = Pace(0, 15)
# A firewall that starts lets nothing in for a while; SYNs are sent again after 1, 3, 7, 15 and 31 seconds.
MEANWHILE = Pace(30, 60)


class Server(threading.Thread):
    """Accepts everything, sends each byte back, and looks at the limit all the time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server((SERVER, PORT), backlog=4096)
        self.listener.setblocking(False)
        self.limits: set[int | None] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        there: dict[int, socket.socket] = {}
        while not self.ended.is_set():
            self.limits.add(number("nf_conntrack_max"))
            for descriptor, _events in poll.poll(0.01):
                if descriptor == self.listener.fileno():
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            one, _address = self.listener.accept()
                            one.setblocking(False)
                            there[one.fileno()] = one
                            poll.register(one, select.EPOLLIN)
                    continue
                try:
                    sent = there[descriptor].recv(1)
                    there[descriptor].send(sent)
                except OSError:
                    sent = b""
                if not sent:
                    poll.unregister(descriptor)
                    there.pop(descriptor).close()


def client(count: int, pace: Pace) -> None:
    """In the namespace. Begins, waits for the end of standard input, and uses what is open."""
    poll = select.epoll()
    waiting: dict[int, socket.socket] = {}
    opened: list[socket.socket] = []
    opened_at: list[float] = []
    failures: Counter[str] = Counter()
    started = heard = time.monotonic()
    begun = 0
    while begun < count or waiting:
        now = time.monotonic()
        while begun < count and len(waiting) < PENDING and now >= started + begun * pace.seconds / count:
            one = socket.socket()
            one.setblocking(False)
            # Closed by a reset: the host forgets it in seconds.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.connect_ex((SERVER, PORT))
            poll.register(one, select.EPOLLOUT)
            if not waiting:
                heard = now
            waiting[one.fileno()] = one
            begun += 1
        for descriptor, _events in poll.poll(0.02):
            one, heard = waiting.pop(descriptor), time.monotonic()
            poll.unregister(descriptor)
            error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                failures[errno.errorcode[error]] += 1
                one.close()
            else:
                opened.append(one)
                opened_at.append(time.monotonic())
        if time.monotonic() > heard + pace.patience:
            failures["no answer"] += len(waiting)
            for descriptor, one in waiting.items():
                poll.unregister(descriptor)
                one.close()
            waiting.clear()
    sys.stdin.read()
    answered = use(opened, pace.patience)
    for one in opened:
        one.close()
    print(json.dumps({"opened_at": opened_at, "failures": failures, "answered": answered}))


def use(opened: list[socket.socket], patience: float) -> int:
    """How many of the connections carry a byte there and back."""
    poll = select.epoll()
    waiting = {one.fileno(): one for one in opened}
    for descriptor, one in waiting.items():
        poll.register(descriptor, select.EPOLLIN)
        with contextlib.suppress(OSError):
            one.send(b".")
    answered = 0
    heard = time.monotonic()
    while waiting and time.monotonic() < heard + patience:
        for descriptor, _events in poll.poll(0.1):
            heard = time.monotonic()
            poll.unregister(descriptor)
            with contextlib.suppress(OSError):
                answered += len(waiting.pop(descriptor).recv(1))
    return answered


def number(name: str) -> int | None:
    """A value of the kernel; None while the module is not there."""
    try:
        return int((SYSCTLS / name).read_text())
    except OSError:
        return None


def log_lines() -> int:
    """How many lines of the kernel's log say that the table is full."""
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    found = 0
    try:
        while True:
            with contextlib.suppress(BrokenPipeError):  # a line that was overwritten while it was waited for
                found += b"table full" in os.read(log, 8192)
    except BlockingIOError:
        return found
    finally:
        os.close(log)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", "dropping0", "type", "veth", "peer", "name", "dropping1", "netns", NAMESPACE)
        ip("address", "add", f"{SERVER}/30", "dev", "dropping0")
        ip("link", "set", "dropping0", "up")
        ip("-n", NAMESPACE, "address", "add", f"{CLIENT}/30", "dev", "dropping1")
        ip("-n", NAMESPACE, "link", "set", "dropping1", "up")
        yield
    finally:
        # The pair goes with the namespace, some time later.
        subprocess.run(["ip", "link", "delete", "dropping0"], check=False)
        ip("netns", "delete", NAMESPACE)


def until_forgotten() -> None:
    """A table that is still full would shut out whoever comes next."""
    until = time.monotonic() + 300
    while (number("nf_conntrack_count") or 0) * 2 > (number("nf_conntrack_max") or 1) and time.monotonic() < until:
        time.sleep(0.5)


def main(count: int, command: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lines = log_lines()
    with namespace():
        server = Server()
        server.start()
        inside = ["ip", "netns", "exec", NAMESPACE, sys.executable, __file__, "client", str(count), str(len(command))]
        begun = time.monotonic()
        with subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            if command:
                time.sleep(MEANWHILE.seconds / 6)
            since = time.monotonic()
            if command:
                subprocess.run(command, check=True)
            till = time.monotonic()
            found = json.loads(child.communicate(timeout=1500)[0])
        server.ended.set()
        server.join()
    until_forgotten()
    opened_at = found["opened_at"]
    limits = {limit for limit in server.limits if limit is not None}
    figures = {
        "tried": count,
        "opened": len(opened_at),
        "failed": count - len(opened_at),
        "failures": found["failures"],
        "answered": found["answered"],
        "log_lines": log_lines() - lines,
        "limit_lowest": min(limits),
        "limit_highest": max(limits),
        "module_was_away": None in server.limits,
        "seconds": round(time.monotonic() - begun, 1),
    }
    if command:
        figures["command_seconds"] = round(till - since, 1)
        figures["opened_during_command"] = sum(since <= moment <= till for moment in opened_at)
    print(json.dumps(figures))


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "client":
        client(int(sys.argv[2]), MEANWHILE if int(sys.argv[3]) else AT_ONCE)
    else:
        main(int(sys.argv[1]), sys.argv[2:])
