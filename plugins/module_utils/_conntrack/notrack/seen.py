# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is on a host of rules, addresses and connections: asked of nft, of iptables and of /proc."""

import ipaddress
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..host.door import Host
from . import iptables_listing, nft_listing
from .nftables import MARK, TABLE
from .obstacles import Connection, Seen, Service, Span
from .rules import Ruleset

_FOLDERS = ("/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/")
# Bytes and seconds. The rules of a host with 5,000 services of kube-proxy are 20 MB.
_LONGEST = 64 * 1024 * 1024
_LONGEST_RUN = 60.0
_NAMES = {4: ("iptables-save", "iptables-nft-save", "iptables-legacy-save")}
_NAMES[6] = tuple("ip6" + name[2:] for name in _NAMES[4])
_LEGACY = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
_VARIANT = "(nf_tables)"
# How far from here to the process that has the connection.
_MOST_ANCESTORS = 64


class Programs(NamedTuple):
    """What makes rules here; None for what is not there, or does not work."""

    nft: Optional[str]
    iptables: Dict[int, str]  # by version of IP


def programs(host: Host) -> Programs:
    nft = _found(host, "nft")
    if nft and host.run([nft, "list", "tables"], _LONGEST) is None:
        nft = None
    tables = {4: _found(host, "iptables"), 6: _found(host, "ip6tables")}
    return Programs(nft, {version: path for version, path in tables.items() if path})


def _found(host: Host, name: str) -> Optional[str]:
    return next((folder + name for folder in _FOLDERS if host.is_executable(folder + name)), None)


def seen(host: Host, found: Programs, ours: str = MARK) -> Seen:
    """Rules whose comment begins with ``ours`` are left out."""
    rules: Ruleset = {}
    untold: List[str] = []
    owned: List[str] = []
    foreign: List[str] = []
    if found.nft:
        listing = nft_listing.read(host.run([found.nft, "-j", "list", "ruleset"], _LONGEST, _LONGEST_RUN) or "", ours)
        if listing is None:
            untold.append("{0} -j list ruleset gives nothing that can be read".format(found.nft))
        else:
            rules.update(listing.rules)
            owned, foreign = listing.owned, listing.foreign
    for version in (4, 6):
        told = dict(_saved(host, version))
        if host.read(_LEGACY[version]) and not any(_VARIANT not in text for text in told.values()):
            untold.append(
                "{0} tells of tables, and no {1} is here to show them".format(_LEGACY[version], _NAMES[version][0])
            )
        for path, text in told.items():
            saved = iptables_listing.read(text, version, path[: -len("-save")], ours)
            if _VARIANT in text:
                # The same tables, told more fully.
                for table in {key[0].rpartition(" ")[2] for key in saved}:
                    name = "{0} {1}".format("ip" if version == 4 else "ip6", table)
                    foreign = [one for one in foreign if one != name]
                    rules = {key: chain for key, chain in rules.items() if key[0] != name}
            rules.update(saved)
    untold += [
        "table {0} has rules of iptables, and no iptables-save is here to show them".format(one) for one in foreign
    ]
    return Seen(
        {key: chain for key, chain in rules.items() if key[0] != TABLE},
        tuple(owned),
        tuple(untold),
        tuple(_addresses(host)),
        tuple(_forwarding(host)),
        _ephemeral(host),
        _connection(host),
        tuple(_services(host)),
    )


def _saved(host: Host, version: int) -> Iterator[Tuple[str, str]]:
    """What each kind of iptables tells, by its program; that of the most common name comes first."""
    kinds = set()
    for name in _NAMES[version]:
        path = _found(host, name)
        text = host.run([path], _LONGEST, _LONGEST_RUN) if path else None
        if path and text and (_VARIANT in text) not in kinds:
            kinds.add(_VARIANT in text)
            yield path, text


def _addresses(host: Host) -> Iterator[Span]:
    """Of this host; none where they are not told."""
    address = ""
    for line in (host.read("/proc/net/fib_trie") or "").split("\n"):
        found = re.search(r"\|-- ([0-9.]{7,15})$", line)
        if found:
            address = found.group(1)
        elif address and "/32 host LOCAL" in line:
            yield _span(address)
    for line in (host.read("/proc/net/if_inet6") or "").split("\n"):
        if re.match("[0-9a-f]{32} ", line):
            yield 6, int(line[:32], 16), int(line[:32], 16)


def _span(text: str) -> Span:
    address = ipaddress.ip_address(text)
    return address.version, int(address), int(address)


def _forwarding(host: Host) -> Iterator[int]:
    for version, path in ((4, "/proc/sys/net/ipv4/ip_forward"), (6, "/proc/sys/net/ipv6/conf/all/forwarding")):
        if (host.read(path) or "0").strip() != "0":
            yield version


def _ephemeral(host: Host) -> Tuple[int, int]:
    found = re.match(r"\s*([0-9]{1,5})\s+([0-9]{1,5})\s*$", host.read("/proc/sys/net/ipv4/ip_local_port_range") or "")
    return (int(found.group(1)), int(found.group(2))) if found else Seen._field_defaults["ephemeral"]


def _connection(host: Host) -> Optional[Connection]:
    """That of ssh by which this process was started: the nearest of its ancestors that was told of one."""
    process = "self"
    for _step in range(_MOST_ANCESTORS):
        environment = host.read("/proc/{0}/environ".format(process)) or ""
        found = re.search(
            r"(?:^|\0)SSH_CONNECTION=([0-9a-fA-F.:]+)(?:%\S+)? ([0-9]{1,5}) \S+ ([0-9]{1,5})(?:\0|$)", environment
        )
        if found:
            try:
                return Connection(str(ipaddress.ip_address(found.group(1))), int(found.group(2)), int(found.group(3)))
            except ValueError:
                return None
        parent = re.search(r"^PPid:\t([0-9]{1,10})$", host.read("/proc/{0}/status".format(process)) or "", re.M)
        if not parent or parent.group(1) in ("0", "1"):
            return None
        process = parent.group(1)
    return None


def _services(host: Host) -> Iterator[Service]:
    """Those of IPVS."""
    for line in (host.read("/proc/net/ip_vs") or "").split("\n"):
        found = re.match(r"(TCP|UDP|SCTP)\s+(\S+):([0-9A-F]{4}) ", line)
        if found:
            yield Service(found.group(1).lower(), int(found.group(3), 16), line.strip())
