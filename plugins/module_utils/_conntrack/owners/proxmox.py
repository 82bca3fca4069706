# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewalls of Proxmox VE set, again every few seconds: pve-firewall, or proxmox-firewall in its place.

Sources: update_nf_conntrack_max and what follows it, parse_hostfw_option and get_nftables_option in PVE/Firewall.pm (pve-firewall
6f1311f); handle_options in src/firewall.rs of proxmox-firewall (a752659).
"""

import re
from typing import Dict, Iterator, Optional, Tuple

from .. import kernel
from ..host.door import Host
from .owner import Owner, lines_of

_CLUSTER = "/etc/pve/firewall/cluster.fw"
_HOST = "/etc/pve/local/host.fw"
_NFTABLES = "/usr/libexec/proxmox/proxmox-firewall"
# Entries. pve-firewall takes no less, rounds more up to whole steps, and gives a quarter of them as buckets.
_LEAST, _STEP, _TO_A_BUCKET = 262144, 8192, 4
# Seconds, where host.fw is silent.
_ESTABLISHED, _SYN_RECV = 432000, 60

# Seconds.
_EVERY = {"pve-firewall": 10, "proxmox-firewall": 5}

_SECTION = re.compile(r"\[(\w+)[^]]*\]")
_OPTION = re.compile(
    r"(?i)(enable|nftables|nf_conntrack_max|nf_conntrack_tcp_timeout_(?:established|syn_recv)):\s*([0-9]{1,10})"
)

# By option its value and its line.
Options = Dict[str, Tuple[int, int]]


def owners(host: Host, names: kernel.Flavour, limit: Optional[int]) -> Iterator[Owner]:
    """``limit`` is the one in force."""
    # Any other number is a moment, after which it is off.
    if _options(host.read(_CLUSTER)).get("enable", (0, 0))[0] != 1:
        return
    options = _options(host.read(_HOST))
    if options.get("nftables", (0, 0))[0] and host.is_executable(_NFTABLES):
        yield from _nftables(options, names)
        return
    wanted, line = options.get("nf_conntrack_max", (0, 0))
    value = _LEAST if wanted <= _LEAST else -(-wanted // _STEP) * _STEP
    keys: Dict[str, Optional[int]] = {names.prefix + "max": value}
    if limit != value:
        # Only with the limit.
        keys["hashsize"] = value // _TO_A_BUCKET
    remedy = "set nf_conntrack_max in {0}, a multiple of {1} from {2} on".format(_HOST, _STEP, _LEAST)
    yield _owner("pve-firewall", keys, line, "nf_conntrack_max", remedy)
    for name, silent in (("tcp_timeout_established", _ESTABLISHED), ("tcp_timeout_syn_recv", _SYN_RECV)):
        value, line = options.get("nf_conntrack_" + name, (silent, 0))
        # It misspells its own name for what host.fw says of syn_recv, and then sets nothing.
        if not (line and name == "tcp_timeout_syn_recv"):
            remedy = "set nf_conntrack_{0} in {1}".format(name, _HOST)
            yield _owner("pve-firewall", {names.prefix + name: value}, line, "nf_conntrack_" + name, remedy)


def _nftables(options: Options, names: kernel.Flavour) -> Iterator[Owner]:
    """It sets what host.fw says, and nothing else."""
    for option, (value, line) in options.items():
        if option.startswith("nf_conntrack_"):
            keys: Dict[str, Optional[int]] = {names.prefix + option[len("nf_conntrack_") :]: value}
            yield _owner(
                "proxmox-firewall", keys, line, option, "change {0} in {1}, or take it out".format(option, _HOST)
            )


def _owner(name: str, keys: Dict[str, Optional[int]], line: int, option: str, remedy: str) -> Owner:
    said = "{0}:{1}: {2}".format(_HOST, line, option) if line else "{0} says nothing of {1}".format(_HOST, option)
    # No line of it to be commented out: without one it sets its own value.
    return Owner(name, keys, "every {0} s, {1}".format(_EVERY[name], said), None, None, None, True, remedy)


def _options(text: Optional[str]) -> Options:
    """Of the section [OPTIONS], the later of two."""
    found: Options = {}
    section = ""
    for number, line in lines_of(text):
        line = line.strip()
        head = _SECTION.match(line)
        section = head.group(1).lower() if head else section
        option = _OPTION.fullmatch(line)
        if option and section == "options":
            found[option.group(1).lower()] = int(option.group(2)), number
    return found
