# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall services of a host and what they do to the module, read from files alone, as they read them themselves."""

import posixpath
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, NamedTuple, Optional, Set, Tuple

from ..files import FIREWALLD, IPTABLES
from .proc import shell_value

if TYPE_CHECKING:
    from ..host.door import Host

# Debian's and Red Hat's places of firewalld's Python package; a version of Python stands between.
_PYTHON_HOMES = ("/usr/lib", "/usr/lib64")
_VERSION = re.compile(r"""^VERSION\s*=\s*["']([0-9.]{1,20})""", re.M)
# What it takes where its configuration does not say, which comes with the setting.
_FALLBACK = re.compile(r"^FALLBACK_CLEANUP_(MODULES_)?ON_EXIT\s*=\s*(True|False)\b", re.M)
_YES, _NO = ("yes", "true"), ("no", "false")
_CLEANS, _FLUSHES = "CleanupModulesOnExit", "CleanupOnExit"
# Of iptables-services: Enterprise Linux 7, then 5 and 6.
IPTABLES_SCRIPTS = ("/usr/libexec/iptables/iptables.init", "/etc/rc.d/init.d/iptables", "/etc/init.d/iptables")
_UNLOADS = "IPTABLES_MODULES_UNLOAD"
_SOURCES = re.compile(r"(^|[\s;&|])(\.|source)\s+\S*(IPTABLES_CONFIG|iptables-config)")
_UNITS = "/etc/systemd/system"
# systemd's helper that applies sysctl.d: merged /usr first, then the split one (Debian 11, Ubuntu 16.04).
_SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")


class Says(NamedTuple):
    """Whether a restart unloads the module, and the line that decides it."""

    unloads: bool
    value: Optional[str]  # what the configuration says, None where it does not
    line: Optional[int] = (
        None  # of the configuration; 0 for one that is not there, and would count at its end; None for none
    )
    text: str = ""


def unloading(host: "Host") -> Iterator[Tuple[str, Says]]:
    """By configuration, of the services that are here."""
    if host.exists(FIREWALLD):
        yield FIREWALLD, _firewalld_says(host)
    says = _iptables_says(host)
    if says:
        yield IPTABLES, says


def services(host: "Host") -> Dict[str, Any]:
    """Each service that is installed here; None for one that is not."""
    return {
        "firewalld": _firewalld(host),
        "iptables": _iptables(host),
        "nftables": _unit(host, "nftables", "/etc/nftables.conf", "/etc/sysconfig/nftables.conf"),
        "netfilter_persistent": _unit(host, "netfilter-persistent", "/etc/default/netfilter-persistent"),
        "ufw": _ufw(host),
        "systemd_sysctl": systemd_sysctl(host),
    }


def _firewalld(host: "Host") -> Optional[Dict[str, Any]]:
    if not host.exists(FIREWALLD):
        return None
    says = _firewalld_says(host)
    return {
        "version": _firewalld_version(_firewalld_program(host)),
        "active": is_active(host, "firewalld"),
        "cleanup_modules_on_exit": says.value,
        "unloads": says.unloads,
    }


def _firewalld_says(host: "Host") -> Says:
    """Before 1.0 it unloads whenever it takes its rules away, and has no such setting, but where a distribution gave it one: so a
    line is believed unless the program is seen to know none. A word that it does not know counts as none."""
    text, program = host.read(FIREWALLD) or "", _firewalld_program(host)
    fallbacks = {bool(modules): said == "True" for modules, said in _FALLBACK.findall(program)}
    is_known = True in fallbacks
    number, line, value = _firewalld_line(text, _CLEANS)
    if fallbacks and not is_known:
        number = None
    word = (value or "").lower() if number else ""
    if word in _YES + _NO:
        unloads = word in _YES
    elif is_known:
        unloads = fallbacks[True]
        number = number or (0 if unloads else None)
    else:
        flushes = (_firewalld_line(text, _FLUSHES)[2] or "").lower() not in _NO
        unloads = (_firewalld_version(program) or "").startswith("0.") and flushes
    return Says(unloads, value, number, line if number else "")


