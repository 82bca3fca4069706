# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a host: each kind with how bad it may be, why it matters and what to do. Data; docs/findings.md has a
paragraph for each id."""

from typing import Dict, NamedTuple, Tuple

from .. import kernel
from ..files import CONNTRACKD, SYSCTL
from ..outcome.said import CRITICAL, INFO, WARNING

# Shares of the limit in use. node_exporter's mixin warns at 0.75; Netdata is critical at 0.95, from where on the
# kernel's garbage collector takes closing entries before their time (nf_conntrack_max95, gc_worker).
USAGE_WARNING = 0.75
USAGE_CRITICAL = 0.95
# Entries in an average chain, of which each entry stands in two. hashsize alone gives 16 with a full table.
CHAIN_WARNING = 2 * kernel.ENTRIES_PER_BUCKET_AT_LOAD
# At this average up to one new flow in 400 meets a chain longer than kernel.LONGEST_CHAIN (Poisson, two chains a flow).
CHAIN_CRITICAL = 32
# Share of the entries counted that may stand in no list.
UNLISTED_WARNING = 0.01
# Share of memory that a full table may take: five times what the role gives it by default.
MEMORY_WARNING = 0.1
# Entries. With fewer than nine tenths of the 64512 ports that a translated address has for one destination and port (nf_nat_core.c),
# nearly every flow finds one.
PORTS_WARNING = 58000
# Flows since boot. A few of them are races of resolvers, on any host.
REFUSED_WARNING = 1000
# Packets since boot. Hosts see thousands of them in a quiet year.
INVALID_WARNING = 100000
# Seconds. Compiled in, five days.
ESTABLISHED_DEFAULT = kernel.TIMEOUTS["tcp_established"]
# How many of a kind a sentence names before it counts the others.
NAMED = 3


class Finding(NamedTuple):
    id: str
    severity: str
    seen: str
    why: str
    remedy: str


class Risk(NamedTuple):
    """What findings of one id have in common."""

    severities: Tuple[str, ...]
    why: str
    remedy: str


_TUNE = "ansible-playbook headroom.netfilter.tune"

RISKS: Dict[str, Risk] = {
    "table-nearly-full": Risk(
        (CRITICAL, WARNING),
        "At the limit each packet that would open a new flow is dropped; the flows that are there go on.",
        "See who fills it, and make room at once: ansible-playbook headroom.netfilter.relieve. Raise the limit for "
        "good with {0}: conntrack_expected_connections or conntrack_max.".format(_TUNE),
    ),
    "dropped-table-full": Risk(
        (CRITICAL, WARNING),
        "Each message stands for at least one new flow that was refused.",
        "Raise the limit with {0}: conntrack_expected_connections (the peak, not what is in use now) or "
        "conntrack_max; in another network namespace, look at what runs there first.".format(_TUNE),
    ),
    "dropped-chain-too-long": Risk(
        (CRITICAL, WARNING),
        "A new flow whose bucket holds more than {0} to 80 entries is refused without a word in the log, "
        "however empty the table is.".format(kernel.LONGEST_CHAIN),
        "Raise the buckets with {0}: conntrack_entries_per_bucket=1 or conntrack_hashsize.".format(_TUNE),
    ),
    "dropped-clash": Risk(
        (INFO,),
        "Two packets opened the same flow at once, as a resolver does that asks for A and AAAA from one port, and the "
        "second was lost; its sender tries again. A larger table does not help.",
        "Exempt that traffic from tracking (notrack), or make the resolver ask one after the other "
        "(options single-request in /etc/resolv.conf).",
    ),
    "ports-run-out": Risk(
        (WARNING,),
        "A flow whose translated address has no port left towards its destination is refused, however empty the table is, and a larger "
        "one does not help. Races of resolvers (dropped-clash) are counted with them: the destinations tell which it is.",
        "See which destination it is: headroom.netfilter.conntrack_census_info with group_by protocol+destination+destination_port; "
        "near 64512 entries of one are all the ports of one address. Give the translation more addresses (SNAT --to-source FIRST-LAST, "
        "snat to FIRST-LAST) or a wider range of ports, and let ports go sooner: conntrack_timeouts with a shorter tcp_time_wait, or "
        "a ct timeout policy for that destination alone.",
    ),
    "dropped-other": Risk(
        (WARNING, INFO),
        "The kernel counts here what a full table refused, and what helpers of protocols and clashes lost.",
        "Read the log as root (--become, gather_subset log), and compare conntrack -S from minute to minute.",
    ),
    "early-drop": Risk(
        (WARNING,),
        "The table was full: the kernel gave up flows that had seen no answer yet to make room for others.",
        "Raise the limit with {0}: conntrack_expected_connections or conntrack_max.".format(_TUNE),
    ),
    "counted-not-listed": Risk(
        (CRITICAL, WARNING),
        "They take room, and end by no timeout. A dying one waits until the event of its end is delivered to a process that "
        "asked for such events reliably and does not keep up, as conntrackd with NetlinkEventsReliable; an unconfirmed one for its "
        "packet, as in a queue (NFQUEUE) that nobody empties. What is in none of these lists has leaked: a fault of the kernel.",
        "Do not raise the limit for them: they fill that as well. Find who listens (ss --netlink, /proc/net/netlink: a socket of "
        "protocol 12 whose Rmem stays high) and let it keep up, filter events, or do without reliable ones; see to the queues in "
        "/proc/net/netfilter/nfnetlink_queue. What has leaked is freed by a boot: update the kernel.",
    ),
    "counters-untold": Risk(
        (INFO,),
        "What was dropped, and why, is counted there. Messages of a full table in the log are the only sign without it.",
        "As root, load the module that tells it: modprobe nf_conntrack_netlink, and for good a line of that name in "
        "/etc/modules-load.d.",
    ),
    "cloud-allowance": Risk(
        (CRITICAL, WARNING),
        "The security groups of an EC2 instance track connections, too, in the network card and up to a number that goes with the "
        "type of the instance. What is beyond it is dropped there: no sysctl, no larger table and no notrack of this host helps.",
        "Let fewer be tracked there: flows that a rule of the security group lets pass for all addresses (0.0.0.0/0 or ::/0), and their "
        "answers for all addresses and ports, are not; a shorter idle timeout of the interface (TcpEstablishedTimeout) lets the others "
        "end sooner. Else take a larger instance.",
    ),
    "lost-at-reload": Risk(
        (CRITICAL, WARNING),
        "A load of the module starts from what is persisted. A firewall that restarts may unload it, and so may an update.",
        "Persist the values with {0}.".format(_TUNE),
    ),
    "lost-at-boot": Risk(
        (CRITICAL, WARNING),
        "The next boot starts from what is persisted.",
        "Persist the values with {0}.".format(_TUNE),
    ),
    "overridden": Risk(
        (CRITICAL, WARNING),
        "These lines win over the role's own files, at each boot or at each load of the module.",
        "Remove them, or let {0} comment them out: conntrack_takeover=true.".format(_TUNE),
    ),
    "owners-disagree": Risk(
        (CRITICAL, WARNING),
        "Whoever writes last wins, until the other one starts again.",
        "Let one set it: change the others' own configuration to the same value or to none, or comment their lines out "
        "with {0} and conntrack_takeover=true.".format(_TUNE),
    ),
    "established-five-days": Risk(
        (WARNING, INFO),
        "A connection whose peer vanished keeps its entry for five days, so that the table fills with what is no more.",
        "Choose a profile with {0}: conntrack_timeout_profile=server. Entries that are there keep the old timeout until "
        "their next packet.".format(_TUNE),
    ),
    "picked-up-midstream": Risk(
        (INFO,),
        "tcp_loose lets packets of connections that were not seen to begin make entries: a flood of forged ones fills the table, which the "
        "firewall here, which drops INVALID, would otherwise keep off it.",
        "Look for ESTABLISHED entries without a reply: conntrack -L -p tcp --state ESTABLISHED | grep UNREPLIED. Where packets of a connection "
        "come by one way only, and the table is not lost while it lasts: conntrack_tcp_loose=false.",
    ),
    "cut-at-reload": Risk(
        (WARNING,),
        "With tcp_loose 0 no connection is picked up again after the table was lost: all that last are INVALID from then on, and are cut "
        "where that is dropped.",
        "Keep the firewall from unloading the module (conntrack_firewall=true with {0}), or set conntrack_tcp_loose=true.".format(
            _TUNE
        ),
    ),
    "invalid-dropped": Risk(
        (INFO,),
        "What is out of a connection's window, or whose other direction goes by another way, is INVALID, and the firewall here drops it: "
        "connections stall that nothing else would stop.",
        "Look at who is meant: net.netfilter.nf_conntrack_log_invalid=6 for a minute. Where routes differ by direction, or a load balancer's "
        "hosts answer for themselves: conntrack_tcp_be_liberal=true.",
    ),
    "conntrackd-keeps-less": Risk(
        (WARNING,),
        "conntrackd hands on no more entries than that: the other node does not know the rest, and cuts them when it takes over.",
        "In {0} set HashLimit to twice the limit and HashSize to half of it, and restart conntrackd.".format(
            CONNTRACKD
        ),
    ),
    "below-rfc-floors": Risk(
        (WARNING,),
        "This host translates addresses for others: a flow that is forgotten too soon is cut, or its port given to another.",
        "Choose with {0}: conntrack_timeout_profile=gateway or conntrack_rfc_floors=enforce.".format(_TUNE),
    ),
    "chains-long": Risk(
        (CRITICAL, WARNING),
        "Each packet is looked up along a chain, and since kernel 5.15 a chain of more than {0} to 80 entries refuses new "
        "flows. A limit that is raised alone leaves the buckets as they are.".format(kernel.LONGEST_CHAIN),
        "Raise the buckets with {0}: conntrack_entries_per_bucket=1 or conntrack_hashsize.".format(_TUNE),
    ),
    "memory-unsafe": Risk(
        (WARNING,),
        "The kernel does not give this memory back under pressure: a flood of flows takes it from everything else.",
        "Lower the limit with {0}: conntrack_max and conntrack_shrink=true.".format(_TUNE),
    ),
    "modprobe-broken": Risk(
        (CRITICAL,),
        "With such a line the module cannot be loaded, and no firewall rule that needs it either.",
        "Mend the line; modprobe --show-depends nf_conntrack shows what the kernel is handed.",
    ),
    "persistence-broken": Risk(
        (WARNING,),
        "What is persisted there does not come into force.",
        "Mend it, or write the role's own files anew with {0}.".format(_TUNE),
    ),
    "modprobe-odd": Risk(
        (INFO,),
        "The kernel takes it, for another value than it looks to people.",
        "Write a plain decimal number.",
    ),
    "modprobe-useless": Risk(
        (INFO,),
        "The kernel has connection tracking built in and never reads modprobe.d for it.",
        "Remove it; {0} persists the buckets as net.netfilter.nf_conntrack_buckets instead.".format(_TUNE),
    ),
    "ramdisk-behind": Risk(
        (WARNING,),
        "The module is loaded before the root file system is there, with the copies of modprobe.d that the initial RAM disk was made with.",
        "Run the command that is named, or let {0} do so: conntrack_initramfs=true.".format(_TUNE),
    ),
    "namespace-dropping": Risk(
        (CRITICAL, WARNING),
        "The limit is one for all, but each network namespace is counted on its own: the host's count says nothing of these.",
        "Raise the limit on the host with {0}: conntrack_max; look at what opens flows there with "
        "nsenter --net=/proc/PID/ns/net conntrack -L.".format(_TUNE),
    ),
    "namespace-timeouts": Risk(
        (INFO,),
        "A new network namespace starts with what is compiled into the kernel, whatever the host has.",
        "Set them where the namespace is made, as with docker run --sysctl, or the sysctls of a pod.",
    ),
    "limit-out-of-reach": Risk(
        (CRITICAL, WARNING),
        "Only the first network namespace of the host may write the limit and the buckets.",
        "Run {0} on the host that this container runs on.".format(_TUNE),
    ),
    "not-loaded": Risk(
        (INFO,),
        "The first firewall rule that needs it loads the module, with what the kernel thinks of the memory.",
        "Persist the values beforehand with {0}.".format(_TUNE),
    ),
    "writable-by-others": Risk(
        (CRITICAL,),
        "Who can write such a file decides what the kernel has after the next boot or load, and may run commands as root.",
        "Make the file and the folders above it root's, and writable by nobody else: chown root, chmod go-w.",
    ),
    "claim-ignored": Risk(
        (INFO,),
        "What is not root's doing on this host sets nothing, and moves no number of a plan.",
        "Look at who does it, and why. A genuine owner runs as root, in the host's own namespaces, from files that are root's.",
    ),
    "tree": Risk(
        (INFO,),
        "A tree does not hold it, and nothing is guessed from the machine that reads it. Nothing is lowered meanwhile.",
        "Audit the host itself, where it runs.",
    ),
    "untold": Risk(
        (INFO,),
        "The time for what is not root's has a bound, so that nobody can hold a run up. Nothing is lowered meanwhile.",
        "Give it more with budget_seconds of headroom.netfilter.conntrack_facts, or look at what so many processes are for.",
    ),
    "unreadable": Risk(
        (INFO,),
        "What they say could not be judged.",
        "Run with --become, if that was not done: root reads all but what a container keeps from it.",
    ),
}


# Of values that are lost though the role's own files say them.
APPLIED_BY_NOTHING = (
    "The role's files say it already, and nothing here applies them then: call sysctl -p {0} wherever the module is loaded, "
    "and keep firewalls from unloading it (conntrack_firewall=true).".format(SYSCTL)
)


def finding(name: str, severity: str, seen: str, remedy: str = "") -> Finding:
    return Finding(name, severity, seen, RISKS[name].why, remedy or RISKS[name].remedy)
