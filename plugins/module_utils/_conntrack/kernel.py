# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's own rules of connection tracking: names, rounding, bounds and bytes. Pure.

Sources are files of the Linux tree: nf_conntrack_core.c, nf_conntrack_standalone.c and the
nf_conntrack_proto_*.c of net/netfilter, kernels 2.6.18 to 7.2.
"""

import re
from typing import Dict, NamedTuple, Optional, Tuple

# The limit after a load with hashsize=H is 8 x H, in every version (nf_conntrack_init_start).
ENTRIES_PER_BUCKET_AT_LOAD = 8
# nf_conntrack_max is an int to sysctl (proc_dointvec).
LARGEST_LIMIT = 2**31 - 1
# So that 8 x hashsize still fits.
LARGEST_HASHSIZE = LARGEST_LIMIT // ENTRIES_PER_BUCKET_AT_LOAD
# Ticks a second (CONFIG_HZ), the most and the fewest that kernels are built with (kernel/Kconfig.hz, arch/mips/Kconfig).
_MOST_TICKS, _FEWEST_TICKS = 1000, 24
# Seconds. Timeouts are kept in ticks, an int (proc_dointvec_jiffies): what every kernel takes, and what one takes.
LONGEST_TIMEOUT = LARGEST_LIMIT // _MOST_TICKS
LONGEST_ANYWHERE = LARGEST_LIMIT // _FEWEST_TICKS

# Entries. A longer chain refuses new entries without a word in the log (MIN_CHAINLEN, since 5.15).
LONGEST_CHAIN = 50

# Bytes of an object in the slab cache, where that cannot be read, and the release from which on: the most that kernels of their
# kind are seen to take with processors' cache lines of 64 bytes, to whole ones of which objects are rounded up.
OBJECT_BYTES = (((5, 15), 256), ((0, 0), 320))
# Of 32 bits, of any release: struct nf_conn has 184 to 248 bytes there.
OBJECT_BYTES_32 = 256
# Bytes. The block of extensions (NAT, helper, timestamps, labels) that entries get on first use.
EXTENSION_BYTES = 128


class Flavour(NamedTuple):
    """The names of connection tracking by age of the kernel, and what came later."""

    module: str
    prefix: str  # of dotted sysctl names
    bounds_expectations: bool  # whether it has a key expect_max
    lacks: Tuple[str, ...]  # timeouts
    object_bytes: int  # the least that an object is reckoned with


FLAVOURS: Dict[str, Flavour] = {
    "nf_conntrack": Flavour("nf_conntrack", "net.netfilter.nf_conntrack_", True, (), 0),
    "ip_conntrack": Flavour(
        "ip_conntrack", "net.ipv4.netfilter.ip_conntrack_", False, ("icmpv6", "tcp_unacknowledged"), 384
    ),
}

# Seconds, as compiled in, by the name this collection uses: the sysctl's without prefix and "_timeout".
TIMEOUTS: Dict[str, int] = {
    "tcp_syn_sent": 120,
    "tcp_syn_recv": 60,
    "tcp_established": 432000,
    "tcp_fin_wait": 120,
    "tcp_close_wait": 60,
    "tcp_last_ack": 30,
    "tcp_time_wait": 120,
    "tcp_close": 10,
    "tcp_max_retrans": 300,
    "tcp_unacknowledged": 300,
    "udp": 30,
    "udp_stream": 120,
    "udplite": 30,
    "udplite_stream": 120,
    "icmp": 30,
    "icmpv6": 30,
    "generic": 600,
    "gre": 30,
    "gre_stream": 180,
    "sctp_closed": 10,
    "sctp_cookie_wait": 3,
    "sctp_cookie_echoed": 3,
    "sctp_established": 210,
    "sctp_shutdown_sent": 3,
    "sctp_shutdown_recd": 3,
    "sctp_shutdown_ack_sent": 3,
    "sctp_heartbeat_sent": 30,
    "sctp_heartbeat_acked": 210,
    "dccp_request": 240,
    "dccp_respond": 480,
    "dccp_partopen": 480,
    "dccp_open": 43200,
    "dccp_closereq": 64,
    "dccp_closing": 64,
    "dccp_timewait": 240,
}

# Seconds, by name: what was compiled in before a release; 0.3 is shown as 0.
_EARLIER_TIMEOUTS: Dict[str, Tuple[Tuple[int, int], Optional[int]]] = {
    "udp_stream": ((5, 0), 180),
    "udplite_stream": ((5, 0), 180),
    "sctp_established": ((6, 2), 432000),
    "sctp_shutdown_sent": ((6, 2), 0),
    "sctp_shutdown_recd": ((6, 2), 0),
}

# Of tcp, as compiled in: whether it picks up connections that it has not seen begin, and whether it takes what is out of the window.
# Of each network namespace, as timeouts are.
SWITCHES: Dict[str, int] = {"tcp_loose": 1, "tcp_be_liberal": 0}

# From this release on, ticks that are more than an int holds are refused; earlier only those that are more than a long holds, and
# others come out as some other time. And from the next on, switches other than 0 and 1.
_TICKS_REFUSED = (4, 13)
_SWITCHES_REFUSED = (5, 2)

# Releases from which on there are no such timeouts.
GONE = (("dccp_", (6, 17)), ("udplite", (7, 2)))
# Before this release, timeouts of a protocol come with the module of its family, nf_conntrack_ipv4 or _ipv6.
FAMILIES_WITHIN = (4, 19)

# The source of a value that no file gives.
COMMAND_LINE = "kernel command line"

GIB = 1024**3
# Buckets at a load without hashsize: a pointer's worth to each so many bytes of memory.
BYTES_A_POINTER = 16384
# Expectations at a load: so many to each so many buckets.
EXPECTATIONS, BUCKETS_AN_EXPECTATION = 4, 256


class Defaults(NamedTuple):
    """What a load without hashsize makes since a release."""

    since: Tuple[int, int]
    least: int  # buckets
    large: int  # with more than 1 GiB of memory
    larger: int  # with more than 4 GiB, and pointers of 8 bytes
    larger_since: Tuple[int, int]
    each: int  # entries a bucket


RECENT = Defaults((5, 15), 1024, 65536, 262144, (0, 0), 1)
EARLIER = Defaults((0, 0), 32, 16384, 65536, (3, 19), 4)

_RELEASE = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")

_TIMEOUT_KEY = re.compile(r"(tcp|udp|udplite|icmp|icmpv6|generic|gre|sctp|dccp)_timeout(_[a-z_]+)?")


def timeout_name(key: str) -> Optional[str]:
    """The short name of a timeout's key without prefix: tcp_timeout_established -> tcp_established."""
    found = _TIMEOUT_KEY.fullmatch(key)
    return found.group(1) + (found.group(2) or "") if found else None