def _firewalld_line(text: str, name: str) -> Tuple[Optional[int], str, Optional[str]]:
    """The first line that it takes, with its number and value: firewall.core.io.firewalld_conf."""
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        pair = [part.strip() for part in line.split("=")]
        if len(pair) == 2 and pair[0] == name and pair[1]:
            return number, line, pair[1]
    return None, "", None


def _firewalld_version(program: str) -> Optional[str]:
    found = _VERSION.search(program)
    return found.group(1) if found else None


def _firewalld_program(host: "Host") -> str:
    """Its file of what it is and takes for granted."""
    for home in _PYTHON_HOMES:
        for python in host.list(home):
            if not python.startswith("python"):
                continue
            for packages in ("site-packages", "dist-packages"):
                text = host.read("/".join((home, python, packages, "firewall/config/__init__.py")))
                if text and _VERSION.search(text):
                    return text
    return ""


def _iptables(host: "Host") -> Optional[Dict[str, Any]]:
    """Red Hat's iptables-services; Debian's netfilter-persistent neither unloads nor sets anything."""
    says = _iptables_says(host)
    if says is None:
        return None
    return {
        "active": is_active(host, "iptables"),
        "modules_unload": says.value,
        "sysctl_load_list": (shell_value(host.read(IPTABLES), "IPTABLES_SYSCTL_LOAD_LIST") or "").split(),
        "unloads": says.unloads,
    }


def _iptables_says(host: "Host") -> Optional[Says]:
    """Its script takes yes alone for yes, and has a value of its own where the configuration says nothing; later ones, of Enterprise
    Linux 8 and on, unload nothing, and do not speak of it. Where there is none to be read, the configuration is believed."""
    text = host.read(IPTABLES)
    script = next(filter(None, map(host.read, IPTABLES_SCRIPTS)), None)
    speaks = script is None or re.search("^[^#\n]*" + _UNLOADS, script, re.M) is not None
    if text is None and (script is None or not speaks or host.exists(IPTABLES)):
        return None
    # Few hosts have it.
    from .. import sourced

    found = sourced.last(text, _UNLOADS)
    begins = _SOURCES.search(script or "")
    ruling = found or sourced.last((script or "")[: begins.start() if begins else None], _UNLOADS)
    unloads = speaks and ruling is not None and (ruling.value == "yes" or not ruling.is_plain)
    number: Optional[int] = None
    if speaks and found and found.is_alone:
        number = found.line
    elif unloads:
        number = 0
    line = (text or "").split("\n")[number - 1] if number else ""
    return Says(unloads, found.value if found else None, number, line)


def _unit(host: "Host", name: str, *configurations: str) -> Optional[Dict[str, Any]]:
    if not any(host.exists(path) for path in configurations):
        return None
    return {"active": is_active(host, name)}


def _ufw(host: "Host") -> Optional[Dict[str, Any]]:
    """Its unit is active from boot on even where ufw itself is disabled and does nothing."""
    text = host.read("/etc/ufw/ufw.conf")
    if text is None:
        return None
    return {"active": is_active(host, "ufw") and (shell_value(text, "ENABLED") or "").lower() == "yes"}


def systemd_sysctl(host: "Host") -> Optional[str]:
    return next((path for path in _SYSTEMD_SYSCTL if host.exists(path)), None)


def boots_systemd(host: "Host", helper: Optional[str]) -> bool:
    """Whether systemd is the init. Where no init is seen it is, if it can apply sysctl.d: by ``helper``."""
    if helper is None or host.exists("/run/systemd/system"):
        return helper is not None
    init = host.link("/sbin/init")
    return init.endswith("systemd") if init else not host.exists("/sbin/init")


def enabled_units(host: "Host") -> Set[str]:
    """The units that systemd starts at boot, as somebody here has it. By an alias one is wanted under another name than its file's."""
    folders = ["{0}/{1}".format(_UNITS, name) for name in host.list(_UNITS) if name.endswith((".wants", ".requires"))]
    links = ["{0}/{1}".format(folder, unit) for folder in folders for unit in host.list(folder)]
    return {(path or "").rpartition("/")[2] for link in links for path in (link, host.link(link))}


def is_active(host: "Host", name: str) -> bool:
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
