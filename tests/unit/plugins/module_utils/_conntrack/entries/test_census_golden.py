# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The census of a real table, through ctnetlink and from /proc, against what the program conntrack printed of it."""

import itertools
import os
import re
import socket
from collections import Counter

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.census import FIELDS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import TableHost, golden_answers, golden_text

OPTIONS = {
    "sample": 0,
    "group_by": list(FIELDS),
    "top": 1000,
    "prefix_lengths": {},
    "anonymise": False,
    "timeout_profile": "server",
    "timeouts": {},
}
PAIRS = ["+".join(pair) for pair in itertools.permutations(FIELDS, 2)]
ALL = "+".join(FIELDS)
FOUR, SIX = 19, 61

# Timeouts of entries by what conntrack prints, written out rather than derived.
CLASSES = {
    ("tcp", "SYN_SENT2"): "tcp_syn_sent",
    ("udp", "UNREPLIED"): "udp",
    ("udp", "REPLIED"): "udp_stream",
    ("udplite", "UNREPLIED"): "udplite",
    ("gre", "UNREPLIED"): "gre",
    ("gre", "REPLIED"): "gre_stream",
    ("icmp", "UNREPLIED"): "icmp",
    ("icmp", "REPLIED"): "icmp",
    ("icmpv6", "UNREPLIED"): "icmpv6",
    ("50", "UNREPLIED"): "generic",
    ("50", "REPLIED"): "generic",
    # This kernel no longer knows DCCP, and tells no state of it.
    ("33", "REPLIED"): "generic",
}


def printed(text):
    """The entries of conntrack's text: a dict of each line, by words."""
    for line in text.splitlines():
        words = line.split()
        first = dict(reversed([word.split("=") for word in words if "=" in word]))
        number, left = int(words[3]), int(words[4])
        protocol = words[2] if words[2] not in ("unknown", "dccp") else str(number)
        seen = "UNREPLIED" if "[UNREPLIED]" in words else "REPLIED"
        state = words[5] if words[5].isupper() else seen
        family = socket.AF_INET6 if ":" in first["src"] else socket.AF_INET
        port = int(first["dport"]) if "dport" in first and protocol != "33" else None
        yield {
            "protocol": "dccp" if protocol == "33" else protocol,
            "state": state,
            "source": first["src"],
            "destination": first["dst"],
            "source_network": network(family, first["src"]),
            "destination_network": network(family, first["dst"]),
            "destination_port": port,
            "zone": int(first.get("zone", first.get("zone-orig", 0))),
            "mark": int(first["mark"]),
            "assured": "[ASSURED]" in words,
            "timeout_class": CLASSES.get((protocol, state), "{0}_{1}".format(protocol, state.lower())),
            "role": role(first["src"], first["dst"]),
            "is_translated": is_translated(words),
            "left": left,
        }


# Of the host, as its kernel would tell them.
OWN = ["10.1.0.1", "198.51.100.2", "2001:db8:1::1"]
FIB_TRIE = "Local:\n" + "".join("     |-- {0}\n        /32 host LOCAL\n".format(each) for each in OWN[:2])
IF_INET6 = "20010db8000100000000000000000001 02 40 00 80     eth0\n"


def role(source, destination):
    return {(1, 1): "local", (1, 0): "client", (0, 1): "server", (0, 0): "forward"}[source in OWN, destination in OWN]


def is_translated(words):
    """By the words of both tuples."""
    ends = [[word.partition("=")[2] for word in words if word.startswith(name)] for name in ("src=", "dst=")]
    return ends[0] != ends[1][::-1]


def network(family, address):
    """By its text of bits."""
    packed, length = socket.inet_pton(family, address), FOUR if family == socket.AF_INET else SIX
    bits = "".join("{0:08b}".format(byte) for byte in packed)
    bits = bits[:length] + "0" * (len(bits) - length)
    whole = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return "{0}/{1}".format(socket.inet_ntop(family, whole), length)


EXPECTED = list(printed(golden_text("table.conntrack")))


def as_ip_conntrack(text):
    """The same table as /proc/net/ip_conntrack had it: no family, no IPv6, no zones, other protocols unknown."""
    for line in text.splitlines():
        if line.startswith("ipv4"):
            number = line.split()[3]
            line = re.sub(
                r"^ipv4 +2 \S+", {"6": "tcp     ", "17": "udp     ", "1": "icmp    "}.get(number, "unknown "), line
            )
            line = re.sub(r" (zone|zone-orig|delta-time|helper)=\S+", "", line)
            # Of what is unknown it told no ports and no states.
            yield (
                line
                if number in ("1", "6", "17")
                else re.sub(r" (sport|dport|srckey|dstkey)=\S+| [A-Z][A-Z_]+(?= )", "", line)
            )


def examined(host, **options):
    host.texts.update({"/proc/net/fib_trie": FIB_TRIE, "/proc/net/if_inet6": IF_INET6})
    return examine(host, read_options(dict(OPTIONS, prefix_lengths={"ipv4": FOUR, "ipv6": SIX}, **options)), None)


def through_ctnetlink():
    return TableHost(answers=golden_answers(), count=36)