def timeout_key(name: str) -> str:
    """The way back: tcp_established -> tcp_timeout_established, udp -> udp_timeout."""
    protocol, _sep, state = name.partition("_")
    return protocol + "_timeout" + ("_" + state if state else "")


def is_switch(key: str) -> bool:
    return key.rpartition("conntrack_")[2] in SWITCHES


def longest_timeout(ticks: Optional[int]) -> int:
    """Seconds that a kernel with so many ticks a second takes for what they are; of one that is not known, those that each takes."""
    return LARGEST_LIMIT // (ticks or _MOST_TICKS)


class Bounds(NamedTuple):
    """What a kernel may take, of either sign, and refuses beyond."""

    timeout: int = LONGEST_TIMEOUT  # seconds
    switch: int = 1  # which is never below 0 then


def bounds(release: str, pointer: int, ticks: Optional[int]) -> Bounds:
    since = version(release)
    timeout = longest_timeout(ticks) if ticks else LONGEST_ANYWHERE
    if since < _TICKS_REFUSED and pointer == 8:
        timeout = (2**63 - 1) // (ticks or _FEWEST_TICKS)
    return Bounds(timeout, 1 if since >= _SWITCHES_REFUSED else LARGEST_LIMIT)


def sysctl_path(key: str) -> str:
    """The file of a dotted sysctl name; the names of connection tracking hold no other dots."""
    return "/proc/sys/" + key.replace(".", "/")


