# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Make the golden table anew, in a network namespace of its own: README.md says what it is.

usage: unshare -n python3 make.py
"""

import base64
import os
import socket
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = struct.Struct("=IHHII")
NESTED = 0x8000
ICMP, TCP, UDP, DCCP, GRE, ESP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 50, 58, 132, 136
SEEN_REPLY, ASSURED, FIXED_TIMEOUT = 2, 4, 1024
REPLIED, SURE = 8 | SEEN_REPLY, 8 | SEEN_REPLY | ASSURED


def attribute(kind, value):
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def addresses(source, target):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    first = 3 if family == socket.AF_INET6 else 1
    return attribute(
        1 | NESTED,
        attribute(first, socket.inet_pton(family, source)) + attribute(first + 1, socket.inet_pton(family, target)),
    )


def ports(protocol, source, target, reply):
    inner = attribute(1, bytes([protocol]))
    if protocol in (ICMP, ICMPV6):
        start, kinds = (4, {8: 0, 13: 14}) if protocol == ICMP else (7, {128: 129})
        inner += attribute(start, struct.pack("!H", source))
        inner += attribute(start + 1, bytes([kinds[target] if reply else target])) + attribute(start + 2, b"\0")
    elif protocol != ESP:
        first, second = (target, source) if reply else (source, target)
        inner += attribute(2, struct.pack("!H", first)) + attribute(3, struct.pack("!H", second))
    return attribute(2 | NESTED, inner)


def entry(protocol, source, target, source_port=0, target_port=0, status=REPLIED, left=600, state=None, **more):
    """``more``: mark, zone, from_zone (of the first packet's side alone), translated (the reply goes to it), labels,
    helper, master (ports of the flow that announced it)."""
    back = more.get("translated", source)
    zone = attribute(3, struct.pack("!H", more["from_zone"])) if "from_zone" in more else b""
    body = attribute(1 | NESTED, addresses(source, target) + ports(protocol, source_port, target_port, False) + zone)
    body += attribute(2 | NESTED, addresses(target, back) + ports(protocol, source_port, target_port, True))
    body += attribute(3, struct.pack("!I", status)) + attribute(7, struct.pack("!I", left))
    if protocol == TCP:
        body += attribute(4 | NESTED, attribute(1 | NESTED, attribute(1, bytes([state]))))
    elif protocol == SCTP:
        tags = attribute(2, struct.pack("!I", 11)) + attribute(3, struct.pack("!I", 12))
        body += attribute(4 | NESTED, attribute(3 | NESTED, attribute(1, bytes([state])) + tags))
    elif protocol == DCCP:
        body += attribute(4 | NESTED, attribute(2 | NESTED, attribute(1, bytes([state])) + attribute(2, b"\0")))
    if "mark" in more:
        body += attribute(8, struct.pack("!I", more["mark"]))
    if "zone" in more:
        body += attribute(18, struct.pack("!H", more["zone"]))
    if "labels" in more:
        body += attribute(22, more["labels"])
    if "helper" in more:
        body += attribute(5 | NESTED, attribute(1, more["helper"] + b"\0"))
    if "translated" in more:
        low = attribute(1, socket.inet_aton(back))
        body += attribute(6 | NESTED, low)
    if "master" in more:
        at, target_at = more["master"]
        body += attribute(14 | NESTED, addresses(source, target) + ports(protocol, at, target_at, False))
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return struct.pack("!BBH", family, 0, 0) + body


A, B, C = "10.1.0.1", "10.1.200.7", "192.0.2.9"
S, T = "198.51.100.1", "198.51.100.2"
A6, B6, S6 = "2001:db8:1::1", "2001:db8:1:ff::7", "2001:db8:ffff::443"
ENTRIES = {
    "syn_sent": entry(TCP, A, S, 40000, 443, status=8, left=120, state=1),
    "syn_recv": entry(TCP, A, S, 40001, 443, left=60, state=2),
    "established": entry(TCP, A, S, 40002, 443, status=SURE, left=431000, state=3),
    "established 2": entry(TCP, B, S, 40003, 443, status=SURE, left=7000, state=3, mark=0x10000001),
    "established 3": entry(TCP, C, T, 40004, 22, status=SURE, left=7441, state=3, mark=7),
    "fin_wait": entry(TCP, A, S, 40005, 443, status=SURE, left=120, state=4),
    "close_wait": entry(TCP, B, T, 40006, 443, status=SURE, left=60, state=5, zone=3),
    "last_ack": entry(TCP, B, T, 40007, 443, status=SURE, left=30, state=6),
    "time_wait": entry(TCP, B, T, 40008, 443, status=SURE, left=120, state=7),
    "close": entry(TCP, B, T, 40009, 443, left=10, state=8),
    "syn_sent2": entry(TCP, C, T, 40010, 443, status=8, left=120, state=9),
    "fixed": entry(TCP, C, T, 40011, 443, status=SURE | FIXED_TIMEOUT, left=86400, state=3),
    "translated": entry(TCP, A, C, 40012, 80, status=SURE, left=300, state=3, translated="203.0.113.5"),
    "labels": entry(TCP, A, C, 40013, 80, status=SURE, left=300, state=3, labels=bytes(15) + b"\1"),
    "helped": entry(TCP, A, C, 40014, 21, status=SURE, left=300, state=3, helper=b"ftp"),
    "announced": entry(TCP, A, C, 40015, 20, status=SURE, left=300, state=3, master=(40014, 21)),
    "udp": entry(UDP, A, T, 5000, 53, status=8, left=30),
    "udp replied": entry(UDP, A, T, 5001, 53, left=30),
    "udp stream": entry(UDP, B, T, 5002, 53, status=SURE, left=180, mark=7),
    "udp zone": entry(UDP, B, T, 5003, 53, left=600, zone=65535),
    "udp from zone": entry(UDP, B, T, 5004, 4500, left=600, from_zone=9),
    "icmp": entry(ICMP, A, S, 77, 8, status=8, left=30),
    "icmp replied": entry(ICMP, C, S, 78, 13, left=30),
    "gre": entry(GRE, A, T, 1, 2, status=8, left=30),
    "gre stream": entry(GRE, B, T, 3, 4, status=SURE, left=180),
    "sctp": entry(SCTP, A, T, 6000, 2905, status=SURE, left=400000, state=4),
    "sctp cookie": entry(SCTP, B, T, 6001, 2905, status=8, left=3, state=2),
    "dccp": entry(DCCP, A, T, 6002, 5004, left=600, state=4),
    "udplite": entry(UDPLITE, A, T, 6003, 5005, status=8, left=30),
    "esp": entry(ESP, A, T, status=8, left=600),
    "tcp6": entry(TCP, A6, S6, 40000, 443, status=SURE, left=431000, state=3, zone=3),
    "tcp6 2": entry(TCP, B6, S6, 40001, 80, status=SURE, left=120, state=7, mark=7),
    "udp6": entry(UDP, A6, S6, 5000, 53, status=8, left=30),
    "icmp6": entry(ICMPV6, B6, S6, 79, 128, status=8, left=30),
    "sctp6": entry(SCTP, A6, S6, 6000, 2905, status=SURE, left=210, state=8),
    "esp6": entry(ESP, B6, S6, left=600),
}


def talk(request):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:
        kernel.send(request)
        while True:
            answer = kernel.recv(65536)
            yield answer
            if struct.unpack_from("=H", answer, 4)[0] in (2, 3):
                return


def make():
    # Without a rule that sets one there are no labels.
    rule = "add table t; add chain t c { type filter hook output priority 0; }; add rule t c ct label set 1"
    subprocess.run(["nft", rule], check=True)
    for name in ("acct", "timestamp"):
        with open("/proc/sys/net/netfilter/nf_conntrack_" + name, "w") as target:
            target.write("1")
    for number, (name, body) in enumerate(ENTRIES.items()):
        (answer,) = talk(HEADER.pack(HEADER.size + len(body), 0x100, 0x605, number, 0) + body)
        error = -struct.unpack_from("=i", answer, HEADER.size)[0]
        if error:
            print(name + ": " + os.strerror(error))


def dump():
    """Each answer, without the sequence and the port that the kernel writes into every message."""
    return list(talk(HEADER.pack(20, 0x101, 0x301, 1, 0) + bytes(4)))


def look():
    """The same moment three times over."""
    while True:
        before = dump()
        text = subprocess.run(["conntrack", "-L", "-o", "extended"], check=True, stdout=subprocess.PIPE).stdout
        with open("/proc/net/nf_conntrack", "rb") as source:
            lines = source.read()
        after = dump()
        if [answer[16:] for answer in map(settled, before)] == [answer[16:] for answer in map(settled, after)]:
            return before, text, lines
        time.sleep(0.1)


def settled(answer):
    """Without the ports of the sockets, which differ."""
    found, start = b"", 0
    while start < len(answer):
        length = struct.unpack_from("=I", answer, start)[0]
        found += answer[start : start + 12] + bytes(4) + answer[start + 16 : start + length]
        start += length
    return found


if __name__ == "__main__":
    make()
    answers, text, lines = look()
    with open(os.path.join(HERE, "table.base64"), "w") as target:
        target.writelines(base64.b64encode(settled(answer)).decode() + "\n" for answer in answers)
    with open(os.path.join(HERE, "table.conntrack"), "wb") as target:
        target.write(text)
    with open(os.path.join(HERE, "table.proc"), "wb") as target:
        target.write(lines)
