# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose programs make rules on a host, and what rules there are: asked of nft and of every kind of iptables."""

from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..host.door import Host
from . import iptables, nft
from .rules import Ruleset

_FOLDERS = ("/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/")
# Bytes and seconds. The rules of a host with 5,000 services of kube-proxy are 20 MB.
_LONGEST = 64 * 1024 * 1024
_LONGEST_RUN = 60.0
_NAMES: Dict[int, Tuple[str, ...]] = {4: ("iptables-save", "iptables-nft-save", "iptables-legacy-save")}
_NAMES[6] = tuple("ip6" + name[2:] for name in _NAMES[4])
_LEGACY = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
_VARIANT = "(nf_tables)"


class Programs(NamedTuple):
    """What makes rules here; None for what is not there, or does not work."""

    nft: Optional[str]
    iptables: Dict[int, str]  # by version of IP


class Told(NamedTuple):
    """Rules, whoever has made them."""

    rules: Ruleset
    owned: List[str]  # tables that only their owner may change
    untold: List[str]  # what could not be read, in words


def programs(host: Host) -> Programs:
    nft = _found(host, "nft")
    if nft and host.run([nft, "list", "tables"], _LONGEST, _LONGEST_RUN) is None:
        nft = None
    tables = {4: _found(host, "iptables"), 6: _found(host, "ip6tables")}
    return Programs(nft, {version: path for version, path in tables.items() if path})


def _found(host: Host, name: str) -> Optional[str]:
    return next((folder + name for folder in _FOLDERS if host.is_executable(folder + name)), None)


def read(host: Host, found: Programs, ours: str = "") -> Told:
    """Rules whose comment begins with ``ours`` are left out."""
    rules: Ruleset = {}
    untold: List[str] = []
    owned: List[str] = []
    foreign: List[str] = []
    if found.nft:
        listing = nft.read(host.run([found.nft, "-j", "list", "ruleset"], _LONGEST, _LONGEST_RUN) or "", ours)
        if listing is None:
            untold.append("{0} -j list ruleset gives nothing that can be read".format(found.nft))
        else:
            rules.update(listing.rules)
            owned, foreign = listing.owned, listing.foreign
    for version in (4, 6):
        told = dict(_saved(host, version))
        if host.read(_LEGACY[version]) and all(_VARIANT in text for text in told.values()):
            untold.append(
                "{0} tells of tables, and no {1} is here to show them".format(_LEGACY[version], _NAMES[version][0])
            )
        for path, text in told.items():
            saved = iptables.read(text, version, path[: -len("-save")], ours)
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
    return Told(rules, owned, untold)


def _saved(host: Host, version: int) -> Iterator[Tuple[str, str]]:
    """What each kind of iptables tells, by its program; that of the most common name comes first."""
    kinds = set()
    for name in _NAMES[version]:
        path = _found(host, name)
        text = host.run([path], _LONGEST, _LONGEST_RUN) if path else None
        if path and text and (_VARIANT in text) not in kinds:
            kinds.add(_VARIANT in text)
            yield path, text
