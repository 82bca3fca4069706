# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else writes the keys of connection tracking on a host, with evidence, read from files alone.

What each of them reads and does, and where that is from, stands in docs/owners.md.
"""

import re
from itertools import islice
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from . import kernel
from .files import IPTABLES, SYSCTL
from .host import Host
from .services import is_active
from .table import integer, shell_value

# Processes asked for their name, files read as scripts, profiles of tuned; and characters of a line.
MOST_PROCESSES = 20000
MOST_SCRIPTS = 200
_MOST_PROFILES = 30
_LONGEST_LINE = 4096

# kube-proxy's own: entries per core, at least, and since 1.36 at most; time as Go writes it.
_PROXY_DEFAULTS = {"maxPerCore": "32768", "min": "131072", "tcpEstablishedTimeout": "24h", "tcpCloseWaitTimeout": "1h"}
_PROXY_CAP = 1048576
_PROXY_FLAGS = {
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

# The later wins.
_TUNED_HOMES = ("/usr/lib/tuned", "/usr/lib/tuned/profiles", "/etc/tuned", "/etc/tuned/profiles")
_IPTABLES_SCRIPTS = ("/usr/libexec/iptables/iptables.init", "/etc/rc.d/init.d/iptables", "/etc/init.d/iptables")
_UNITS = "/etc/systemd/system"

_NAME = (
    r"net[./](?:netfilter[./]nf_conntrack_|ipv4[./]netfilter[./]ip_conntrack_"
    r"|(?:nf_conntrack_|ipv4[./]ip_conntrack_)(?=max\b))(?P<key>[a-z0-9_]+)"
)
_HASHSIZE_FILE = r"/sys/module/(?:nf|ip)_conntrack/parameters/hashsize"
_HASHSIZE = re.compile(r"\bhashsize=(\S*)")
_SYSCTL_NAME = re.compile(r"(?:/proc/sys/)?" + _NAME)
_ASSIGNMENT = re.compile(_NAME + r"""\s*=\s*["']?(?P<value>[^\s"']*)""")
_SYSCTL_COMMAND = re.compile(r"(?:^|[\s/'\"(`=@+-])sysctl\s")
_WRITE = re.compile(r"""(?:>{1,2}|\btee\s+(?:-a\s+)?)\s*["']?(/proc/sys/net/[\w./]+|""" + _HASHSIZE_FILE + ")")
_ECHOED = re.compile(r"""\b(?:echo|printf)\s+(?:-\w+\s+)*["']?(\d+)["']?\s*(?:\|\s*(?:sudo\s+)?)?$""")
_MODPROBE = re.compile(r"\b(?:modprobe|insmod)\s")
_MODULE = re.compile(r"\b(?:nf|ip)_conntrack(?:\.ko)?\s")
_DURATION = re.compile(r"(?:[0-9]*\.?[0-9]+|[0-9]+\.)(?:ns|us|\u00b5s|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# What editors and package managers leave behind, and what cron, run-parts and NetworkManager pass over.
_LEFTOVER = re.compile(r".*(~|\.(bak|orig|swp|disabled|rpm\w+|dpkg-\w+|cfsaved))")

Keys = Dict[str, Optional[int]]


class Owner(NamedTuple):
    """One line or setting that sets keys of connection tracking."""

    name: str
    keys: Keys  # what it sets them to; None where that cannot be told
    evidence: str
    path: Optional[str]  # path, line and text of the line that could be commented out
    line: Optional[int]
    text: Optional[str]
    at_boot: bool  # whether it writes after systemd-sysctl at each boot, so that it wins
    remedy: str


def owners(host: Host, names: kernel.Flavour, cpus: Optional[int], pids: Iterable[int]) -> List[Owner]:
    """Everyone found; each finding is of one line of a file, or of one process."""
    enabled = _enabled_units(host)
    return [
        *_proxies(host, names, cpus, pids),
        *_tuned(host, names, enabled),
        *_ufw(host, names),
        *_iptables(host, names, enabled),
        *_scripts(host, names, enabled),
    ]


def sysctl_key(name: str, names: kernel.Flavour) -> Optional[str]:
    """The name this flavour has for a key, written with dots or slashes, by an alias or an old name; None for others.

    The key buckets is the module's hashsize by another name, and is given as that.
    """
    found = _SYSCTL_NAME.fullmatch(name)
    if not found:
        return None
    return "hashsize" if found.group("key") == "buckets" else names.prefix + found.group("key")


def plain_number(text: str) -> Optional[int]:
    """A number as it stands, quotes taken off; None for variables and everything else."""
    text = text.strip().strip("\"'")
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def _lines(text: Optional[str]) -> Iterator[Tuple[int, str]]:
    """Numbered as editors do, for which a form feed is no end of a line."""
    return enumerate((text or "").split("\n"), 1)


def _of_line(name: str, keys: Keys, path: str, line: int, text: str, at_boot: bool, remedy: str) -> Owner:
    text = text.rstrip("\r")
    return Owner(name, keys, "{0}:{1}: {2}".format(path, line, text.strip()[:200]), path, line, text, at_boot, remedy)


def _enabled_units(host: Host) -> Set[str]:
    folders = [name for name in host.list(_UNITS) if name.endswith((".wants", ".requires"))]
    return {unit for folder in folders for unit in host.list("{0}/{1}".format(_UNITS, folder))}


# kube-proxy, alone or within k3s and microk8s.


def _proxies(host: Host, names: kernel.Flavour, cpus: Optional[int], pids: Iterable[int]) -> Iterator[Owner]:
    for pid in islice(pids, MOST_PROCESSES):
        proc = "/proc/{0}".format(pid)
        command = (host.read(proc + "/comm") or "").strip()
        name = _PROXIES.get(command)
        if name is None or _elsewhere(host, proc):
            continue
        settings: Optional[Dict[str, str]] = None
        said = ""
        if name != "k3s":
            settings, said = _proxy_settings(
                host, proc, host.read(_MICROK8S_ARGUMENTS if name == "microk8s" else proc + "/cmdline")
            )
        keys = _proxy_keys(settings, cpus, names)
        if keys.get("hashsize") is not None and _more_buckets(host, names, keys["hashsize"] or 0):
            del keys["hashsize"]
        if keys:
            evidence = "process {0}: {1}{2}{3}".format(pid, command, said, _of_cpus(settings, cpus))
            yield Owner(name, keys, evidence, None, None, None, True, _PROXY_REMEDIES[name])


# By the name of the process. k3s shows its arguments to nobody.
_PROXIES = {"kube-proxy": "kube-proxy", "kubelite": "microk8s", "k3s-server": "k3s", "k3s-agent": "k3s"}
_PROXY_REMEDIES = {
    "kube-proxy": "set conntrack.maxPerCore, conntrack.min and its timeouts in kube-proxy's configuration,"
    " or 0 there to leave the host's values alone",
    "microk8s": "set --conntrack-max-per-core and its timeouts in " + _MICROK8S_ARGUMENTS + ","
    " or 0 there to leave the host's values alone",
    "k3s": "set kube-proxy-arg: conntrack-max-per-core=0, conntrack-tcp-timeout-established=0s and"
    " conntrack-tcp-timeout-close-wait=0s in /etc/rancher/k3s/config.yaml to leave the host's values alone",
}


def _elsewhere(host: Host, proc: str) -> bool:
    """Whether a process is in a network namespace that is not this one, as in a cluster made of containers."""
    own, its = host.link("/proc/self/ns/net"), host.link(proc + "/ns/net")
    return own is not None and its is not None and own != its


def _more_buckets(host: Host, names: kernel.Flavour, buckets: int) -> bool:
    """kube-proxy raises the number of buckets and never lowers it."""
    now = integer(host.read("/sys/module/{0}/parameters/hashsize".format(names.module)))
    return (now or integer(host.read(kernel.sysctl_path(names.prefix + "buckets"))) or 0) > buckets


def _of_cpus(settings: Optional[Dict[str, str]], cpus: Optional[int]) -> str:
    if cpus is None or settings is None:
        return ""
    per_core = plain_number(settings.get("maxPerCore", _PROXY_DEFAULTS["maxPerCore"])) or 0
    capped = ", at most {0} since Kubernetes 1.36".format(_PROXY_CAP) if per_core * cpus > _PROXY_CAP else ""
    return " ({0} cpus{1})".format(cpus, capped)


def _proxy_settings(host: Host, proc: str, arguments: Optional[str]) -> Tuple[Optional[Dict[str, str]], str]:
    """Settings by their name in KubeProxyConfiguration, and the evidence. A configuration makes the flags void."""
    if arguments is None:
        return None, ", whose arguments cannot be read"
    flags = _flags(arguments.replace("\0", " ").split())
    config = flags.get("config")
    if config is None:
        found = {_PROXY_FLAGS[flag]: value for flag, value in flags.items() if flag in _PROXY_FLAGS}
        return found, "".join(" --{0}={1}".format(flag, flags[flag]) for flag in flags if flag in _PROXY_FLAGS)
    # As the process sees it, which is in a container as a rule.
    text = host.read(proc + ("/root" if config.startswith("/") else "/cwd/") + config)
    if text is None:
        return None, " --config={0}, which cannot be read".format(config)
    found = conntrack_mapping(text)
    return found, " --config={0}{1}".format(config, "".join(" {0}={1}".format(*item) for item in sorted(found.items())))


def _flags(words: List[str]) -> Dict[str, str]:
    """--name=value and --name value, the last of a name; names may be written with underscores."""
    found: Dict[str, str] = {}
    for word, following in zip(words, words[1:] + [""]):
        if word.startswith("--"):
            name, sep, value = word[2:].partition("=")
            name = name.replace("_", "-")
            found[name] = value if sep else ("true" if name == "conntrack-tcp-be-liberal" else following)
    return found


def conntrack_mapping(text: str) -> Dict[str, str]:
    """The plain values of a KubeProxyConfiguration's mapping ``conntrack``, in block or flow style; null is none."""
    depth = -1
    pairs: List[str] = []
    for _number, line in _lines(text):
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


def _proxy_keys(settings: Optional[Dict[str, str]], cpus: Optional[int], names: kernel.Flavour) -> Keys:
    """What kube-proxy with these settings sets (setSysctls in pkg/proxy/conntrack/sysctls.go); 0 leaves a key alone."""
    limit = None if settings is None else _proxy_limit({**_PROXY_DEFAULTS, **settings}, cpus)
    keys: Keys = {}
    if limit != 0:
        keys[names.prefix + "max"] = limit
        keys["hashsize"] = None if limit is None else limit // 4
    for name, key in _PROXY_TIMEOUTS.items():
        if settings is None:
            seconds = None if name in _PROXY_DEFAULTS else 0.0
        else:
            seconds = go_seconds(settings.get(name, _PROXY_DEFAULTS.get(name, "0")))
        if seconds is None or seconds > 0:
            keys[names.prefix + key] = None if seconds is None else int(seconds)
    if settings and settings.get("tcpBeLiberal", "").lower() in ("true", "t", "1"):
        keys[names.prefix + "tcp_be_liberal"] = 1
    return keys


def _proxy_limit(settings: Dict[str, str], cpus: Optional[int]) -> Optional[int]:
    """The limit; 0 where it is left alone; None where that depends on what no file says, the version above all."""
    fixed = plain_number(settings.get("max", "0"))
    per_core, least = plain_number(settings["maxPerCore"]), plain_number(settings["min"])
    if fixed or per_core == 0:
        return fixed
    if per_core is None or least is None or cpus is None or per_core * cpus > _PROXY_CAP:
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


# tuned.

# By option: its value, and the path, number and text of its line.
Options = Dict[str, Tuple[str, str, int, str]]


def _tuned(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterator[Owner]:
    if not (is_active(host, "tuned") or "tuned.service" in enabled):
        return
    profiles: List[Dict[str, Options]] = []
    for file in ("/etc/tuned/active_profile", "/etc/tuned/post_loaded_profile"):
        _load_profiles(host, (host.read(file) or "").split(), profiles, set())
    system = _reapplied(host, names)
    for unit, options in _merged(profiles).items():
        if _text(options, "enabled", "true").lower() not in ("true", "1"):
            continue
        kind = _text(options, "type", unit)
        for option, (value, path, line, text) in options.items():
            keys = _tuned_keys(kind, option, value, names)
            if keys:
                # A module's options wait for its next load, unless it is to be loaded anew (+r).
                at_boot = value.startswith("+r") if kind == "modules" else kind != "sysctl" or not set(keys) <= system
                remedy = "change the line in a profile of your own under /etc/tuned that includes this one"
                yield _of_line("tuned", keys, path, line, text, at_boot, remedy)


def _load_profiles(host: Host, wanted: List[str], profiles: List[Dict[str, Options]], seen: Set[str]) -> None:
    """What a profile includes comes before itself; names made of variables are passed over.

    A file is read once, so that a profile of /etc that includes its own name is laid over the one of /usr/lib.
    """
    for name in wanted:
        # A name after - may be missing.
        name = name[1:] if name.startswith("-") else name
        if not re.fullmatch("[a-zA-Z0-9_.-]+", name) or len(seen) >= _MOST_PROFILES:
            continue
        for home in reversed(_TUNED_HOMES):
            path = "{0}/{1}/tuned.conf".format(home, name)
            text = None if path in seen else host.read(path)
            if text is not None:
                seen.add(path)
                sections = _sections(path, text)
                included = _text(sections.get("main", {}), "include", "")
                _load_profiles(host, re.split(r"\s*[,;]\s*", included), profiles, seen)
                profiles.append(sections)
                break


def _sections(path: str, text: str) -> Dict[str, Options]:
    """As configparser reads a profile: = delimits, # begins a comment, a line indented more goes on with a value."""
    sections: Dict[str, Options] = {}
    section = last = ""
    depth = 0
    for number, line in _lines(text):
        bare = re.split(r"(?:^|\s)#", line)[0].strip()
        name, sep, value = (part.strip() for part in bare.partition("="))
        if not bare or bare.startswith(";"):
            continue
        indent = len(line) - len(line.lstrip())
        if last and indent > depth:
            begun, of, at, first = sections[section][last]
            sections[section][last] = (begun + "\n" + bare, of, at, first)
        elif bare.startswith("[") and "]" in bare:
            section, last = bare[1 : bare.index("]")], ""
            sections.setdefault(section, {})
        elif sep and section:
            last, depth = name, indent
            sections[section][name] = (value, path, number, line)
    return sections


def _text(options: Options, name: str, default: str) -> str:
    return options[name][0] if name in options else default


def _merged(profiles: List[Dict[str, Options]]) -> Dict[str, Options]:
    """The units in force (tuned/profiles/merger.py): the later profile wins, by option unless it replaces the unit."""
    units: Dict[str, Options] = {}
    for profile in profiles:
        for unit, options in profile.items():
            if unit not in units or _text(options, "replace", "").lower() in ("true", "1"):
                units[unit] = dict(options)
                continue
            for dropped in re.split(r"\s*[,;]\s*", _text(options, "drop", "")):
                units[unit].pop(dropped, None)
            units[unit].pop("type", None)
            units[unit].pop("enabled", None)
            units[unit].update(options)
    return units


def _tuned_keys(kind: str, option: str, value: str, names: kernel.Flavour) -> Keys:
    # >N sets N where it is more than what is there, <N where it is less.
    number = plain_number(value[1:] if value[:1] in ("<", ">") else value)
    if kind == "sysctl":
        key = sysctl_key(option, names)
        return {key: number} if key else {}
    if (kind == "net" and option == "nf_conntrack_hashsize") or (
        kind == "sysfs" and re.fullmatch(_HASHSIZE_FILE, option)
    ):
        return {"hashsize": number}
    found = _HASHSIZE.search(value) if kind == "modules" and option in ("nf_conntrack", "ip_conntrack") else None
    return {"hashsize": plain_number(found.group(1))} if found else {}


def _reapplied(host: Host, names: kernel.Flavour) -> Set[str]:
    """The keys of the files that tuned applies again after its profile, which then win over it."""
    asked = shell_value(host.read("/etc/tuned/tuned-main.conf"), "reapply_sysctl") or "1"
    if asked.lower() in ("0", "no", "false", "off"):
        return set()
    # Files of /run hide those of the same name, other than to systemd.
    paths = {name: folder for folder in ("/etc/sysctl.d", "/run/sysctl.d") for name in host.list(folder)}
    texts = [host.read("{0}/{1}".format(folder, name)) for name, folder in paths.items() if name.endswith(".conf")]
    found = (found for text in texts + [host.read("/etc/sysctl.conf")] for found in sysctl_lines(text, names))
    # It takes the - before a key for a part of it.
    return {key for key, (_number, line, _value) in found if not line.lstrip().startswith("-")}


# Firewalls that apply a file of sysctls when they start.


def sysctl_lines(text: Optional[str], names: kernel.Flavour) -> Iterator[Tuple[str, Tuple[int, str, Optional[int]]]]:
    """The lines of a sysctl file that set these keys: the key, and its line's number, text and value."""
    for number, line in _lines(text):
        name, sep, value = line.partition("=")
        key = sysctl_key(name.strip().lstrip("-"), names)
        if sep and key:
            yield key, (number, line, plain_number(value))


def _ufw(host: Host, names: kernel.Flavour) -> Iterator[Owner]:
    if (shell_value(host.read("/etc/ufw/ufw.conf"), "ENABLED") or "").lower() != "yes":
        return
    defaults = host.read("/etc/default/ufw")
    path = "/etc/ufw/sysctl.conf" if defaults is None else shell_value(defaults, "IPT_SYSCTL")
    for key, (number, line, value) in sysctl_lines(host.read(path) if path else None, names):
        remedy = "set it in {0}, which ufw applies at each of its starts".format(path)
        yield _of_line("ufw", {key: value}, str(path), number, line, True, remedy)


def _iptables(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterator[Owner]:
    """Red Hat's iptables-services: applies the lines of /etc/sysctl.conf, or of sysctl.d where its script says so, that
    hold a word of its list."""
    words = (shell_value(host.read(IPTABLES), "IPTABLES_SYSCTL_LOAD_LIST") or "").split()
    if not words or not (is_active(host, "iptables") or "iptables.service" in enabled):
        return
    paths = ["/etc/sysctl.conf"]
    if any("/etc/sysctl.d/" in (host.read(script) or "") for script in _IPTABLES_SCRIPTS):
        paths = ["/etc/sysctl.d/" + name for name in host.list("/etc/sysctl.d")]
    for path in paths:
        for key, (number, line, value) in sysctl_lines(host.read(path), names):
            if path != SYSCTL and any(word in line for word in words):
                remedy = "set it in {0}, which IPTABLES_SYSCTL_LOAD_LIST in {1} names".format(path, IPTABLES)
                yield _of_line("iptables", {key: value}, path, number, line, True, remedy)


# Scripts, cron and units.


def _scripts(host: Host, names: kernel.Flavour, enabled: Set[str]) -> Iterator[Owner]:
    for name, path, at_boot, said in islice(_places(host, enabled), MOST_SCRIPTS):
        for number, line in _lines(host.read(path)):
            if "conntrack" in line and (said is None or said(line)):
                keys = assignments(line, names)
                if keys:
                    remedy = "take the line out of {0}".format(path)
                    yield _of_line(name, keys, path, number, line, at_boot, remedy)


# The owner's name, the path, whether what it says is done after each boot, and which of its lines are commands.
Place = Tuple[str, str, bool, Optional[Callable[[str], object]]]

_UP = re.compile(r"\s*(pre-|post-)?up\s").match
_EXEC = re.compile(r"\s*ExecStart(Pre|Post)?\s*=").match
_DISPATCHER = "/etc/NetworkManager/dispatcher.d"


def _places(host: Host, enabled: Set[str]) -> Iterator[Place]:
    # Red Hat's /etc/rc.local is a link to the other.
    for path in ("/etc/rc.d/rc.local", "/etc/rc.local"):
        if not (host.link(path) or "").endswith("rc.d/rc.local") and _executable(host, path):
            yield "rc.local", path, True, None
    for folder in (_DISPATCHER, _DISPATCHER + "/pre-up.d", _DISPATCHER + "/no-wait.d"):
        yield from _executables(host, "NetworkManager", folder, True)
    for event, at_boot in (("pre-up", True), ("up", True), ("down", False), ("post-down", False)):
        yield from _executables(host, "ifupdown", "/etc/network/if-{0}.d".format(event), at_boot)
    yield "ifupdown", "/etc/network/interfaces", True, _UP
    for path in _files(host, "/etc/network/interfaces.d"):
        yield "ifupdown", path, True, _UP
    for path in ["/etc/crontab", "/var/spool/cron/root", "/var/spool/cron/crontabs/root"] + _files(host, "/etc/cron.d"):
        yield "cron", path, True, None
    for period in ("hourly", "daily", "weekly", "monthly"):
        yield from _executables(host, "cron", "/etc/cron." + period, True)
    for path in _files(host, _UNITS):
        if path.endswith(".service"):
            yield "systemd", path, path.rpartition("/")[2] in enabled, _EXEC


def _files(host: Host, folder: str) -> List[str]:
    return ["{0}/{1}".format(folder, name) for name in host.list(folder) if not _LEFTOVER.fullmatch(name)]


def _executables(host: Host, name: str, folder: str, at_boot: bool) -> Iterator[Place]:
    for path in _files(host, folder):
        if _executable(host, path):
            yield name, path, at_boot, None


def _executable(host: Host, path: str) -> bool:
    file = host.file(path)
    return file is not None and int(file.mode, 8) & 0o111 != 0


def assignments(line: str, names: kernel.Flavour) -> Keys:
    """What a line of a shell script, crontab or unit sets: by sysctl, by the key's file, by loading the module."""
    line = line[:_LONGEST_LINE]
    if line.lstrip().startswith(("#", ";")):
        return {}
    line = line.split(" #")[0]
    keys: Keys = {}
    for command in re.split("[;&|]", line):
        sysctl = _SYSCTL_COMMAND.search(command)
        if sysctl and "echo" not in command[: sysctl.start()]:
            for found in _ASSIGNMENT.finditer(command, sysctl.end()):
                _put(keys, sysctl_key(found.group().partition("=")[0].strip(), names), found.group("value"))
        hashsize = _HASHSIZE.search(command)
        if hashsize and _MODPROBE.search(command) and _MODULE.search(command):
            _put(keys, "hashsize", hashsize.group(1))
    for write in _WRITE.finditer(line):
        echoed = _ECHOED.search(line[: write.start()])
        path = write.group(1)
        key = "hashsize" if path.endswith("/hashsize") else sysctl_key(path, names)
        _put(keys, key, echoed.group(1) if echoed else "")
    return keys


def _put(keys: Keys, key: Optional[str], value: str) -> None:
    if key:
        keys[key] = plain_number(value)
