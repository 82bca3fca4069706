# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""The kernel's rules: names, pointers, bytes. Rounding is tested with the buckets of the plan."""

import pytest

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import kernel


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("tcp_timeout_established", "tcp_established"),
        ("tcp_timeout_max_retrans", "tcp_max_retrans"),
        ("udp_timeout", "udp"),
        ("udp_timeout_stream", "udp_stream"),
        ("udplite_timeout_stream", "udplite_stream"),
        ("icmp_timeout", "icmp"),
        ("icmpv6_timeout", "icmpv6"),
        ("generic_timeout", "generic"),
        ("gre_timeout_stream", "gre_stream"),
        ("sctp_timeout_shutdown_ack_sent", "sctp_shutdown_ack_sent"),
        ("dccp_timeout_closereq", "dccp_closereq"),
    ],
)
def test_names_of_timeouts(key, name):
    assert kernel.timeout_name(key) == name
    assert kernel.timeout_key(name) == key
    assert name in kernel.TIMEOUTS


@pytest.mark.parametrize(
    "key",
    [
        "frag6_timeout",
        "events_retry_timeout",
        "tcp_max_retrans",
        "tcp_loose",
        "max",
        "count",
        "timestamp",
        "flowtable_tcp_timeout",
        "",
    ],
)
def test_keys_that_are_no_timeouts(key):
    assert kernel.timeout_name(key) is None


def test_every_timeout_has_a_key_of_its_own():
    keys = {kernel.timeout_key(name) for name in kernel.TIMEOUTS}
    assert len(keys) == len(kernel.TIMEOUTS)
    assert {kernel.timeout_name(key) for key in keys} == set(kernel.TIMEOUTS)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.netfilter.nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_max"),
        ("net.ipv4.netfilter.ip_conntrack_udp_timeout", "/proc/sys/net/ipv4/netfilter/ip_conntrack_udp_timeout"),
    ],
)
def test_files_of_keys(key, path):
    assert kernel.sysctl_path(key) == path


@pytest.mark.parametrize(
    ("machine", "pointer"),
    [
        ("x86_64", 8),
        ("aarch64", 8),
        ("ppc64le", 8),
        ("riscv64", 8),
        ("loongarch64", 8),
        ("mips64", 8),
        ("s390x", 8),
        ("alpha", 8),
        # A 64 bit kernel, to a process of 32.
        ("armv8l", 8),
        ("i686", 4),
        ("armv7l", 4),
        ("armv6l", 4),
        ("ppc", 4),
        ("s390", 4),
        ("mips", 4),
        ("riscv32", 4),
    ],
)
def test_pointers(machine, pointer):
    assert kernel.pointer_bytes(machine) == pointer


@pytest.mark.parametrize(
    ("buckets", "expectations"),
    [
        (1, 4),
        (255, 4),
        (256, 4),
        (511, 4),
        (512, 8),
        # Seen after a load with hashsize=5000, and on hosts of 1 GiB and of 24.
        (5120, 80),
        (8192, 128),
        (262144, 4096),
    ],
)
def test_expectations_after_a_load(buckets, expectations):
    assert kernel.expect_max(buckets) == expectations


@pytest.mark.parametrize(("size", "entry"), [(256, 384), (320, 448), (192, 320)])
def test_bytes_of_an_entry(size, entry):
    assert kernel.entry_bytes(size) == entry


@pytest.mark.parametrize(
    ("flavour", "release", "pointer", "size"),
    [
        # Seen, but for those of 32 bits: struct nf_conn in lines of 64 bytes.
        ("nf_conntrack", "6.12.107+deb13-cloud-amd64", 8, 256),
        ("nf_conntrack", "5.15.0-119-generic", 8, 256),
        ("nf_conntrack", "5.14.0-503.el9.x86_64", 8, 320),
        ("nf_conntrack", "5.10.0-32-cloud-amd64", 8, 320),
        ("nf_conntrack", "4.4.0-87-generic", 8, 320),
        ("nf_conntrack", "2.6.32-754.el6.x86_64", 8, 320),
        ("nf_conntrack", "6.1.0-37-armmp", 4, 256),
        ("nf_conntrack", "4.9.0-19-686", 4, 256),
        ("ip_conntrack", "2.6.18-164.el5xen", 8, 384),
        ("nf_conntrack", "", 8, 256),
    ],
)
def test_bytes_of_an_object_by_the_kind_of_kernel(flavour, release, pointer, size):
    assert kernel.object_bytes(kernel.FLAVOURS[flavour], release, pointer) == size


