# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What ctnetlink tells besides the table, beside what conntrack and the kernel print of the same; says what was found, as JSON.

usage: PYTHONPATH=/above/ansible_collections unshare --net python ctnetlink_oracle.py counters | dying | held | picked-up

Needs root, conntrack, ip, nft and tc. Besides the collection's module_utils and the standard library it needs traffic.py, and
entries.py of tests/bench.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import entries
import traffic

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.facts.gather import gather
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.ctnetlink import DYING, listed
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.host.door import Host
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.sources.namespaces import namespaces

NAMES = kernel.FLAVOURS["nf_conntrack"]
FILE = Path("/proc/net/stat/nf_conntrack")
# linux/netlink.h and nfnetlink_compat.h
SOL_NETLINK, ADD_MEMBERSHIP, BROADCAST_ERROR, NO_ENOBUFS, ENDS = 270, 1, 4, 5, 3
COUNT = 3000
CENSUS = {
    "sample": 0,
    "group_by": ["state+timeout_class"],
    "top": 10,
    "prefix_lengths": {},
    "anonymise": False,
    "timeout_profile": "server",
    "timeouts": {},
}


class NoFile(Host):
    """A kernel that was built without CONFIG_NF_CONNTRACK_PROCFS."""

    def read(self, path: str) -> str | None:
        return None if path.endswith("/stat/nf_conntrack") else super().read(path)


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def by_conntrack() -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, number in re.findall(r"([a-z_]+)=(\d+)", printed("conntrack", "-S")):
        sums[name] += int(number)
    del sums["cpu"]
    return sums


def unlisted() -> dict[str, Any]:
    return dict(examine(Host(), read_options(CENSUS), None)["unlisted"])


def counters() -> dict[str, Any]:
    """Of real flows, and of packets that belong to none."""
    with traffic.joined():
        kept = traffic.every_kind()
        # A packet out of the midst of a connection that was never picked up.
        (traffic.SYSCTLS / "nf_conntrack_tcp_loose").write_text("0")
        for number in range(7):
            send_tcp(40000 + number, 0x10)
        entries.add(5)
        told = [gather(host, ["table"])["counters"] for host in (NoFile(), Host())]
        del kept
        return {
            "by_ctnetlink": told[0],
            "by_file": told[1] if FILE.exists() else None,
            "by_conntrack": by_conntrack(),
            "namespaces": [
                {
                    each.inode: [each.count, each.drop, each.early_drop]
                    for each in namespaces(host, NAMES, 1000).namespaces
                }
                for host in (NoFile(), Host())
            ],
        }


@contextlib.contextmanager
def listener() -> Iterator[None]:
    """Somebody who wants to know of every end, and looks at none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, entries.NETLINK_NETFILTER) as heard:
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        heard.bind((0, 0))
        for option, value in ((BROADCAST_ERROR, 1), (NO_ENOBUFS, 1), (ADD_MEMBERSHIP, ENDS)):
            heard.setsockopt(SOL_NETLINK, option, value)
        yield


def dying() -> dict[str, Any]:
    with listener():
        entries.add(COUNT)
        before = unlisted()
        subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)
        found = {
            "before": before,
            "told": unlisted(),
            "listed_by_conntrack": len(printed("conntrack", "-L", "dying").splitlines()),
            "counted_by_conntrack": int(printed("conntrack", "-C")),
            "in_table": len(printed("conntrack", "-L").splitlines()),
        }
    deadline = time.monotonic() + 30
    while listed(Host(), DYING) and time.monotonic() < deadline:
        time.sleep(0.2)
    return dict(found, after=unlisted())


def held() -> dict[str, Any]:
    """Entries that were deleted while packets of theirs wait for a slow device: as good as leaked."""
    with traffic.joined():
        traffic.nft(traffic.TRACK.replace("hook input", "hook output"))
        printed("tc", "qdisc", "add", "dev", "here", "root", "tbf", "rate", "8bit", "burst", "2000", "limit", "1000000")
        for port in range(2000, 2300):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((traffic.HERE, port))
                sender.sendto(b"x", (traffic.NOBODY_THERE, 9))
        before = unlisted()
        subprocess.run(["conntrack", "-F"], stderr=subprocess.DEVNULL, check=True)
        told, counted = unlisted(), int(printed("conntrack", "-C"))
        printed("tc", "qdisc", "del", "dev", "here", "root")
        return {"before": before, "told": told, "counted_by_conntrack": counted, "after": unlisted()}


def picked_up() -> dict[str, Any]:
    """Flows that are met in their midst, as after the table was lost, by one side's packets alone."""
    with traffic.joined():
        traffic.nft(traffic.TRACK.replace("hook input", "hook output"))
        for number in range(7):
            send_tcp(40000 + number, 0x10)
        found = examine(Host(), read_options(CENSUS), None)
        return {"groups": found["groupings"][0]["top"], "listed": printed("conntrack", "-L", "-p", "tcp")}


def send_tcp(port: int, flags: int) -> None:
    """A packet of TCP, to where nobody answers."""
    source, target = (socket.inet_aton(address) for address in (traffic.HERE, traffic.NOBODY_THERE))

    def packet(checksum: int) -> bytes:
        return struct.pack("!HHIIBBHHH", port, 443, 7, 7, 5 << 4, flags, 1000, checksum, 0)

    words = struct.unpack("!16H", source + target + struct.pack("!BBH", 0, 6, 20) + packet(0))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.bind((traffic.HERE, 0))
        raw.sendto(packet(~total & 0xFFFF), (traffic.NOBODY_THERE, 0))


if __name__ == "__main__":
    looks = {"counters": counters, "dying": dying, "held": held, "picked-up": picked_up}
    print(json.dumps(looks[sys.argv[1]]()))
