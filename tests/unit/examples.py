# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: headroom.netfilter maintainers
"""Facts to plan from: a Debian 12 host with the module loaded, and changes to it."""

from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack import files
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.outcome.assignments import PARTS
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import make as plan
from ansible_collections.headroom.netfilter.plugins.module_utils._conntrack.plan import policy

MIB, GIB = 2**20, 2**30
# Seconds: what the kernel of the example has, udplite and sctp_established beyond what a profile sets.
TIMEOUTS = {
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
    "icmp": 30,
    "icmpv6": 30,
    "generic": 600,
    "udplite": 30,
    "sctp_established": 210,
}
NOTHING_WRITABLE = {"max": False, "buckets": False, "timeouts": False}
CONTAINER = {"kernel.init_netns": False, "kernel.container": "docker", "kernel.writable": NOTHING_WRITABLE}
NOT_ROOT = {"kernel.root": False, "kernel.writable": NOTHING_WRITABLE}
NOT_LOADED = {
    "state": "loadable",
    "table.max": None,
    "table.buckets": None,
    "table.expect_max": None,
    "table.count": None,
    "timeouts": {},
    "switches": {},
}
PAGES_64K = {"kernel.page_size": 65536}
POINTERS_32 = {"kernel.pointer_bytes": 4}


def facts(changes=()):
    """4 GiB, 4 KiB pages, 64 bit, 256 B an object: 392 B an entry with its bucket. ``changes`` by dotted names."""
    found = {
        "state": "loaded",
        "flavour": "nf_conntrack",
        "kernel": {
            "release": "6.1.0-37-amd64",
            "hz": 250,
            "page_size": 4096,
            "pointer_bytes": 8,
            "init_netns": True,
            "container": None,
            "python": "3.11.2",
            "root": True,
            "nat": False,
            "writable": {"max": True, "buckets": True, "timeouts": True},
        },
        "memory": {"total_bytes": 4 * GIB, "available_bytes": 3 * GIB},
        "cpus": 2,
        "history": {"last": None, "unfinished": None, "changes": [], "hold": None},
        "table": {
            "count": 100,
            "max": 8192,
            "buckets": 8192,
            "expect_max": 128,
            "usage": 0.0122,
            "chain": 0.0244,
            "entry_bytes": 384,
            "full_bytes": 3211264,
        },
        "timeouts": dict(TIMEOUTS),
        "switches": {"tcp_loose": 1, "tcp_be_liberal": 0},
        "counters": {"found": 0, "insert_failed": 0, "drop": 0, "early_drop": 0, "chain_too_long": 0},
        "unlisted": None,
        "services": {
            "firewalld": None,
            "iptables": None,
            "nftables": {"active": True},
            "netfilter_persistent": None,
            "ufw": None,
            "conntrackd": None,
            "systemd_sysctl": "/usr/lib/systemd/systemd-sysctl",
        },
        "files": {},
        "assignments": assignments(),
        "claims": [],
        "exposed": [],
        "unreadable": [],
        "untold": [],
        "left_out": {},
    }
    for name, value in dict(changes).items():
        *folders, last = name.split(".")
        into = found
        for folder in folders:
            into = into[folder]
        into[last] = value
    return found


def assignments(**parts):
    """What decides on a host on which nothing is said, but for ``parts``."""
    found = {part: [] for part in PARTS}
    found["aliases"] = ["net.nf_conntrack_max"]
    return dict(found, **parts)


def contents(made):
    """What the files of a plan say, in short."""
    rule = 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="{0} --prefix=/net/netfilter"\n'
    said = {
        files.SYSCTL: "".join("{0} = {1}\n".format(*item) for item in made.sysctl.items()),
        files.MODPROBE: "options nf_conntrack hashsize={0}\n".format(made.hashsize),
        files.MODULES_LOAD: "nf_conntrack\n",
        files.UDEV: rule.format(made.systemd_sysctl),
    }
    return {path: said[path] for path in made.files}


def policy_of(**fields):
    return policy.read({"conntrack_" + field: value for field, value in fields.items()})


def planned(changes=(), render=None, **fields):
    """The plan of the example with ``changes`` to its facts under a policy of ``fields``."""
    return plan.make(facts(changes), policy_of(**fields), render)


def with_files(changes=(), **fields):
    """The same with the files that it is to write."""
    return planned(changes, contents, **fields)