@pytest.mark.parametrize(
    ("page", "pointer", "most"), [(4096, 8, 268434944), (65536, 8, 268427264), (4096, 4, 268434432)]
)
def test_the_most_buckets(page, pointer, most):
    assert kernel.largest_buckets(page, pointer) == most == kernel.rounded_buckets(most, page, pointer)
    assert kernel.rounded_buckets(most + 1, page, pointer) > kernel.LARGEST_HASHSIZE


@pytest.mark.parametrize(
    ("flavour", "release", "name", "has"),
    [
        ("nf_conntrack", "6.16.0", "dccp_open", True),
        ("nf_conntrack", "6.17.0", "dccp_open", False),
        ("nf_conntrack", "7.1.0", "udplite_stream", True),
        ("nf_conntrack", "7.2.0", "udplite", False),
        ("nf_conntrack", "7.2.0", "udp_stream", True),
        ("nf_conntrack", "2.6.32", "icmpv6", True),
        ("ip_conntrack", "2.6.18", "icmpv6", False),
        ("ip_conntrack", "2.6.18", "tcp_unacknowledged", False),
        ("ip_conntrack", "2.6.18", "tcp_established", True),
        ("nf_conntrack", "6.1.0", "unheard_of", False),
    ],
)
def test_timeouts_by_the_kind_of_kernel(flavour, release, name, has):
    assert kernel.has_timeout(name, kernel.FLAVOURS[flavour], release) is has


@pytest.mark.parametrize(("release", "apart"), [("4.18.0", True), ("4.19.0", False), ("6.1.0", False)])
def test_families_with_modules_of_their_own(release, apart):
    assert kernel.has_families_apart(release) is apart


def test_bytes_of_a_full_table():
    # The budget of a million entries on 64 bit: 384 B an entry, 8 B a bucket.
    assert kernel.full_bytes(1048576, 1048576, 384, 8) == 411041792


def test_bounds():
    assert kernel.LARGEST_HASHSIZE * 8 <= kernel.LARGEST_LIMIT == 2**31 - 1
    assert kernel.LONGEST_TIMEOUT * 1000 <= 2**31 - 1 < (kernel.LONGEST_TIMEOUT + 1) * 1000


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ((None, None), (65536, 262144)),
        ((262144, 262144), (262144, 262144)),
        ((65536, 262144), (65536, 262144)),
        ((262144, 1048576), (65536, 262144)),
    ],
    ids=["by the release", "backported", "not backported", "somebody's own"],
)
def test_a_default_that_is_live_is_believed(live, expected):
    assert kernel.default_table("5.14.0-503.el9.x86_64", 8 * 2**30, 4096, 8, live) == expected


@pytest.mark.parametrize(
    ("name", "release", "live", "seconds"),
    [
        ("udp_stream", "4.18.0-553.el8", None, 180),
        ("udp_stream", "4.18.0-553.el8", 120, 120),
        ("udp_stream", "4.18.0-553.el8", 60, 180),
        ("udp_stream", "6.12.0", None, 120),
        ("sctp_established", "5.10.0-32-amd64", 210, 210),
        ("sctp_established", "3.10.0-1160.el7", 432000, 432000),
        ("udp", "3.10.0-1160.el7", 45, 30),
        ("unheard_of", "6.12.0", None, None),
        ("unheard_of", "6.12.0", 5, None),
        ("udp", "not a number", None, 30),
    ],
)
def test_timeouts_as_compiled_in(name, release, live, seconds):
    assert kernel.default_timeout(name, release, live) == seconds
