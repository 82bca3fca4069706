# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else writes the keys of connection tracking on a host, with evidence, read from files alone.

What each of them reads and does, and where that is from, stands in docs/owners.md. What is not root's doing is a claim: it is
told of and sets nothing. What a file says that others than root may write, and that is applied all the same, counts, for it is
what will be; Host.exposed tells of the file.
"""

import re
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from .. import kernel
from ..files import IPTABLES, SYSCTL
from ..host.door import Host
from ..sources.proc import shell_value
from ..sources.services import IPTABLES_SCRIPTS, boots_systemd, enabled_units, is_active, systemd_sysctl
from ..sources.tracking import sysctl
from ..values import integer
from .owner import Claim, Owner, lines_of, of_line, sysctl_lines

if TYPE_CHECKING:
    from ..sources.udev import Sysctl

Keys = Dict[str, Optional[int]]

# Processes asked for their name, and files read as scripts.
MOST_PROCESSES = 20000
MOST_SCRIPTS = 200

_UNITS = "/etc/systemd/system"

# What editors and package managers leave behind, and what cron, run-parts and NetworkManager pass over.
_LEFTOVER = re.compile(r".*(~|\.(bak|orig|swp|disabled|rpm\w+|dpkg-\w+|cfsaved))")


def owners(host: Host, names: kernel.Flavour, cpus: Optional[int]) -> Tuple[List[Owner], List[Claim]]:
    """Everyone found; each finding is of one line of a file, or of one process. And who only pretends."""
    enabled = enabled_units(host)
    claims: List[Claim] = []
    roots, others = host.by_user()
    has_tuned = is_active(host, "tuned") or "tuned.service" in enabled
    if len(roots) > MOST_PROCESSES:
        host.untold.append("{0} processes of root: whether one sets keys".format(len(roots) - MOST_PROCESSES))
    running = list(_processes(host, names, cpus, roots[:MOST_PROCESSES], claims, has_tuned))
    found = [
        *running,
        *_rancher(host, names, cpus, enabled, running),
        *(_tuned(host, names) if has_tuned else ()),
        *_proxmox(host, names, enabled),
        *_ufw(host, names),
        *_firewalls(host, names, enabled),
        *_iptables(host, names, enabled),
        *_scripts(host, names, enabled, claims),
        *_tmpfiles(host, names),
    ]
    # After all that is root's: it takes nothing of their time.
    _pretenders(host, others, claims)
    return found, claims


# By the name of the process: kube-proxy, alone or within others, and a tuned that no unit starts.
_PROCESSES = {
    "kube-proxy": "kube-proxy",
    "hyperkube": "kube-proxy",
    "kubelite": "microk8s",
    "k3s-server": "k3s",
    "k3s-agent": "k3s",
    "rke2": "rke2",
    "tuned": "tuned",
}
_RANCHER = ("k3s", "rke2")


def _processes(
    host: Host, names: kernel.Flavour, cpus: Optional[int], pids: Sequence[int], claims: List[Claim], has_tuned: bool
) -> Iterator[Owner]:
    for pid in pids:
        command = _command(host, pid)
        name = _PROCESSES.get(command)
        # The host's own tuned is told of by its files.
        if name is None or (name == "tuned" and has_tuned) or _elsewhere(host, pid):
            continue
        # Asked again afterwards: the number may be another's by then.
        doubt = host.doubt(pid) or (None if _command(host, pid) == command else "it has ended")
        if doubt:
            claims.append(_claim(pid, command, host.user(pid), doubt))
        else:
            yield from _of_process(host, names, cpus, pid, command, name)


def _of_process(
    host: Host, names: kernel.Flavour, cpus: Optional[int], pid: int, command: str, name: str
) -> Iterable[Owner]:
    # Few hosts have one: the others need not load it.
    if name == "tuned":
        from . import tuned

        return tuned.of_process(host, names, pid)
    from . import kube_proxy, rancher

    if name in _RANCHER:
        found = rancher.of_process(host, names, cpus, pid, command)
    else:
        found = kube_proxy.owner(host, names, cpus, pid, command, name)
    return [found] if found else []


def _rancher(
    host: Host, names: kernel.Flavour, cpus: Optional[int], enabled: Set[str], running: Sequence[Owner]
) -> Iterable[Owner]:
    """What does not run now, and what no process of a tree tells of."""
    seen = any(owner.name in _RANCHER for owner in running)
    if seen or not any(unit.startswith(_RANCHER) for unit in enabled):
        return ()
    # The same.
    from . import rancher

    return rancher.of_units(host, names, cpus, enabled)


def _command(host: Host, pid: int) -> str:
    return (host.read("/proc/{0}/comm".format(pid)) or "").strip()


def _elsewhere(host: Host, pid: int) -> bool:
    """Whether a process is in a network namespace that is not this one, as in a cluster made of containers."""
    own, its = host.link("/proc/self/ns/net"), host.link("/proc/{0}/ns/net".format(pid))
    return own is not None and its is not None and own != its


def _pretenders(host: Host, others: Sequence[int], claims: List[Claim]) -> None:
    left_out = "{0} processes of others than root: whether one pretends to set keys of connection tracking"
    for pid in host.unhurried(others, left_out):
        command = _command(host, pid)
        if command in _PROCESSES:
            claims.append(_claim(pid, command, host.user(pid), "it is not root's"))


def _claim(pid: int, command: str, user: Optional[int], why: str) -> Claim:
    return Claim("process {0}: {1}".format(pid, command), "user {0}".format(user) if user else "root", why)


def _tuned(host: Host, names: kernel.Flavour) -> Iterable[Owner]:
    # The same.
    from . import tuned

    return tuned.owners(host, names)


def _proxmox(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterable[Owner]:
    if not any(is_active(host, name) or name + ".service" in enabled for name in ("pve-firewall", "proxmox-firewall")):
        return ()
    # The same.
    from . import proxmox

    return proxmox.owners(host, names, integer(host.read(sysctl(names, "max"))))


# Firewalls that apply a file of sysctls when they start.


def _ufw(host: Host, names: kernel.Flavour) -> Iterator[Owner]:
    if (shell_value(host.read("/etc/ufw/ufw.conf"), "ENABLED") or "").lower() != "yes":
        return
    defaults = host.read("/etc/default/ufw")
    path = "/etc/ufw/sysctl.conf" if defaults is None else shell_value(defaults, "IPT_SYSCTL")
    for key, (number, line, value) in sysctl_lines(host.read(path) if path else None, names):
        remedy = "set it in {0}, which ufw applies at each of its starts".format(path)
        yield of_line("ufw", {key: value}, str(path), number, line, True, remedy)


# By unit: a file of each of the firewalls that are scripts.
_FIREWALLS = {
    "apf": "/etc/apf/conf.apf",
    "arno-iptables-firewall": "/etc/arno-iptables-firewall/firewall.conf",
    "firehol": "/etc/firehol/firehol.conf",
}


def _firewalls(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterator[Owner]:
    for name, path in _FIREWALLS.items():
        if host.exists(path) and (is_active(host, name) or name + ".service" in enabled):
            # Few hosts have one.
            from . import firewalls

            yield from firewalls.owners(host, names, name)


def _iptables(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterator[Owner]:
    """Red Hat's iptables-services: applies the lines of /etc/sysctl.conf, or of sysctl.d where its script says so, that
    hold a word of its list."""
    words = (shell_value(host.read(IPTABLES), "IPTABLES_SYSCTL_LOAD_LIST") or "").split()
    if not words or not (is_active(host, "iptables") or "iptables.service" in enabled):
        return
    paths = ["/etc/sysctl.conf"]
    if any("/etc/sysctl.d/" in (host.read(script) or "") for script in IPTABLES_SCRIPTS):
        paths = ["/etc/sysctl.d/" + name for name in host.list("/etc/sysctl.d")]
    for path in paths:
        for key, (number, line, value) in sysctl_lines(host.read(path), names):
            if path != SYSCTL and any(word in line for word in words):
                remedy = "set it in {0}, which IPTABLES_SYSCTL_LOAD_LIST in {1} names".format(path, IPTABLES)
                yield of_line("iptables", {key: value}, path, number, line, True, remedy)


# Scripts, cron and units.


def _scripts(host: Host, names: kernel.Flavour, enabled: Set[str], claims: List[Claim]) -> Iterator[Owner]:
    for name, path, at_boot, said in islice(_places(host, enabled), MOST_SCRIPTS):
        text = host.read(path) or ""
        if "conntrack" not in text and "sysctl" not in text:
            continue
        refused = _refused(host, path)
        if refused:
            claims.append(Claim(path, refused, "{0} refuses a file that others than root may write".format(name)))
            continue
        from .commands import assignments

        remedy = "take the line out of {0}".format(path)
        for number, line in lines_of(text):
            if said is not None and not said(line):
                continue
            keys = assignments(line, names) if "conntrack" in line else {}
            if keys:
                yield of_line(name, keys, path, number, line, at_boot, remedy)
            if "sysctl" in line:
                for call, keys in _applied(host, line, names, said is not _EXEC or _SHELL(line) is not None):
                    yield of_line(name, keys, path, number, line, at_boot, remedy)._replace(call=call)


# Of files of one name the first counts.
_TMPFILES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d")


def _tmpfiles(host: Host, names: kernel.Flavour) -> Iterator[Owner]:
    by_name = {path.rpartition("/")[2]: path for folder in reversed(_TMPFILES) for path in _files(host, folder)}
    for name, path in sorted(by_name.items())[:MOST_SCRIPTS]:
        text = (host.read(path) or "") if name.endswith(".conf") else ""
        if "conntrack" not in text:
            continue
        # Few hosts have such a line.
        from .tmpfiles import written

        for number, line, keys in written(text, names):
            yield of_line("systemd-tmpfiles", keys, path, number, line, True, "take the line out of {0}".format(path))


def _applied(host: Host, line: str, names: kernel.Flavour, in_shell: bool) -> Iterator[Tuple["Sysctl", Keys]]:
    """The calls of a line that apply files, and what those say now of these keys, if anything. A shell has patterns for files."""
    from ..sources import sysctl as settings
    from .commands import calls, sysctl_key

    for call in calls(line):
        files = tuple(chain.from_iterable(_matching(host, path) for path in call.files)) if in_shell else call.files
        if call.files:
            lines = [one for path in files for one in settings.of_file(host, path)]
        else:
            lines = settings.assignments(host, not call.command.endswith("systemd-sysctl"))
        keys: Keys = {}
        for one in lines:
            key = sysctl_key(one.key, names)
            if key:
                keys[key] = settings.number(one.key, one.value)
        if keys:
            yield call._replace(files=files), keys


def _matching(host: Host, path: str) -> List[str]:
    """Of a path with a pattern for its last part, as a shell takes it, the files that there are."""
    folder, _slash, name = path.rpartition("/")
    if not re.search(r"[*?\[]", name):
        return [path]
    return ["{0}/{1}".format(folder, one) for one in host.list(folder) if fnmatchcase(one, name) and one[0] != "."]


# The owner's name, the path, whether what it says is done after each boot, and which of its lines are commands.
Place = Tuple[str, str, bool, Optional[Callable[[str], object]]]

_UP = re.compile(r"\s*(pre-|post-)?up\s").match
_EXEC = re.compile(r"\s*ExecStart(Pre|Post)?\s*=").match
_SHELL = re.compile(r".*\bsh\b").match
_DISPATCHER = "/etc/NetworkManager/dispatcher.d"
# Folders of scripts by the state of an interface; those of states that come of its end.
_NETWORKD, _DOWN = "/etc/networkd-dispatcher", ("no-carrier", "off", "unmanaged")
_LOOKED_AT = (_DISPATCHER, _NETWORKD, "/etc/crontab", "/etc/cron.d/", "/var/spool/cron/")


def _places(host: Host, enabled: Set[str]) -> Iterator[Place]:
    by_init: Optional[Dict[str, bool]] = None
    if not boots_systemd(host, systemd_sysctl(host)):
        # Few hosts have another init.
        from .started import scripts

        by_init = scripts(host)
    # Red Hat's /etc/rc.local is a link to the other.
    for path in ("/etc/rc.d/rc.local", "/etc/rc.local"):
        if not (host.link(path) or "").endswith("rc.d/rc.local") and host.is_executable(path):
            yield "rc.local", path, by_init is None or by_init.pop(path, False), None
    for path, at_boot in (by_init or {}).items():
        yield "init script", path, at_boot, None
    for folder in (_DISPATCHER, _DISPATCHER + "/pre-up.d", _DISPATCHER + "/no-wait.d"):
        yield from _executables(host, "NetworkManager", folder, True)
    for event in host.list(_NETWORKD):
        if event.endswith(".d"):
            at_boot = event[: -len(".d")] not in _DOWN
            yield from _executables(host, "networkd-dispatcher", "{0}/{1}".format(_NETWORKD, event), at_boot)
    for event, at_boot in (("pre-up", True), ("up", True), ("down", False), ("post-down", False)):
        yield from _executables(host, "ifupdown", "/etc/network/if-{0}.d".format(event), at_boot)
    yield "ifupdown", "/etc/network/interfaces", True, _UP
    for path in _files(host, "/etc/network/interfaces.d"):
        yield "ifupdown", path, True, _UP
    for path in ["/etc/crontab", "/var/spool/cron/root", "/var/spool/cron/crontabs/root"] + _files(host, "/etc/cron.d"):
        yield "cron", path, True, None
    for period in ("hourly", "daily", "weekly", "monthly"):
        yield from _executables(host, "cron", "/etc/cron." + period, True)
    yield from _hooks(host, enabled)
    for unit in host.list(_UNITS):
        if unit.endswith(".service") and not _LEFTOVER.fullmatch(unit):
            yield "systemd", "{0}/{1}".format(_UNITS, unit), _is_started(host, unit, enabled), _EXEC
        elif unit.endswith(".service.d"):
            for path in _files(host, "{0}/{1}".format(_UNITS, unit)):
                if path.endswith(".conf"):
                    yield "systemd", path, _is_started(host, unit[: -len(".d")], enabled), _EXEC


def _is_started(host: Host, unit: str, enabled: Set[str]) -> bool:
    """Whether a boot starts a unit, an instance of a template, or a timer that does."""
    name = unit[: -len(".service")]
    if unit in enabled or name + ".timer" in enabled or is_active(host, name):
        return True
    return name.endswith("@") and any(one.startswith(name) and one.endswith(".service") for one in enabled)


# shorewall's extension scripts, and whether they run at a start.
_SHOREWALL = {
    **dict.fromkeys(("init", "start", "started", "restored"), True),
    **dict.fromkeys(("stop", "stopped", "clear"), False),
}
_STARTS = re.compile(r"\s*(pre|post)_start\s").match


def _hooks(host: Host, enabled: Set[str]) -> Iterator[Place]:
    """What firewalls run of root's at their starts and stops: none of them sets a key of its own."""

    def starts(name: str) -> bool:
        return is_active(host, name) or name + ".service" in enabled

    is_on = (shell_value(host.read("/etc/ufw/ufw.conf"), "ENABLED") or "").lower() == "yes"
    for path in ("/etc/ufw/before.init", "/etc/ufw/after.init"):
        if host.is_executable(path):
            yield "ufw", path, is_on, None
    for family in ("shorewall", "shorewall6"):
        for path in _files(host, "/etc/" + family):
            at_start = _SHOREWALL.get(path.rpartition("/")[2])
            if at_start is not None:
                yield family, path, at_start and starts(family), None
    is_on = starts("netfilter-persistent")
    yield from _executables(host, "netfilter-persistent", "/usr/share/netfilter-persistent/plugins.d", is_on)
    for path in _files(host, "/etc/foomuuri"):
        if path.endswith(".conf"):
            yield "foomuuri", path, starts("foomuuri"), _STARTS


def _refused(host: Host, path: str) -> Optional[str]:
    """Whose a file is that cron or NetworkManager looks at itself before it obeys: they do not where it is not root's, or where
    others may write it (load_crontab of cron and cronie, check_permissions of NetworkManager's dispatcher, check_perms of networkd's)."""
    if not path.startswith(_LOOKED_AT):
        return None
    found = host.mode(path)
    if found is None or host.root != "/" or (found.st_uid == 0 and not found.st_mode & 0o022):
        return None
    return "user {0}, mode {1:04o}".format(found.st_uid, found.st_mode & 0o7777)


def _files(host: Host, folder: str) -> List[str]:
    return ["{0}/{1}".format(folder, name) for name in host.list(folder) if not _LEFTOVER.fullmatch(name)]


def _executables(host: Host, name: str, folder: str, at_boot: bool) -> Iterator[Place]:
    for path in _files(host, folder):
        if host.is_executable(path):
            yield name, path, at_boot, None
