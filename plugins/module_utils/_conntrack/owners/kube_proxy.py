# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kube-proxy sets, alone or within hyperkube and microk8s: by its arguments, its configuration and its defaults."""

import re
from typing import Dict, List, Optional, Sequence, Tuple

from .. import kernel
from ..host.door import Host
from ..values import integer
from .commands import Keys, plain_number
from .owner import Owner, lines_of

# kube-proxy's own: entries per core, at least, and since 1.36 at most; time as Go writes it.
PROXY_DEFAULTS = {"maxPerCore": "32768", "min": "131072", "tcpEstablishedTimeout": "24h", "tcpCloseWaitTimeout": "1h"}
_PROXY_CAP = 1048576
PROXY_FLAGS = {
    "conntrack-max-per-core": "maxPerCore",
    "conntrack-min": "min",
    "conntrack-max": "max",
    "conntrack-tcp-timeout-established": "tcpEstablishedTimeout",
    "conntrack-tcp-timeout-close-wait": "tcpCloseWaitTimeout",
    "conntrack-tcp-be-liberal": "tcpBeLiberal",
    "conntrack-udp-timeout": "udpTimeout",
    "conntrack-udp-timeout-stream": "udpStreamTimeout",
}
_PROXY_TIMEOUTS = {
    "tcpEstablishedTimeout": "tcp_timeout_established",
    "tcpCloseWaitTimeout": "tcp_timeout_close_wait",
    "udpTimeout": "udp_timeout",
    "udpStreamTimeout": "udp_timeout_stream",
}
_MICROK8S_ARGUMENTS = "/var/snap/microk8s/current/args/kube-proxy"

_DURATION = re.compile(r"(?:[0-9]*\.?[0-9]+|[0-9]+\.)(?:ns|us|\u00b5s|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_PROXY_REMEDIES = {
    "kube-proxy": "set conntrack.maxPerCore, conntrack.min and its timeouts in kube-proxy's configuration,"
    " or 0 there to leave the host's values alone",
    "microk8s": "set --conntrack-max-per-core and its timeouts in " + _MICROK8S_ARGUMENTS + ","
    " or 0 there to leave the host's values alone",
}


def owner(host: Host, names: kernel.Flavour, cpus: Optional[int], pid: int, command: str, name: str) -> Optional[Owner]:
    """The finding of a process; None where it leaves everything alone."""
    proc = "/proc/{0}".format(pid)
    settings: Optional[Dict[str, str]] = None
    said = ""
    arguments = _MICROK8S_ARGUMENTS if name == "microk8s" else proc + "/cmdline"
    others = host.exposed(_MICROK8S_ARGUMENTS) if name == "microk8s" else None
    if others:
        said = ", whose arguments are not root's alone: {0}".format(others)
    else:
        given = host.read(arguments)
        # hyperkube is each of them, by its first argument.
        if command == "hyperkube" and (given or "").split("\0")[1:2] not in (["proxy"], ["kube-proxy"]):
            return None
        settings, said = _proxy_settings(host, proc, given)
    keys = only_upward(host, names, proxy_keys(settings, cpus, names))
    if not keys:
        return None
    evidence = "process {0}: {1}{2}{3}".format(pid, command, said, _of_cpus(settings, cpus))
    return Owner(name, keys, evidence, None, None, None, True, _PROXY_REMEDIES[name])


def only_upward(host: Host, names: kernel.Flavour, keys: Keys) -> Keys:
    """Without the number of buckets where there are more: kube-proxy raises it and never lowers it."""
    now = integer(host.read("/sys/module/{0}/parameters/hashsize".format(names.module)))
    now = now or integer(host.read(kernel.sysctl_path(names.prefix + "buckets"))) or 0
    return {key: value for key, value in keys.items() if key != "hashsize" or value is None or value >= now}


def _of_cpus(settings: Optional[Dict[str, str]], cpus: Optional[int]) -> str:
    if cpus is None or settings is None:
        return ""
    per_core = plain_number(settings.get("maxPerCore", PROXY_DEFAULTS["maxPerCore"])) or 0
    capped = ", at most {0} since Kubernetes 1.36".format(_PROXY_CAP) if per_core * cpus > _PROXY_CAP else ""
    return " ({0} cpus{1})".format(cpus, capped)