def pointer_bytes(machine: str) -> int:
    """Bytes in a pointer of a kernel by its architecture, as uname -m says it."""
    # armv8l is what a 64 bit kernel says to a 32 bit process.
    return 8 if "64" in machine or machine in ("s390x", "alpha", "armv8l") else 4


def rounded_buckets(buckets: int, page_size: int, pointer: int) -> int:
    """What a table asked for with so many buckets has: whole pages of pointers (nf_ct_alloc_hashtable)."""
    per_page = page_size // pointer
    return -(-buckets // per_page) * per_page


def largest_buckets(page_size: int, pointer: int) -> int:
    """The most that the kernel takes, in whole pages."""
    per_page = page_size // pointer
    return LARGEST_HASHSIZE // per_page * per_page


def version(release: str) -> Tuple[int, int]:
    """The first two numbers of a release; of one that has none, the newest there can be."""
    found = _RELEASE.match(release)
    return (int(found.group(1)), int(found.group(2))) if found else (999, 0)


def default_table(
    release: str, memory: int, page_size: int, pointer: int, live: Tuple[Optional[int], Optional[int]] = (None, None)
) -> Tuple[int, int]:
    """Buckets and limit after a load without hashsize (nf_conntrack_init_start): memory in bytes decides.

    Since 5.15 as many entries as buckets, before that four times as many. As distributions may have brought that to
    earlier kernels, live values that are either are believed more than the release.
    """
    recent, earlier = (_table(made, release, memory, page_size, pointer) for made in (RECENT, EARLIER))
    if live in (recent, earlier):
        return recent if live == recent else earlier
    return recent if version(release) >= RECENT.since else earlier


def _table(made: Defaults, release: str, memory: int, page_size: int, pointer: int) -> Tuple[int, int]:
    buckets = max(memory // BYTES_A_POINTER // pointer, made.least)
    if memory > 4 * GIB and pointer == 8 and version(release) >= made.larger_since:
        buckets = made.larger
    elif memory > GIB:
        buckets = made.large
    buckets = rounded_buckets(buckets, page_size, pointer)
    return buckets, made.each * buckets


def default_timeout(name: str, release: str, live: Optional[int] = None) -> Optional[int]:
    """Seconds as compiled in; None for a name that is not known. A live value that is one of an earlier or a later
    kernel is believed more than the release: both have been changed in stable kernels, too."""
    until, earlier = _EARLIER_TIMEOUTS.get(name, ((0, 0), TIMEOUTS.get(name)))
    if live in (earlier, TIMEOUTS.get(name)):
        return live
    return earlier if version(release) < until else TIMEOUTS.get(name)


def has_timeout(name: str, flavour: Flavour, release: str) -> bool:
    """Whether a kernel of this release has such a timeout once all its modules are loaded."""
    is_gone = any(name.startswith(start) and version(release) >= since for start, since in GONE)
    return name in TIMEOUTS and name not in flavour.lacks and not is_gone


def has_families_apart(release: str) -> bool:
    """Whether timeouts may still come after the module, with those of the families."""
    return version(release) < FAMILIES_WITHIN


def expect_max(buckets: int) -> int:
    """The most expectations at once after a load with so many buckets and no expect_hashsize (nf_conntrack_expect_init).

    An expectation is a connection that another one has announced, as FTP's and SIP's do.
    """
    return EXPECTATIONS * max(buckets // BUCKETS_AN_EXPECTATION, 1)


def object_bytes(flavour: Flavour, release: str, pointer: int) -> int:
    """What an object in the slab cache takes at most, by the kind of the kernel."""
    usual = next(size for since, size in OBJECT_BYTES if version(release) >= since)
    return max(flavour.object_bytes, OBJECT_BYTES_32 if pointer == 4 else usual)


def entry_bytes(of_object: int) -> int:
    """What one entry is to be reckoned with: its slab object and one block of extensions."""
    return of_object + EXTENSION_BYTES


def full_bytes(limit: int, buckets: int, entry: int, pointer: int) -> int:
    """What a table with as many entries as its limit takes, its buckets included."""
    return limit * entry + buckets * pointer
