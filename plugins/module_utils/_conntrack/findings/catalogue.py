# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a host: each kind with how bad it may be, why it matters and what to do. Data; docs/findings.md has a
paragraph for each id."""

from typing import Dict, NamedTuple, Tuple

from .. import kernel
from ..files import SYSCTL
from ..outcome.said import CRITICAL, INFO, WARNING

# Shares of the limit in use. node_exporter's mixin warns at 0.75; Netdata is critical at 0.95, from where on the
# kernel's garbage collector takes closing entries before their time (nf_conntrack_max95, gc_worker).
USAGE_WARNING = 0.75
USAGE_CRITICAL = 0.95
# Entries in an average chain, of which each entry stands in two. hashsize alone gives 16 with a full table.
CHAIN_WARNING = 2 * kernel.ENTRIES_PER_BUCKET_AT_LOAD
# At this average up to one new flow in 400 meets a chain longer than kernel.LONGEST_CHAIN (Poisson, two chains a flow).
CHAIN_CRITICAL = 32
# Share of memory that a full table may take: five times what the role gives it by default.
MEMORY_WARNING = 0.1
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