def _proxy_settings(host: Host, proc: str, arguments: Optional[str]) -> Tuple[Optional[Dict[str, str]], str]:
    """Settings by their name in KubeProxyConfiguration, and the evidence. A configuration makes the flags void."""
    if arguments is None:
        return None, ", whose arguments cannot be read"
    flags = flags_of(arguments.replace("\0", " ").split())
    config = flags.get("config")
    if config is None:
        found = {PROXY_FLAGS[flag]: value for flag, value in flags.items() if flag in PROXY_FLAGS}
        return found, "".join(" --{0}={1}".format(flag, flags[flag]) for flag in flags if flag in PROXY_FLAGS)
    # As the process sees it, which is in a container as a rule.
    folder = host.link(proc + "/cwd")
    if config.startswith("/"):
        path, others = host.resolved(config, proc + "/root")
    elif folder:
        path, others = host.resolved("{0}/{1}".format(folder, config), proc + "/root")
    else:
        path, others = host.resolved(config, proc + "/cwd")
    if others:
        return None, " --config={0}, which is not root's alone: {1}".format(config, others)
    text = host.read(path)
    if text is None:
        return None, " --config={0}, which cannot be read".format(config)
    found = conntrack_mapping(text)
    return found, " --config={0}{1}".format(config, "".join(" {0}={1}".format(*item) for item in sorted(found.items())))


def flags_of(words: Sequence[str]) -> Dict[str, str]:
    """--name=value and --name value, the last of a name; names may be written with underscores."""
    found: Dict[str, str] = {}
    for word, following in zip(words, list(words[1:]) + [""]):
        if word.startswith("--"):
            name, sep, value = word[2:].partition("=")
            name = name.replace("_", "-")
            found[name] = value if sep else ("true" if name == "conntrack-tcp-be-liberal" else following)
    return found


def conntrack_mapping(text: str) -> Dict[str, str]:
    """The plain values of a KubeProxyConfiguration's mapping ``conntrack``, in block or flow style; null is none."""
    depth = -1
    pairs: List[str] = []
    for _number, line in lines_of(text):
        bare = re.split(r"(?:^|\s)#", line)[0].rstrip()
        indent = len(bare) - len(bare.lstrip())
        if not bare:
            continue
        if depth >= 0 and indent > depth:
            pairs.append(bare)
        elif depth >= 0:
            break
        elif bare.lstrip().startswith("conntrack:"):
            depth = indent
            pairs += bare.partition(":")[2].strip().strip("{}").split(",")
    found = {}
    for pair in pairs:
        name, sep, value = (part.strip().strip("\"'") for part in pair.strip(" ,{}").partition(":"))
        if sep and value not in ("", "null", "~"):
            found[name] = value
    return found


def proxy_keys(
    settings: Optional[Dict[str, str]], cpus: Optional[int], names: kernel.Flavour, cap: Optional[int] = _PROXY_CAP
) -> Keys:
    """What kube-proxy with these settings sets (setSysctls in pkg/proxy/conntrack/sysctls.go); 0 leaves a key alone."""
    limit = None if settings is None else _proxy_limit({**PROXY_DEFAULTS, **settings}, cpus, cap)
    keys: Keys = {}
    if limit != 0:
        keys[names.prefix + "max"] = limit
        keys["hashsize"] = None if limit is None else limit // 4
    for name, key in _PROXY_TIMEOUTS.items():
        if settings is None:
            seconds = None if name in PROXY_DEFAULTS else 0.0
        else:
            seconds = go_seconds(settings.get(name, PROXY_DEFAULTS.get(name, "0")))
        if seconds is None or seconds > 0:
            keys[names.prefix + key] = None if seconds is None else int(seconds)
    if settings and settings.get("tcpBeLiberal", "").lower() in ("true", "t", "1"):
        keys[names.prefix + "tcp_be_liberal"] = 1
    return keys


def _proxy_limit(settings: Dict[str, str], cpus: Optional[int], cap: Optional[int]) -> Optional[int]:
    """The limit; 0 where it is left alone; None where that depends on what no file says, the version above all."""
    fixed = plain_number(settings.get("max", "0"))
    per_core, least = plain_number(settings["maxPerCore"]), plain_number(settings["min"])
    if fixed or per_core == 0:
        return fixed
    if per_core is None or least is None or cpus is None or (cap and per_core * cpus > cap):
        return None
    return max(per_core * cpus, least)


def go_seconds(text: str) -> Optional[float]:
    """A duration as Go writes it, 24h0m0s or 1.5h or 0; None for anything else."""
    text = text.strip()
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text[:100])
    if not parts or "".join(parts) != text:
        return None
    total = 0.0
    for part in parts:
        number = part.rstrip("nu\u00b5msh")
        total += float(number) * _SECONDS[part[len(number) :]]
    return round(total, 9)
