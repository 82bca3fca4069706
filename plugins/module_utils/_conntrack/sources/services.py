# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall services of a host and what they do to the module, read from files alone."""

import posixpath
import re
from typing import Any, Dict, List, Optional

from ..files import FIREWALLD, IPTABLES
from ..host.door import Host
from .proc import shell_value

# Debian's and Red Hat's places of firewalld's Python package; a version of Python stands between.
_PYTHON_HOMES = ("/usr/lib", "/usr/lib64")
_VERSION = re.compile(r"""^VERSION\s*=\s*["']([0-9.]{1,20})""", re.M)
# systemd's helper that applies sysctl.d: merged /usr first, then the split one (Debian 11, Ubuntu 16.04).
_SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")


def services(host: Host) -> Dict[str, Any]:
    """Each service that is installed here; None for one that is not."""
    return {
        "firewalld": _firewalld(host),
        "iptables": _iptables(host),
        "nftables": _unit(host, "nftables", "/etc/nftables.conf", "/etc/sysconfig/nftables.conf"),
        "netfilter_persistent": _unit(host, "netfilter-persistent", "/etc/default/netfilter-persistent"),
        "ufw": _ufw(host),
        "systemd_sysctl": next((path for path in _SYSTEMD_SYSCTL if host.exists(path)), None),
    }


def _firewalld(host: Host) -> Optional[Dict[str, Any]]:
    if not host.exists(FIREWALLD):
        return None
    return {
        "version": _firewalld_version(host),
        "active": is_active(host, "firewalld"),
        "cleanup_modules_on_exit": shell_value(host.read(FIREWALLD), "CleanupModulesOnExit"),
    }


def _firewalld_version(host: Host) -> Optional[str]:
    for home in _PYTHON_HOMES:
        for python in host.list(home):
            if not python.startswith("python"):
                continue
            for packages in ("site-packages", "dist-packages"):
                text = host.read("/".join((home, python, packages, "firewall/config/__init__.py")))
                found = _VERSION.search(text or "")
                if found:
                    return found.group(1)
    return None


def _iptables(host: Host) -> Optional[Dict[str, Any]]:
    """Red Hat's iptables-services; Debian's netfilter-persistent neither unloads nor sets anything."""
    text = host.read(IPTABLES)
    if text is None:
        return None
    return {
        "active": is_active(host, "iptables"),
        "modules_unload": shell_value(text, "IPTABLES_MODULES_UNLOAD"),
        "sysctl_load_list": _words(shell_value(text, "IPTABLES_SYSCTL_LOAD_LIST")),
    }


def _unit(host: Host, name: str, *configurations: str) -> Optional[Dict[str, Any]]:
    if not any(host.exists(path) for path in configurations):
        return None
    return {"active": is_active(host, name)}


def _ufw(host: Host) -> Optional[Dict[str, Any]]:
    """Its unit is active from boot on even where ufw itself is disabled and does nothing."""
    text = host.read("/etc/ufw/ufw.conf")
    if text is None:
        return None
    return {"active": is_active(host, "ufw") and (shell_value(text, "ENABLED") or "").lower() == "yes"}


def is_active(host: Host, name: str) -> bool:
    """systemd keeps a link per active unit since 236; before, a service has a cgroup while it has processes;
    iptables-services, which has none, leaves a lock file as the init scripts did: where anybody may make one, it says nothing."""
    return any(
        host.exists(path) and not host.exposed(posixpath.dirname(path))
        for path in (
            "/run/systemd/units/invocation:{0}.service".format(name),
            "/sys/fs/cgroup/systemd/system.slice/{0}.service".format(name),
            "/var/lock/subsys/{0}".format(name),
        )
    )


def _words(text: Optional[str]) -> List[str]:
    return (text or "").split()
