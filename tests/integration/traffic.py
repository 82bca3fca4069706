# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Real packets: this network namespace, which has to be a private one, joined with another one in which somebody answers.

usage: traffic.py live ACTIVE IDLE      connections that stay, of which the active ones exchange data until a line comes
       traffic.py short COUNT [STATE=SECONDS...]
                                        connections that end soon, a hundred at a time, with timeouts for the states of TCP

Either says its process when it has begun, and at the end what came of it, as JSON.

Needs root, ip and nft, and nothing but the standard library: it also runs on guests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE, THERE = "10.1.0.1", "10.1.0.2"
HERE6, THERE6 = "fd00:1::1", "fd00:1::2"
NOBODY_THERE = "10.1.0.99"
ECHO, FTP = 8080, 21
ROUNDS = 20
# What makes the kernel track at all.
TRACK = "table inet track { chain seen { type filter hook input priority 0; ct state new accept; }; }"
SYSCTLS = Path("/proc/sys/net/netfilter")


def ip(text: str) -> None:
    subprocess.run(["ip", *text.split()], check=True)


def nft(rules: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """With another network namespace at the end of a wire, where TCP, UDP and FTP are answered."""
    command = ["unshare", "--net", "--kill-child", sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        try:
            pid = int(peer.stdout.readline())
            ip("link set lo up")
            ip(f"link add here type veth peer name there netns {pid}")
            _address("here", HERE, HERE6)
            peer.stdin.write("\n")
            peer.stdin.flush()
            if peer.stdout.readline() != "serving\n":
                raise SystemExit("nobody serves at the other end")
            # An address that leads nowhere is tried for longer than this lives.
            ip(f"neigh add {NOBODY_THERE} lladdr 02:00:00:00:00:99 dev here")
            yield
        finally:
            peer.kill()


def _address(device: str, four: str, six: str) -> None:
    ip(f"address add {four}/24 dev {device}")
    ip(f"address add {six}/64 dev {device} nodad")
    ip(f"link set {device} up")


async def _serve() -> None:
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    ip("link set lo up")
    _address("there", THERE, THERE6)
    nft(TRACK)
    async with contextlib.AsyncExitStack() as servers:
        for family, address in ((socket.AF_INET, THERE), (socket.AF_INET6, THERE6)):
            for port, answer in ((ECHO, _echo), (FTP, _ftp)):
                await servers.enter_async_context(
                    await asyncio.start_server(answer, address, port, family=family, backlog=4096)
                )
            await asyncio.get_running_loop().create_datagram_endpoint(
                _Datagrams, local_addr=(address, ECHO), family=family
            )
        print("serving", flush=True)
        # Until whoever asked for it is gone, however that ended.
        await asyncio.to_thread(sys.stdin.read)
        os._exit(0)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    writer.close()


async def _ftp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connects to where the client says, and leaves both open."""
    writer.write(b"220 \r\n")
    *numbers, high, low = (await reader.readline()).decode().rpartition(" ")[2].strip().split(",")
    _data = await asyncio.open_connection(".".join(numbers), int(high) * 256 + int(low))
    writer.write(b"200 \r\n")
    await asyncio.Event().wait()


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data != b"silence":
            self.transport.sendto(data, addr)  # type: ignore[attr-defined]


RULES = f"""
table inet track {{
    ct helper ftp {{ type "ftp" protocol tcp; l3proto inet; }}
    chain zones {{
        type filter hook output priority -300;
        udp dport {ECHO} udp sport 3000-3009 ct zone set 5
        udp dport {ECHO} udp sport 3010-3019 ct original zone set 6
    }}
    chain seen {{
        type filter hook output priority 0;
        tcp dport {FTP} ct helper set "ftp"
        ct state new tcp sport 2000-2009 ct mark set 0xabc
        ct state new tcp sport 2010-2019 ct label set 3
    }}
}}
table ip nat {{
    chain output {{ type nat hook output priority -100; tcp dport 9999 dnat to {THERE}:{ECHO}; }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        ip daddr {THERE} tcp sport 2020-2029 masquerade to :40000-40100
    }}
}}
"""


def every_kind() -> list[socket.socket]:
    """Flows of many kinds from here to there; they live as long as what is returned."""
    nft(RULES)
    for name in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
        (SYSCTLS / name).write_text("1")
    # Longer than the slowest of emulated machines looks.
    for path in SYSCTLS.glob("nf_conntrack_*timeout*"):
        if int(path.read_text()) < 9000:
            path.write_text("9000")
    kept = []
    for port in (*range(2000, 2030), *range(2100, 2110)):
        kept.append(_connected(HERE, THERE, port, ECHO))
        kept.append(_connected(HERE6, THERE6, port, ECHO))
    for port in range(2200, 2205):
        kept.append(_connected(HERE, THERE, port, 9999))
        _connected(HERE, THERE, port + 10, ECHO).close()
        closing = _connected(HERE6, THERE6, port + 20, ECHO)
        closing.shutdown(socket.SHUT_WR)
        kept.append(closing)
        reset = _connected(HERE, THERE, port + 30, ECHO)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        unanswered = socket.socket()
        unanswered.setblocking(False)
        unanswered.connect_ex((NOBODY_THERE, 80))
        kept.append(unanswered)
    for source, target in ((HERE, THERE), (HERE6, THERE6)):
        for port in range(3000, 3040):
            datagrams = _socket(source, socket.SOCK_DGRAM, port)
            datagrams.connect((target, ECHO))
            datagrams.send(b"silence" if port % 2 else b"echo")
            if port % 2 == 0:
                datagrams.recv(10)
            datagrams.close()
        for protocol in (47, 50, 99, 132, 136):
            _raw(source, target, protocol)
        _ping(source, target)
    kept += _ftp_with_data()
    return kept


def _socket(source: str, kind: int, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((source, port))
    return made


def _connected(source: str, target: str, port: int, target_port: int) -> socket.socket:
    made = _socket(source, socket.SOCK_STREAM, port)
    made.settimeout(10)
    made.connect((target, target_port))
    return made


def _raw(source: str, target: str, protocol: int) -> None:
    """A packet of a protocol; one of SCTP opens an association, without a checksum."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    init = struct.pack("!HHII", 5000, 5001, 0, 0) + struct.pack("!BBHIIHHI", 1, 0, 20, 7, 65535, 1, 1, 1)
    gre = struct.pack("!HH", 0, 0x0800)
    lite = struct.pack("!HHHH", 5000, 5001, 8, 0xFFFF)
    packet = {132: init, 47: gre, 136: lite}.get(protocol, bytes(24))
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(packet, (target, 0))


def _ping(source: str, target: str) -> None:
    """As many echoes as there are answers to wait for."""
    six = ":" in source
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        for identifier in range(4):
            # The checksum of the other words; that of ICMPv6 is the kernel's work.
            body = struct.pack(
                "!BBHHH", 128 if six else 8, 0, 0 if six else 0xFFFF - 0x0800 - identifier, identifier, 0
            )
            raw.sendto(body, (target, 0))
            select.select([raw], [], [], 5)


def _ftp_with_data() -> list[socket.socket]:
    """A control connection whose helper expects the data connection."""
    control = _connected(HERE, THERE, 2300, FTP)
    control.recv(100)
    with socket.create_server((HERE, 2301)) as listening:
        listening.settimeout(10)
        control.sendall(f"PORT {HERE.replace('.', ',')},{2301 // 256},{2301 % 256}\r\n".encode())
        data, _address = listening.accept()
    return [control, data]


def live(active: int, idle: int) -> None:
    """Each block of a connection has its number and must come back as it was, before the next one is sent; some rounds at least."""
    with joined(), contextlib.ExitStack() as kept:
        nft(TRACK)
        ports = range(10000, 10000 + active + idle)
        connections = [kept.enter_context(_connected(HERE, THERE, port, ECHO)) for port in ports]
        print(os.getpid(), flush=True)
        rounds, wrong, longest, last = 0, 0, 0.0, time.monotonic()
        while rounds < ROUNDS or not select.select([sys.stdin], [], [], 0.005)[0]:
            for number, connection in enumerate(connections[:active]):
                block = struct.pack("!II", number, rounds) * 64
                connection.sendall(block)
                wrong += connection.recv(len(block), socket.MSG_WAITALL) != block
            rounds += 1
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        print(json.dumps({"rounds": rounds, "wrong": wrong, "longest": longest}), flush=True)


async def short(count: int, states: list[str]) -> None:
    with joined():
        nft(TRACK)
        for state, seconds in (each.split("=") for each in states):
            (SYSCTLS / f"nf_conntrack_tcp_timeout_{state.lower()}").write_text(seconds)
        print(os.getpid(), flush=True)
        places = asyncio.Semaphore(100)
        ends = await asyncio.gather(*(_shortly(places, number) for number in range(count)))
        print(json.dumps({"right": sum(ends)}), flush=True)
        # The table is looked at before it goes.
        sys.stdin.readline()


async def _shortly(places: asyncio.Semaphore, number: int) -> bool:
    async with places:
        reader, writer = await asyncio.open_connection(THERE, ECHO)
        said = str(number).encode()
        writer.write(said)
        heard = await reader.readexactly(len(said))
        await asyncio.sleep(random.random() / 50)
        writer.close()
        await writer.wait_closed()
        return heard == said


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    if role == "live":
        live(*map(int, words))
    else:
        asyncio.run(short(int(words[0]), words[1:]) if role == "short" else _serve())
