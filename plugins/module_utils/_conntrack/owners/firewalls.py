# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What firewalls made of shell scripts set at each of their starts, by the variables of their configuration.

Sources: files/sysctl.rules of APF a762533; setup_kernel_settings of arno-iptables-firewall 3a998b6 and Debian's 2.1.1-8; sbin/firehol
of FireHOL 4d68515 and Debian's 3.1.7.
"""

from typing import Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from .. import kernel
from ..host.door import Host
from ..sources.proc import shell_value
from .commands import Keys, plain_number
from .owner import Owner


class Firewall(NamedTuple):
    """One of them: its files are sourced in turn, those of a folder too."""

    files: Tuple[str, ...]
    variables: Dict[str, Tuple[str, str]]  # by name: the key it is for, and its value where no file has it
    off: Tuple[str, ...]  # the values that set nothing
    always: Dict[str, int]  # what it sets whatever its configuration says
    script: Optional[str] = None  # that has to name a variable or a key, for older ones set less
    grows: str = ""  # the variable that lets it raise the limit by itself


FIREWALLS = {
    "apf": Firewall(
        ("/etc/apf/conf.apf",),
        {"SYSCTL_CONNTRACK": ("max", "131072"), "SYSCTL_CONNTRACK_BUCKETS": ("hashsize", "")},
        (),
        {"tcp_timeout_established": 600, "tcp_timeout_time_wait": 90},
        "/etc/apf/sysctl.rules",
        "SYSCTL_CONNTRACK_ADAPTIVE",
    ),
    "arno-iptables-firewall": Firewall(
        ("/etc/arno-iptables-firewall/firewall.conf", "/etc/arno-iptables-firewall/conf.d/"),
        {"CONNTRACK": ("max", "")},
        ("0",),
        {"udp_timeout": 60, "acct": 1},
    ),
    "firehol": Firewall(
        ("/etc/firehol/firehol-defaults.conf", "/etc/firehol/firehol.conf"),
        {
            "FIREHOL_CONNTRACK_MAX": ("max", ""),
            "FIREHOL_CONNTRACK_HASHSIZE": ("hashsize", ""),
            "FIREHOL_CONNTRACK_LOOSE_MATCHING": ("tcp_loose", ""),
        },
        (),
        {},
    ),
}


def owners(host: Host, names: kernel.Flavour, name: str) -> Iterator[Owner]:
    """A finding for each variable, and one for what no variable changes."""
    firewall = FIREWALLS[name]
    script = host.read(firewall.script) or "" if firewall.script else None
    grows = _said(host, firewall, firewall.grows)[0] == "1"
    for variable, (key, silent) in firewall.variables.items():
        value, path = _said(host, firewall, variable)
        value = value or silent
        if not value or value in firewall.off or (script is not None and variable not in script):
            continue
        number = None if grows and key == "max" else plain_number(value)
        told = "{0}: {1}={2}".format(path, variable, value) if path else "{0} is not set".format(variable)
        yield _owner(name, names, {key: number}, told, "set {0} in {1}".format(variable, path or firewall.files[0]))
    always = {key: value for key, value in firewall.always.items() if script is None or key in script}
    if always:
        remedy = "take the lines out of {0}, or do without it".format(firewall.script or "its script")
        yield _owner(name, names, always, "whatever its configuration says", remedy)


def _owner(name: str, names: kernel.Flavour, keys: Mapping[str, Optional[int]], told: str, remedy: str) -> Owner:
    named: Keys = {key if key == "hashsize" else names.prefix + key: value for key, value in keys.items()}
    return Owner(name, named, "at each of its starts, " + told, None, None, None, True, remedy)


def _said(host: Host, firewall: Firewall, variable: str) -> Tuple[str, str]:
    """The last value of a variable and the file that has it; nothing where none has."""
    found = "", ""
    for path in firewall.files:
        within = [path + name for name in sorted(host.list(path[:-1])) if name.endswith(".conf")]
        for file in within if path.endswith("/") else [path]:
            value = shell_value(host.read(file), variable)
            found = found if value is None else (value, file)
    return found
