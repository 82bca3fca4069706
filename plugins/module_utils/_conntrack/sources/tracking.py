# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connection tracking this kernel has, by what names it goes, and through what its buckets are read and written."""

import re
from typing import Optional, Tuple

from .. import kernel
from ..host.door import Host
from ..values import integer
from . import proc as table


def state_and_flavour(host: Host) -> Tuple[str, str]:
    """loaded, builtin, loadable or absent; and the names this kernel goes by."""
    for flavour in ("nf_conntrack", "ip_conntrack"):
        names = kernel.FLAVOURS[flavour]
        if host.exists("/sys/module/" + names.module) or host.exists(sysctl(names, "max")):
            is_module = names.module in table.modules(host.read("/proc/modules"))
            return ("loaded" if is_module else "builtin"), flavour
    running = release(host)
    for flavour, folder in (("nf_conntrack", "net/netfilter"), ("ip_conntrack", "net/ipv4/netfilter")):
        stored = host.list("/lib/modules/{0}/kernel/{1}".format(running, folder))
        if any(name.startswith(flavour + ".ko") for name in stored):
            return "loadable", flavour
    if "/nf_conntrack.ko" in (host.read("/lib/modules/{0}/modules.builtin".format(running)) or ""):
        return "builtin", "nf_conntrack"
    return "absent", "nf_conntrack"


def release(host: Host) -> str:
    """That of the kernel that runs; of a tree that runs nowhere, the newest that it has."""
    said = (host.read("/proc/sys/kernel/osrelease") or "").strip()
    if said:
        return said
    stored = [name for name in host.list("/lib/modules") if host.exists("/lib/modules/{0}/modules.dep".format(name))]
    return max(stored, key=lambda name: [int(number) for number in re.findall("[0-9]{1,9}", name)], default="")


def buckets_path(host: Host, names: kernel.Flavour) -> Optional[str]:
    """The file through which the number of buckets can be written now: the module's parameter on every kernel
    that lets it be written, the sysctl (4.8 and later) where /sys is read-only or absent."""
    for path in ("/sys/module/{0}/parameters/hashsize".format(names.module), sysctl(names, "buckets")):
        if host.writable(path):
            return path
    return None


def live_buckets(host: Host, names: kernel.Flavour) -> Optional[int]:
    """The parameter rather than the sysctl, which was stale after a resize on kernels before 2021."""
    parameter = host.read("/sys/module/{0}/parameters/hashsize".format(names.module))
    return integer(parameter) or integer(host.read(sysctl(names, "buckets")))


def sysctl(names: kernel.Flavour, key: str) -> str:
    return kernel.sysctl_path(names.prefix + key)
