# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What k3s and RKE2 set themselves at their start, before any kube-proxy of theirs: by their units and configuration.

Sources: getConntrackConfig in pkg/agent/run.go, pkg/agent/syssetup/setup.go, kubeProxyArgs in pkg/daemons/agent/agent_linux.go and
pkg/configfilearg/parser.go of k3s 00014d2; RKE2 6ce1a80 runs the same.
"""

import re
import shlex
from typing import List, Optional, Set, Tuple

from .. import kernel
from ..host.door import Host
from ..sources.proc import shell_value
from .commands import Keys
from .kube_proxy import PROXY_DEFAULTS, PROXY_FLAGS, flags_of, only_upward, proxy_keys
from .owner import Owner

# By unit: the program.
UNITS = {"k3s": "k3s", "k3s-agent": "k3s", "rke2-server": "rke2", "rke2-agent": "rke2"}

_UNIT_PATHS = (
    "/etc/systemd/system/{0}.service",
    "/usr/local/lib/systemd/system/{0}.service",
    "/usr/lib/systemd/system/{0}.service",
    "/lib/systemd/system/{0}.service",
    "/etc/init.d/{0}",
)
_ENVIRONMENTS = (
    "/etc/systemd/system/{0}.service.env",
    "/usr/local/lib/systemd/system/{0}.env",
    "/etc/default/{0}",
    "/etc/sysconfig/{0}",
)
# Of a unit, or of OpenRC's script.
_COMMAND = re.compile(r"^(?:ExecStart|command_args)=(.*)$", re.M)
_ARGUMENTS = re.compile(r"""["']?kube-proxy-arg(\+?)["']?\s*:(?:\s+(.*))?""")
_ITEM = re.compile(r"\s*-\s+(.*)")
# What its own kube-proxy is told, so that it sets nothing unless asked to.
_SILENT = {"maxPerCore": "0", "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}


def of_process(host: Host, names: kernel.Flavour, cpus: Optional[int], pid: int, command: str) -> Optional[Owner]:
    """The finding of a process, which hides its arguments; None where it leaves everything alone, or is another of its commands."""
    unit = {"k3s-server": "k3s", "k3s-agent": "k3s-agent"}.get(command, "")
    if not unit:
        words = (host.read("/proc/{0}/cmdline".format(pid)) or "").replace("\0", " ").split()
        unit = "-".join([command] + words[1:2])
    return _owner(host, names, cpus, unit, "process {0}: {1}".format(pid, command)) if unit in UNITS else None


def of_units(host: Host, names: kernel.Flavour, cpus: Optional[int], enabled: Set[str]) -> List[Owner]:
    """The findings of what is to be started at boot."""
    units = (unit for unit in UNITS if unit + ".service" in enabled)
    found = (_owner(host, names, cpus, unit, "{0}.service is enabled".format(unit)) for unit in units)
    return [owner for owner in found if owner]


def _owner(host: Host, names: kernel.Flavour, cpus: Optional[int], unit: str, known: str) -> Optional[Owner]:
    name = UNITS[unit]
    arguments, told = _arguments(host, unit)
    keys: Keys = {}
    if arguments is None:
        keys = {names.prefix + key: None for key in ("max", "tcp_timeout_established", "tcp_timeout_close_wait")}
    else:
        flags = flags_of(["--" + word + ("" if "=" in word else "=true") for word in arguments])
        settings = {PROXY_FLAGS[flag]: value for flag, value in flags.items() if flag in PROXY_FLAGS}
        own = {name: settings.get(name, value) for name, value in PROXY_DEFAULTS.items()}
        # It knows neither a highest limit nor the buckets.
        keys = proxy_keys(own, cpus, names, cap=None)
        keys.pop("hashsize", None)
        if name == "k3s":
            # Within it; RKE2's is a process of its own.
            embedded = proxy_keys(None if "config" in flags else dict(_SILENT, **settings), cpus, names)
            keys.update(only_upward(host, names, embedded))
        told += "".join(" {0}={1}".format(flag, flags[flag]) for flag in flags if flag in PROXY_FLAGS)
        told += " ({0} cpus)".format(cpus) if cpus else ""
    if not keys:
        return None
    remedy = (
        "set kube-proxy-arg: conntrack-max-per-core=0, conntrack-tcp-timeout-established=0s and"
        " conntrack-tcp-timeout-close-wait=0s in /etc/rancher/{0}/config.yaml to leave the host's values alone"
    ).format(name)
    return Owner(name, keys, known + told, None, None, None, True, remedy)


def _arguments(host: Host, unit: str) -> Tuple[Optional[List[str]], str]:
    """What kube-proxy is to be told: of the configuration, then of the command; None where that cannot be told, and why."""
    text = next(filter(None, (host.read(path.format(unit)) for path in _UNIT_PATHS)), None)
    if text is None:
        return None, ", whose arguments cannot be seen"
    command = _COMMAND.search(re.sub(r"\\\n\s*", " ", text))
    try:
        words = shlex.split(command.group(1).strip('"') if command else "")
    except ValueError:
        return None, ", whose arguments cannot be read"
    variable = UNITS[unit].upper() + "_CONFIG_FILE"
    named = [shell_value(host.read(path.format(unit)), variable) for path in _ENVIRONMENTS]
    path = next(filter(None, named), None)
    path = path or (_options(words, "--config") + _options(words, "-c") + [""])[0]
    path = path or "/etc/rancher/{0}/config.yaml".format(UNITS[unit])
    configured = _configured(host, path)
    if configured is None:
        return None, ", {0} cannot be understood".format(path)
    given = configured + _options(words, "--kube-proxy-arg")
    return [word[2:] if word.startswith("--") else word for word in given], ", {0}".format(path)


def _options(words: List[str], name: str) -> List[str]:
    """The values of an option, written --name value and --name=value."""
    pairs = zip(words, words[1:] + [""])
    return [
        following if word == name else word[len(name) + 1 :]
        for word, following in pairs
        if word == name or word.startswith(name + "=")
    ]


def _configured(host: Host, path: str) -> Optional[List[str]]:
    """Of the file and then its folder, where a later one replaces an earlier one, or adds to it where its name ends in +."""
    if "://" in path:
        return None
    folder = path + ".d"
    found: List[str] = []
    names = [name for name in sorted(host.list(folder)) if name.lower().endswith((".yaml", ".yml"))]
    for file in [path] + ["{0}/{1}".format(folder, name) for name in names]:
        lines = (host.read(file) or "").split("\n")
        for number, line in enumerate(lines):
            head = _ARGUMENTS.fullmatch(line.rstrip())
            if not head:
                continue
            items = _items((head.group(2) or "").strip(), lines[number + 1 :])
            if items is None:
                return None
            found = found + items if head.group(1) else items
    return found


def _items(rest: str, following: List[str]) -> Optional[List[str]]:
    """A list in block or flow style, or one word; None for anything else that YAML knows."""
    rest = _bare(rest)
    if rest.startswith("["):
        return [_bare(item) for item in rest[1:-1].split(",") if item.strip()] if rest.endswith("]") else None
    if rest:
        return None if rest[0] in "|>&*{!" else [rest]
    items: List[str] = []
    for line in following:
        item = _ITEM.fullmatch(line.rstrip())
        if item:
            items.append(_bare(item.group(1)))
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return items


def _bare(text: str) -> str:
    return re.split(r"(?:^|\s)#", text.strip())[0].strip().strip("\"'")
