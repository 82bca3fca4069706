# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is on a host of rules, addresses and connections, as far as it decides about flows."""

import ipaddress
import re
from typing import Iterator, Optional, Tuple

from ..entries.own import addresses
from ..host.door import Host
from ..ruleset.reading import Programs, read
from .nftables import MARK, TABLE
from .obstacles import Connection, Seen, Service, Span

# How far from here to the process that has the connection.
_MOST_ANCESTORS = 64


def seen(host: Host, found: Programs, ours: str = MARK) -> Seen:
    """Rules whose comment begins with ``ours`` are left out, and the table of ours."""
    told = read(host, found, ours)
    return Seen(
        {key: chain for key, chain in told.rules.items() if key[0] != TABLE},
        tuple(told.owned),
        tuple(told.untold),
        tuple(_addresses(host)),
        tuple(_forwarding(host)),
        _ephemeral(host),
        _connection(host),
        tuple(_services(host)),
    )


def _addresses(host: Host) -> Iterator[Span]:
    """Of this host; none where they are not told."""
    for address in map(ipaddress.ip_address, sorted(addresses(host) or (), key=lambda packed: (len(packed), packed))):
        yield address.version, int(address), int(address)


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
