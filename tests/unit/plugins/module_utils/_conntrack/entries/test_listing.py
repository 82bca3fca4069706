# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Lines of /proc/net/nf_conntrack and ip_conntrack."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.listing import Listing
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import (
    ASSURED,
    HW_OFFLOAD,
    OFFLOAD,
    SEEN_REPLY,
    golden_text,
)

BACK = "src=198.51.100.1 dst=10.0.0.1 sport=443 dport=40000 "
OUT = "src=10.0.0.1 dst=198.51.100.1 sport=40000 dport=443 "
END = "mark=0 use=1\n"
V4 = "ipv4     2 "
TCP = V4 + "tcp      6 431999 ESTABLISHED " + OUT + BACK + "[ASSURED] " + END


def read(*lines):
    """Each entry's parts, with the protocol and the family, in the order of the blocks."""
    listing, found = Listing(), []
    for layout, block in listing.blocks(lines):
        reader, names = layout.reader({name: None for name, _offset, _code in layout.parts})
        more = {"protocol": layout.protocol, "family": layout.family}
        found += [dict(zip(names, values), **more) for values in reader.iter_unpack(block)]
    assert listing.examined == len(found)
    assert listing.skipped == len(lines) - len(found)
    return found


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (TCP, {"protocol": 6, "family": 2, "left": 431999, "state": 3, "status": SEEN_REPLY | ASSURED, "mark": 0}),
        (TCP, {"source": b"\x0a\0\0\1", "destination": b"\xc6\x33\x64\1", "destination_port": 443, "zone": 0}),
        (TCP.replace("mark=0", "mark=4294967295 zone=65535"), {"mark": 0xFFFFFFFF, "zone": 65535}),
        (TCP.replace("ESTABLISHED", "SYN_SENT2"), {"state": 9}),
        (TCP.replace("ESTABLISHED", "NONE"), {"state": 0}),
        (TCP.replace(BACK, "[UNREPLIED] " + BACK).replace("[ASSURED] ", ""), {"status": 0}),
        (TCP.replace("431999 ESTABLISHED ", "").replace("ASSURED", "OFFLOAD"), {"status": SEEN_REPLY | OFFLOAD}),
        (TCP.replace("431999 ESTABLISHED ", "").replace("ASSURED", "HW_OFFLOAD"), {"status": SEEN_REPLY | HW_OFFLOAD}),
        (V4 + "udp      17 29 " + OUT + BACK + END, {"protocol": 17, "left": 29, "destination_port": 443}),
        (
            TCP.replace(OUT, OUT + "packets=1 bytes=64 ").replace(BACK, BACK + "packets=2 bytes=99 "),
            {"source": b"\x0a\0\0\1"},
        ),
        (TCP.replace(OUT, OUT + "zone-orig=9 "), {"zone": 9}),
        (TCP.replace(OUT, OUT).replace(BACK, BACK + "zone-reply=9 "), {"zone": 0}),
        (TCP.replace("mark=0", "mark=0 secctx=system_u:object_r:unlabeled_t:s0 zone=2"), {"zone": 2}),
        (
            "ipv6     10 udp      17 29 src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=::2 sport=1 dport=53 "
            "[UNREPLIED] src=::2 dst=2001:db8::1 sport=53 dport=1 " + END,
            {"family": 10, "source": b"\x20\x01\x0d\xb8" + bytes(11) + b"\1", "destination_port": 53},
        ),
    ],
    ids=[
        "tcp",
        "addresses",
        "large",
        "syn_sent2",
        "none",
        "unreplied",
        "offload",
        "hw_offload",
        "udp",
        "accounting",
        "zone-orig",
        "zone-reply",
        "secctx",
        "ipv6",
    ],
)
def test_parts(line, parts):
    (found,) = read(line)
    assert {name: found.get(name) for name in parts} == parts


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        (
            V4
            + "icmp     1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=7 src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=7 "
            + END,
            "destination_port",
        ),
        (V4 + "unknown  33 9 src=1.1.1.1 dst=2.2.2.2 src=2.2.2.2 dst=1.1.1.1 " + END, "destination_port"),
        (
            V4 + "gre      47 9 srckey=0x1 dstkey=0x2 src=1.1.1.1 dst=2.2.2.2 src=2.2.2.2 dst=1.1.1.1 " + END,
            "destination_port",
        ),
        (V4 + "udp      17 29 " + OUT + BACK + END, "state"),
        (TCP.replace("ESTABLISHED", "ESTABLISHED3"), "state"),
        (TCP.replace("431999 ESTABLISHED ", ""), "left"),
    ],
    ids=["icmp", "dccp of a kernel without", "gre", "udp", "an unknown state", "offloaded"],
)
def test_what_a_line_does_not_have(line, absent):
    (found,) = read(line)
    assert absent not in found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "ipv4     2 tcp      6 431999 ESTABLISHED\n",
        TCP[:-7],
        TCP.replace(BACK, ""),
        TCP.replace("src=", "srk="),
        TCP.replace("dst=", "dts="),
        TCP.replace("10.0.0.1", "10.0.0.256"),
        TCP.replace("10.0.0.1", "10.0.0.1:1"),
        TCP.replace("198.51.100.1", "2001:db8::1"),
        TCP.replace("443", "65536"),
        TCP.replace("443", "-1"),
        TCP.replace("443", "https"),
        TCP.replace("431999", "4294967296"),
        TCP.replace("mark=0", "mark=4294967296"),
        TCP.replace("mark=0", "mark=0 zone=65536"),
        TCP.replace("mark=0", "mark=\u00b2"),
        TCP.replace("mark=0", "mark=1_0"),
        TCP.replace("443", "\u0661"),
        TCP.replace(" 6 ", " six "),
    ],
)
def test_what_cannot_be_read_is_skipped(line):
    assert len(read(TCP, line, TCP)) == 2


def test_the_golden_lines_are_read():
    lines = golden_text("table.proc").splitlines(True)
    assert len(read(*lines)) == len(lines) == 36


@pytest.mark.parametrize("most", [1, 511, 512, 513, 1300])
def test_large_tables(most):
    lines = [TCP, V4 + "udp      17 29 " + OUT + BACK + END] * 700
    listing = Listing(most)
    sizes = [len(block) // layout.length for layout, block in listing.blocks(iter(lines))]
    assert (sum(sizes), listing.examined, listing.done) == (most, most, False)
    assert max(sizes) <= 512
