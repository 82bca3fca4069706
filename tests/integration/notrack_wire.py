# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""A host between two others, each a network namespace of its own: a client, and a server behind the host. On all three somebody
answers what is said to the ports of PORTS, by TCP and UDP, IPv4 and IPv6.

usage: notrack_wire.py answer                          answers until its input ends
       notrack_wire.py ask PROTOCOL ADDRESS PORT FROM  exit code 0 if there is an answer; FROM is a port, 0 for any

Needs root, ip, and nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

PORTS = (22, 53, 80, 5353, 8080)
CLIENT, HOST, INNER, SERVER = "10.77.0.2", "10.77.0.1", "10.78.0.1", "10.78.0.2"
CLIENT6, HOST6, INNER6, SERVER6 = "fd77::2", "fd77::1", "fd78::1", "fd78::2"
# Flows between them.
DNS = {"name": "dns", "protocol": "udp", "ports": [53], "role": "server"}
WEB = {"name": "web", "protocol": "tcp", "ports": [80], "role": "server"}
UPSTREAM = {
    "name": "upstream",
    "protocol": "udp",
    "ports": [53],
    "role": "client",
    "networks": ["10.78.0.0/24", "fd78::/64"],
}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
# Seconds. On a wire of one machine an answer takes a millisecond; of lost ones this is all that is waited for.
LOST_AFTER = 0.7


class Place:
    """One of the three."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "--net", "--target", str(self.process.pid), *words]

    def run(self, *words: str, given: str = "") -> str:
        done = subprocess.run(self.command(*words), input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def nft(self, rules: str) -> None:
        self.run("nft", "-f", "-", given=rules)

    def asks(self, protocol: str, address: str, port: int, own: int = 0) -> bool:
        command = self.command(sys.executable, __file__, "ask", protocol, address, str(port), str(own))
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def entries(self, *options: str) -> list[str]:
        return [line for line in self.run("conntrack", "-L", *options).splitlines() if line.strip()]


@contextlib.contextmanager
def wired() -> Iterator[tuple[Place, Place, Place]]:
    """The client, the host and the server."""
    with contextlib.ExitStack() as kept:
        client, host, server = (kept.enter_context(_place()) for _number in range(3))
        _wire(client, host, (CLIENT, CLIENT6), (HOST, HOST6), ("c0", "h0"))
        _wire(host, server, (INNER, INNER6), (SERVER, SERVER6), ("h1", "s0"))
        client.run("ip", "route", "add", "10.78.0.0/24", "via", HOST)
        client.run("ip", "-6", "route", "add", "fd78::/64", "via", HOST6)
        server.run("ip", "route", "add", "10.77.0.0/24", "via", INNER)
        server.run("ip", "-6", "route", "add", "fd77::/64", "via", INNER6)
        for place in (client, host, server):
            assert place.process.stdin is not None
            place.process.stdin.write("answer\n")
            place.process.stdin.flush()
            assert place.process.stdout is not None
            assert place.process.stdout.readline() == "answering\n"
        for place, address in ((client, SERVER), (client, SERVER6), (host, SERVER6), (client, HOST6)):
            # IPv6 takes a moment to find out who is there.
            while not place.asks("udp", address, PORTS[0]):
                pass
        # What makes the kernel track at all.
        host.nft("table inet track { chain seen { type filter hook input priority 300; ct state new accept; }; }")
        yield client, host, server


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    command = ["unshare", "--net", sys.executable, __file__, "answer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        try:
            yield Place(process)
        finally:
            process.kill()


def _wire(one: Place, other: Place, mine: Sequence[str], its: Sequence[str], names: tuple[str, str]) -> None:
    one.run(*f"ip link add {names[0]} type veth peer name {names[1]} netns {other.process.pid}".split())
    for place, name, (four, six) in ((one, names[0], mine), (other, names[1], its)):
        place.run("ip", "link", "set", "lo", "up")
        place.run("ip", "address", "add", f"{four}/24", "dev", name)
        place.run("ip", "address", "add", f"{six}/64", "dev", name, "nodad")
        place.run("ip", "link", "set", name, "up")


def _answer() -> None:
    print("there", flush=True)
    sys.stdin.readline()
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as setting:
            setting.write("1")
    selector = selectors.DefaultSelector()
    for protocol, kind in _KINDS.items():
        for port in PORTS:
            listening = socket.socket(socket.AF_INET6, kind)
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("::", port))
            if protocol == "tcp":
                listening.listen(100)
            selector.register(listening, selectors.EVENT_READ, protocol)
    print("answering", flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ, "end")
    while True:
        for key, _events in selector.select():
            if key.data == "end":
                return
            _say(key.fileobj, key.data)


def _say(listening: Any, protocol: str) -> None:
    if protocol == "udp":
        # Rules may forbid to answer.
        with contextlib.suppress(OSError):
            said, whose = listening.recvfrom(100)
            listening.sendto(said, whose)
        return
    connection, _whose = listening.accept()
    connection.settimeout(LOST_AFTER)
    with connection, contextlib.suppress(OSError):
        connection.sendall(connection.recv(100))


def _ask(protocol: str, address: str, port: int, own: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[protocol]) as asking:
        asking.settimeout(LOST_AFTER)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        asking.bind(("", own))
        try:
            asking.connect((address, port))
            asking.sendall(b"hello")
            return asking.recv(100) == b"hello"
        except OSError:
            return False


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        _answer()
    else:
        sys.exit(0 if _ask(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])) else 1)
