# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who needs connection tracking on a host: rules in force in any network namespace, services, rules that services load, modules
that something holds."""

import posixpath
import re
from itertools import zip_longest
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from ..host.writing import WritableHost
from ..shown import short
from ..sources.namespaces import others
from ..sources.proc import shell_value
from ..sources.services import enabled_units, is_active
from ..sources.tracking import release
from . import rules
from .order import Module

# Of each kind so many are told.
MOST = 50
# Bytes of a ruleset. Kubernetes' have some MB.
_LONGEST = 16 * 1024 * 1024
_SECONDS = 20.0

RULE, SERVICE, FILE, MODULE, UNTOLD = "rule", "service", "file", "module", "untold"


class Need(NamedTuple):
    """Who needs it, and what to do about that."""

    kind: str
    where: str
    text: str
    remedy: str


# By the name of a service, what else is known of it: processes, by the name that the kernel has.
_SERVICES: Dict[str, Tuple[str, ...]] = {
    "docker": ("dockerd",),
    "podman": ("conmon", "netavark", "aardvark-dns"),
    "kube-proxy": ("kube-proxy",),
    "k3s": ("k3s-server", "k3s-agent"),
    "libvirtd": ("libvirtd",),
    "virtnetworkd": ("virtnetworkd",),
    "firewalld": ("firewalld",),
    "openvswitch-switch": ("ovs-vswitchd",),
    "lxc-net": (),
    "lxd": ("lxd",),
    "incus": ("incusd",),
    "shorewall": (),
}
_UFW = "/etc/ufw/ufw.conf"
# What a service loads at each of its starts: its name, its files, how they are read.
_LOADED = (
    ("nftables", "/etc/nftables.conf", rules.of_nft),
    ("nftables", "/etc/sysconfig/nftables.conf", rules.of_nft),
    ("netfilter-persistent", "/etc/iptables/rules.v4", rules.of_iptables),
    ("netfilter-persistent", "/etc/iptables/rules.v6", rules.of_iptables),
    ("iptables", "/etc/sysconfig/iptables", rules.of_iptables),
    ("ip6tables", "/etc/sysconfig/ip6tables", rules.of_iptables),
)
_FOLDERS = (("nftables", "/etc/nftables.d"), ("nftables", "/etc/nftables"))
_SAVES = tuple(
    tuple(
        "{0}/{1}{2}-save".format(folder, name, kind)
        for folder in ("/usr/sbin", "/sbin", "/usr/bin")
        for kind in ("-legacy", "")
    )
    for name in ("iptables", "ip6tables")
)
_NFT = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
_NAMES = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")
# Of netfilter itself: they go with the rules, and come with them. Any other module that stands on conntrack is a program's, which
# may lose all that it does when it is unloaded, as Open vSwitch does.
_OF_RULES = re.compile(
    r"(ip|nf)_(conntrack|nat)(_.*)?|nf_(conncount|synproxy_core)|nft_(?!flow_offload).*|(xt|ip6?t|ebt)_.*|ip6?table_.*|nfnetlink_ct.*"
    r"|nfnetlink_queue|nf_flow_table(_.*)?|br_netfilter"
)


def needs(host: WritableHost, stack: Sequence[Module], is_builtin: bool) -> List[Need]:
    """``stack`` are the modules that are loaded."""
    started = _started(host)
    found = list(_services(host, started)) + list(_files(host, started))
    if stack or is_builtin:
        rules_found = _rules(host)
        # What holds a module is told by them, as far as there are any.
        found += rules_found + list(_modules(stack, is_told=bool(rules_found)))
    return list(_told(found))


def _told(found: Sequence[Need]) -> Iterator[Need]:
    """Of each kind the first of each place before the second of any; and how many are left out."""
    placed: Dict[Tuple[str, str], List[Need]] = {}
    for need in found:
        placed.setdefault((need.kind, need.where), []).append(need)
    for kind in (RULE, SERVICE, FILE, MODULE, UNTOLD):
        rows = [needs for (one, _where), needs in placed.items() if one == kind]
        ranked = [need for row in zip_longest(*rows) for need in row if need]
        for need in ranked[:MOST]:
            yield Need(*map(short, need))
        if len(ranked) > MOST:
            yield Need(kind, "elsewhere", "{0} more".format(len(ranked) - MOST), "see to these first, and run again")


def _services(host: WritableHost, started: Set[str]) -> Iterator[Need]:
    running = set()
    for number in host.by_user()[0]:
        running.add((host.read("/proc/{0}/comm".format(number)) or "").strip())
    for name, processes in _SERVICES.items():
        there = sorted(running & set(processes))
        if is_active(host, name) or there:
            said = "process {0}".format(there[0]) if there else "active"
            yield Need(SERVICE, name, said, "stop and disable it, if the host can do without")
        elif name in started:
            yield Need(SERVICE, name, "enabled: the next boot starts it", "disable it, if the host can do without")
    if (shell_value(host.read(_UFW), "ENABLED") or "").lower() == "yes":
        yield Need(SERVICE, "ufw", "{0}: ENABLED=yes".format(_UFW), "ufw disable, if the host can do without")


def _started(host: WritableHost) -> Set[str]:
    """The services that a boot starts: systemd's, OpenRC's of any runlevel, and those of System V's init."""
    runlevels = [posixpath.join("/etc/runlevels", name) for name in host.list("/etc/runlevels")]
    units = {unit[: -len(".service")] for unit in enabled_units(host) if unit.endswith(".service")}
    scripts = {link[3:] for link in host.list("/etc/rc2.d") if link[:1] == "S"}
    return units.union(scripts, *(host.list(folder) for folder in runlevels))