def from_proc(module="nf_conntrack", text=None):
    host = TableHost(refused=OSError(93, "Protocol not supported"), count=36)
    host.texts["/proc/net/" + module] = golden_text("table.proc") if text is None else text
    return host


def as_told(host):
    """This table was made through ctnetlink, without the bits that the kernel gives what it translates; lines have both ends."""
    return [
        dict(entry, role="translated") if entry["is_translated"] and host is from_proc else entry for entry in EXPECTED
    ]


@pytest.mark.parametrize("host", [through_ctnetlink, from_proc], ids=["ctnetlink", "proc"])
@pytest.mark.parametrize("grouping", list(FIELDS) + PAIRS + [ALL])
def test_every_grouping_is_as_conntrack_has_it(host, grouping):
    found = examined(host(), group_by=[grouping])
    (counted,) = found["groupings"]
    fields = grouping.split("+")
    told = Counter({tuple(group[field] for field in fields): group["entries"] for group in counted["top"]})
    assert told == Counter(tuple(entry[field] for field in fields) for entry in as_told(host))
    assert (counted["group_by"], counted["others"], counted["missed"]) == (grouping, 0, 0)
    for group in counted["top"]:
        assert set(group) == {"entries", "share", "margin"} | set(fields)
        assert group["share"] == pytest.approx(group["entries"] / 36, abs=5e-7)
        assert group["margin"] is None
    numbers = [group["entries"] for group in counted["top"]]
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(
    ("host", "source"),
    [(through_ctnetlink, "ctnetlink"), (from_proc, "/proc/net/nf_conntrack")],
    ids=["ctnetlink", "proc"],
)
def test_how_many(host, source):
    found = examined(host())
    assert {name: found[name] for name in ("source", "total", "examined", "exact", "unread")} == {
        "source": source,
        "total": 36,
        "examined": 36,
        "exact": True,
        "unread": {"entries": 0, "attributes": 0},
    }
    assert [counted["group_by"] for counted in found["groupings"]] == list(FIELDS)


@pytest.mark.parametrize("host", [through_ctnetlink, from_proc], ids=["ctnetlink", "proc"])
def test_what_is_stale(host):
    """The entry whose timeout is fixed is not, and only the line from /proc does not tell that it is."""
    seconds = {"tcp_established": 299, "udp_stream": 100, "generic": 600, "sctp_cookie_wait": 1, "tcp_time_wait": 119}
    found = examined(host(), timeout_profile=None, timeouts=seconds)["stale"]
    expected = Counter(
        entry["timeout_class"] for entry in EXPECTED if entry["left"] > seconds.get(entry["timeout_class"], 1e9)
    )
    if host is through_ctnetlink:
        expected["tcp_established"] -= 1
    assert {name: told["entries"] for name, told in found["timeouts"].items()} == dict(expected)
    assert found["entries"] == sum(expected.values())
    assert {told["margin"] for told in found["timeouts"].values()} == {None}
    assert {name: told["timeout"] for name, told in found["timeouts"].items()} == {
        name: seconds[name] for name in expected
    }


@pytest.mark.parametrize("grouping", [*FIELDS, ALL])
def test_ip_conntrack(grouping):
    lines = list(as_ip_conntrack(golden_text("table.conntrack")))
    assert {line.split()[0] for line in lines} == {"tcp", "udp", "icmp", "unknown"}
    found = from_proc("ip_conntrack", "\n".join(lines))
    del found.texts["/sys/module/nf_conntrack"]
    found.texts["/proc/modules"] = "ip_conntrack 52833 1 iptable_nat, Live 0x0\n"
    old = "/proc/sys/net/ipv4/netfilter/ip_conntrack_"
    found.values = {old + "count": 26, old + "max": 65536, old + "buckets": 8192}
    found.texts["/sys/module/ip_conntrack"] = ""
    result = examined(found, group_by=[grouping])
    assert (result["source"], result["examined"], result["exact"]) == ("/proc/net/ip_conntrack", len(lines), True)
    fields = grouping.split("+")
    told = {tuple(group[field] for field in fields): group["entries"] for group in result["groupings"][0]["top"]}
    wanted = Counter()
    for entry in as_told(from_proc):
        if ":" not in entry["source"]:
            entry = dict(entry, zone=0)
            if entry["protocol"] in ("sctp", "udplite", "dccp"):
                entry["destination_port"] = None
            if entry["protocol"] == "sctp":
                entry.update(state="REPLIED" if entry["assured"] else "UNREPLIED", timeout_class="generic")
            wanted[tuple(entry[field] for field in fields)] += 1
    assert told == wanted


def test_the_golden_table_has_what_there_is_to_tell():
    """So that what is compared is worth it."""
    for field, least in [
        ("protocol", 9),
        ("state", 13),
        ("zone", 4),
        ("mark", 3),
        ("timeout_class", 19),
        ("destination_port", 9),
    ]:
        assert len({entry[field] for entry in EXPECTED}) >= least, field
    folder = os.path.dirname(os.path.abspath(__file__))
    assert (
        sum(
            os.path.getsize(os.path.join(folder, "golden", name)) for name in os.listdir(os.path.join(folder, "golden"))
        )
        < 50000
    )
