# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""What a host is to an entry: by its own addresses, and by the marks of translation."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.entries.examine import examine, read_options
from ansible_collections.headroom.netfilter.tests.unit.ctnetlink import SEEN_REPLY, UDP, Entry, TableHost

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.7
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
"""
IF_INET6 = "20010db8000000000000000000000007 02 40 00 80     eth0\nnonsense\n"
OPTIONS = {
    "sample": 0,
    "group_by": ["role"],
    "top": 10,
    "prefix_lengths": {},
    "anonymise": False,
    "timeout_profile": "server",
    "timeouts": {},
}
OWN, OWN6, OTHER, OTHER6 = "192.0.2.7", "2001:db8::7", "198.51.100.1", "2001:db8::1"


def role_of(source, destination, status=SEEN_REPLY, fib_trie=FIB_TRIE):
    host = TableHost([Entry(UDP, source=source, destination=destination, ports=(5000, 53), status=status)], count=1)
    host.texts["/proc/net/if_inet6"] = IF_INET6
    if fib_trie is not None:
        host.texts["/proc/net/fib_trie"] = fib_trie
    (group,) = examine(host, read_options(OPTIONS), None)["groupings"][0]["top"]
    return group["role"]


@pytest.mark.parametrize(
    ("source", "destination", "role"),
    [
        (OTHER, OWN, "server"),
        (OTHER6, OWN6, "server"),
        (OWN, OTHER, "client"),
        (OWN6, OTHER6, "client"),
        (OTHER, "192.0.2.9", "forward"),
        (OTHER6, "2001:db8::9", "forward"),
        (OWN, OWN, "local"),
        ("127.0.0.1", "127.0.0.53", "local"),
        (OTHER, "192.0.2.0", "forward"),
        (OTHER, "224.0.0.251", "server"),
        (OTHER6, "ff02::fb", "server"),
        (OWN, "224.0.0.251", "client"),
    ],
)
def test_by_whose_the_addresses_are(source, destination, role):
    assert role_of(source, destination) == role


@pytest.mark.parametrize("bit", [16, 32, 48])
def test_what_is_translated_is_nobodys_to_exempt(bit):
    assert role_of(OTHER, OWN, status=SEEN_REPLY | bit) == "translated"


def test_a_host_that_does_not_tell_its_addresses():
    assert role_of(OTHER, OWN, fib_trie=None) is None


def test_addresses_that_are_none():
    assert role_of(OTHER, OWN, fib_trie="     |-- 999.0.0.1\n        /32 host LOCAL\n") == "forward"