def _files(host: WritableHost, started: Set[str]) -> Iterator[Need]:
    loaded = list(_LOADED)
    for name, folder in _FOLDERS:
        loaded += [
            (name, posixpath.join(folder, file), rules.of_nft) for file in host.list(folder) if file.endswith(".nft")
        ]
    for name, path, read in loaded:
        if not (name in started or is_active(host, name)):
            continue
        for rule in read(host.read(path)):
            remedy = "take the rule out, or disable {0}: without conntrack it could load none of its rules".format(name)
            yield Need(FILE, "{0}, {1}".format(path, rule.where), rule.text, remedy)


def _rules(host: WritableHost) -> List[Need]:
    """Of this network namespace and of all others."""
    found = [Need(*said) for said in _here(host)]
    doors = others(host)
    told = host.inside(sorted(doors), lambda: _here(host), _SECONDS + len(doors))
    for path, name in sorted(doors.items()):
        where = "network namespace {0}: ".format(name)
        if path in told:
            found += [Need(kind, where + at, text, remedy) for kind, at, text, remedy in told[path]]
        elif host.link(path) or host.namespace(path):
            found.append(Need(UNTOLD, where + path, "it cannot be entered", "run as root of the host"))
    return found


def _here(host: WritableHost) -> List[List[str]]:
    found: List[List[str]] = []
    nft = next((path for path in _NFT if host.is_executable(path)), None)
    if nft and _has_tables(host):
        text = host.run([nft, "list", "ruleset"], _LONGEST, _SECONDS)
        if text is None:
            found.append([UNTOLD, "nftables", "{0} list ruleset fails".format(nft), "see why, and run again"])
        for rule in rules.of_nft(text):
            found.append([RULE, "nftables, " + rule.where, rule.text, "remove it, if the host can do without"])
    for programs, names in zip(_SAVES, _NAMES):
        tables = (host.read(names) or "").split()
        if not tables:
            continue
        program = next((path for path in programs if host.is_executable(path)), None)
        text = host.run([program], _LONGEST, _SECONDS) if program else None
        if text is None:
            said = "there are tables {0}, and no {1} to list them".format(
                ", ".join(tables), posixpath.basename(programs[-1])
            )
            found.append([UNTOLD, "iptables", said, "install iptables, and run again"])
        kind = "iptables" if programs == _SAVES[0] else "ip6tables"
        for rule in rules.of_iptables(text):
            found.append(
                [RULE, "{0}, {1}".format(kind, rule.where), rule.text, "remove it, if the host can do without"]
            )
    return found


def _has_tables(host: WritableHost) -> bool:
    """Whether there may be rules of nftables. A question to the kernel would have it load what it has not."""
    builtin = host.read("/lib/modules/{0}/modules.builtin".format(release(host)))
    return host.exists("/sys/module/nf_tables") or builtin is None or "/nf_tables.ko" in builtin


def _modules(stack: Sequence[Module], is_told: bool) -> Iterator[Need]:
    for module in stack:
        if not _OF_RULES.fullmatch(module.name):
            yield Need(MODULE, module.name, "it stands on conntrack", "stop what uses it, and unload it: modprobe -r")
        elif module.uses > 0 and not is_told:
            said = "held {0} times by others than modules".format(module.uses)
            yield Need(MODULE, module.name, said, "remove the rules or stop the program that holds it")
