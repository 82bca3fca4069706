# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next load of the module does, who loads it before systemd-sysctl runs, and what brings sysctl.d back. Total.

The kernel's command line is that of this boot.
"""

import os
import re
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..host.door import Host
from ..kernel import COMMAND_LINE, LARGEST_HASHSIZE
from ..sources import modprobe
from ..sources.modprobe import Option, files, place

# What nf_conntrack has had since 2.6.20; nf_conntrack_helper is gone in 6.0. dyndbg and async_probe are every module's.
_FLAGS = {"acct", "tstamp", "nf_conntrack_helper", "enable_hooks"}
_NUMBERS = {"hashsize", "expect_hashsize"}
_OTHERS = {"dyndbg", "async_probe"}
# kstrtouint with base 0, and kstrtobool.
_NUMBER = re.compile(r"\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]{0,9})")
_FLAG = re.compile(r"([yYtT1nNfF0]|[oO][nNfF]).*", re.S)
# Problems told of one host's files: more are no news.
_MOST = 99
# Install commands that load nothing.
_NOTHING = {"true", "false", ":"}

# systemd's folders, the first that has a name first; /lib where /usr is not merged.
_SYSTEMD = ("/etc/", "/run/", "/usr/local/lib/", "/usr/lib/", "/lib/")
# Modules that bring nf_conntrack with them, Linux 4.9 to 6.18; ip_conntrack and the rest of nf_conntrack_ are aliases.
_BRINGS = re.compile(
    r"ip_conntrack|nf_conntrack_.*|nf_nat(_.*)?|nf_(conncount|synproxy_core|flow_table(_.*)?)|ip_vs(_.*)?|openvswitch"
    r"|nft_(ct|nat|masq(_.*)?|redir(_.*)?|chain_nat(_.*)?|connlimit|flow_offload|synproxy)"
    r"|xt_(conntrack|state|connbytes|connlabel|connlimit|connmark|helper|cluster|nat|CT|NETMAP|REDIRECT|MASQUERADE)"
    r"|xt_(CONNSECMARK|NOTRACK|ipvs)|vport_(geneve|gre|vxlan)|ip6?table_nat|ip6?t_(MASQUERADE|SYNPROXY|CLUSTERIP|REDIRECT)"
    r"|nfnetlink_ct(timeout|helper)|act_(ct|ctinfo|connmark)"
)
_SYSCTL_PATHS = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
_UDEV_PATHS = ("/usr/lib/udev/", "/lib/udev/")
_SHELL_PATHS = ("/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/")

# What a shell takes a line apart into: a character, two kinds of quotes, more characters, blanks.
_PART = re.compile(r"""\\(.)|'([^']*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|([^ \t\r\n'"\\]+)|([ \t\r\n]+)""", re.S)
_IN_QUOTES = re.compile(r'\\(["\\])')


class Sysctl(NamedTuple):
    """A call of sysctl or systemd-sysctl: which settings it applies."""

    command: str
    prefixes: Tuple[str, ...]  # only keys that start so, as /net/netfilter; none: every key
    pattern: Optional[str]  # only keys that this regular expression finds
    files: Tuple[str, ...]  # only these files; none: all of sysctl.d


class Install(NamedTuple):
    """The command that modprobe runs instead of loading the module."""

    text: str
    path: str
    line: int
    told: bool  # it is known: the module is loaded with its options, and then come the values of ``sysctl``
    sysctl: Optional[Sysctl]


class Loading(NamedTuple):
    hashsize: Optional[int]  # as given, before the kernel rounds it; None: the kernel chooses
    source: Optional[str]  # path:line or the kernel's command line
    refused: Optional[str]  # the place of what makes the load fail, or replaces it by nothing
    blacklisted: bool  # modprobe by an alias and systemd-modules-load do not load it; others do
    install: Optional[Install]
    problems: List[str]


class UdevRule(NamedTuple):
    """What udev runs when the module is loaded."""

    path: str
    line: int
    sysctl: Sysctl
    runs: bool  # the command is there
    problem: Optional[str]


def loading(host: Host, module: str, builtin: bool = False) -> Loading:
    command_line = host.read("/proc/cmdline") or ""
    taken, left = modprobe.configuration(host)
    found: List[str] = []
    for path, line, text in left:
        if module in text.replace("-", "_") and len(found) < _MOST:
            found.append("{0}: modprobe ignores {1!r:.99}".format(place(path, line), text))
    if builtin:
        for own in taken:
            if own.name == module and own.command in ("options", "install", "softdep", "blacklist"):
                found.append(
                    "{0}: {1} is built into this kernel, modprobe.d says nothing to it".format(
                        place(own.path, own.line), module
                    )
                )
        hashsize, source = _built_in_hashsize(command_line, module)
        return Loading(hashsize, source, None, False, None, found)

    hashsize, source, refused = None, None, None
    for option in modprobe.parameters(modprobe.given(taken, command_line, module)):
        problem, fatal = _problem(option, module)
        where = place(option.path, option.line)
        if problem and len(found) < _MOST:
            found.append("{0}: {1:.299}".format(where, problem))
        if fatal:
            refused = refused or where
        elif option.name == "hashsize":
            number = _number(option.value)
            hashsize, source = (number, where) if number else (None, None)
    install = _install(taken, module, found)
    if install and not install.told and _is_nothing(install.text):
        refused = refused or place(install.path, install.line)
        found.append("{0}: modprobe does not load {1}: {2}".format(refused, module, install.text))
    if _is_barred(command_line, module):
        refused = COMMAND_LINE
        found.append("{0}: module_blacklist= makes every load of {1} fail".format(COMMAND_LINE, module))
    for other in modprobe.aliases(taken, module)[:1]:
        if other.rest == module:
            continue
        found.append(
            "{0}: modprobe {1} loads {2} instead; what needs {1} still loads it".format(
                place(other.path, other.line), module, other.rest
            )
        )
    found += _useless_options(taken, module)
    if refused:
        hashsize, source = None, None
    barred = modprobe.blacklisted(taken, command_line, module) is not None
    return Loading(hashsize, source, refused, barred, install, found)


def _problem(option: Option, module: str) -> Tuple[Optional[str], bool]:
    """What is wrong with a parameter, and whether the load fails of it."""
    if option.name in _NUMBERS:
        if option.value is None:
            return "{0} has no value, so that the load fails; write {0}=N without blanks around =".format(
                option.name
            ), True
        number = _number(option.value)
        if number is None:
            return "{0}={1}: the kernel takes no such number, the load fails".format(option.name, option.value), True
        if number > LARGEST_HASHSIZE:
            return "{0}={1}: the load fails, {2} is the largest".format(
                option.name, option.value, LARGEST_HASHSIZE
            ), True
        if number == 0:
            return "{0}=0 is as if it were not there".format(option.name), False
        if option.value.lstrip("+") != str(number):
            return "{0}={1} is {2} to the kernel".format(option.name, option.value, number), False
    elif option.name in _FLAGS:
        if option.value is not None and not _FLAG.fullmatch(option.value):
            return "{0}={1}: the kernel wants Y or N, the load fails".format(option.name, option.value), True
    elif option.name not in _OTHERS and not option.name.startswith("module."):
        return "{0!r} is no parameter of {1}: the load ignores it, before Linux 3.11 it fails".format(
            option.name, module
        ), False
    return None, False


def _number(value: Optional[str]) -> Optional[int]:
    """As kstrtouint with base 0."""
    found = _NUMBER.fullmatch(value or "")
    if not found:
        return None
    digits = found.group(1).lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    number = int(digits, base)
    return number if number < 2**32 else None


def _built_in_hashsize(command_line: str, module: str) -> Tuple[Optional[int], Optional[str]]:
    """The last that the kernel takes; others it complains of and goes on."""
    found = 0
    for _offset, name, value in modprobe.arguments(command_line.split("\0")[0]):
        if name == module + ".hashsize":
            number = _number(value)
            found = found if number is None else number
    return (found, COMMAND_LINE) if found else (None, None)


def _is_barred(command_line: str, module: str) -> bool:
    """By module_blacklist=, the last of which counts; a dash there stays one."""
    barred = ""
    for _offset, name, value in modprobe.arguments(command_line.split("\0")[0]):
        if name == "module_blacklist":
            barred = value or ""
    return module in barred.split(",")


def _useless_options(taken: Sequence[modprobe.Line], module: str) -> Iterator[str]:
    aliases = {line.name for line in taken if line.command == "alias" and line.rest == module} | {"ip_conntrack"}
    for line in taken:
        if line.command == "options" and line.name != module and line.name in aliases:
            yield "{0}: counts only where {1} is asked for as {2}".format(
                place(line.path, line.line), module, line.name
            )


def _install(taken: Sequence[modprobe.Line], module: str, found: List[str]) -> Optional[Install]:
    line, dependency = modprobe.install(taken, module)
    if line is None:
        return None
    if dependency:
        found.append(
            "{0}: never run, because of {1}: softdep wins over install".format(
                place(line.path, line.line), place(dependency.path, dependency.line)
            )
        )
        return None
    steps = _steps(line.rest)
    told = bool(steps) and _loads(steps[0], module)
    rest = [words for words in steps[1:] if words not in (["true"], ["/bin/true"], [":"])]
    applied = sysctl_call(rest[0]) if len(rest) == 1 else None
    told = told and (not rest or applied is not None)
    return Install(line.rest, line.path, line.line, told, applied if told else None)


def _is_nothing(text: str) -> bool:
    steps = _steps(text)
    return bool(steps) and all(words and os.path.basename(words[0]) in _NOTHING for words in steps)


def _loads(words: List[str], module: str) -> bool:
    """modprobe --ignore-install nf_conntrack $CMDLINE_OPTS: the load itself, which reads the options again."""
    if not words or os.path.basename(words[0]) != "modprobe":
        return False
    flags = {word for word in words[1:] if word.startswith("-")}
    names = [word.replace("-", "_") for word in words[1:] if word not in flags and word != "$CMDLINE_OPTS"]
    return names == [module] and bool(flags & {"-i", "--ignore-install"})


def _steps(text: str) -> List[List[str]]:
    """The commands of a shell's line, as words."""
    return [words for words in map(_words, re.split(r"&&|\|\||;", text)) if words]


def _words(text: str) -> List[str]:
    """As a shell takes them apart; at blanks alone where a quote is not closed."""
    words: List[str] = []
    parts: List[str] = []
    at, begun = 0, False
    while at < len(text):
        found = _PART.match(text, at)
        if not found:
            return text.split()
        escaped, single, double, bare, blank = found.groups()
        if blank and begun:
            words.append("".join(parts))
            parts, begun = [], False
        elif not blank:
            parts.append(escaped or single or _IN_QUOTES.sub(r"\1", double or "") or bare or "")
            begun = True
        at = found.end()
    return words + ["".join(parts)] * begun


def sysctl_call(words: Sequence[str]) -> Optional[Sysctl]:
    """A command that applies settings of files, through a shell too; None for any other."""
    program = os.path.basename(words[0]) if words else ""
    if program in ("sh", "bash", "dash") and len(words) > 2 and words[1] == "-c":
        return next(filter(None, map(sysctl_call, _steps(words[2]))), None)
    if program not in ("sysctl", "systemd-sysctl"):
        return None
    prefixes, named, pattern, applies = [], [], None, program == "systemd-sysctl"
    rest = list(words[:0:-1])
    while rest:
        name, equals, value = rest.pop().partition("=")
        if name in ("--prefix", "--pattern", "-r") and not equals:
            value = rest.pop() if rest else ""
        if name == "--prefix":
            prefixes.append(value)
        elif name in ("--pattern", "-r"):
            pattern = value
        elif name in ("--system", "--load") or re.fullmatch(r"-[a-z]*p", name):
            applies = True
            # --load=FILE; a file behind -p comes next.
            named += [value] if value else []
            if name != "--system" and not value and not (rest and not rest[-1].startswith("-")):
                named.append("/etc/sysctl.conf")
        elif not name.startswith("-") and not equals:
            named.append(name)
    return Sysctl(words[0], tuple(prefixes), pattern, tuple(named)) if applies else None


def loads_at_boot(host: Host, module: str) -> Optional[str]:
    """What loads the module before systemd-sysctl runs, itself or with another that needs it.

    systemd-modules-load obeys ``blacklist`` for the very module that it is told to load. Of initramfs-tools it is
    said what the next update of the initial RAM disk brings. Nothing of a dracut's.
    """
    command_line = host.read("/proc/cmdline") or ""
    taken, _left = modprobe.configuration(host)
    barred = modprobe.blacklisted(taken, command_line, module) is not None

    def brings(name: str) -> bool:
        plain = name.strip().replace("-", "_")
        if plain == module or plain == "ip_conntrack":
            return not barred
        return module == "nf_conntrack" and _BRINGS.fullmatch(plain) is not None

    for _offset, name, value in modprobe.arguments(command_line.split("\0")[0]):
        if name == "modules_load" and any(map(brings, (value or "").split(","))):
            return COMMAND_LINE
    for path in files(host, [folder + "modules-load.d" for folder in _SYSTEMD], ".conf"):
        for number, line in enumerate((host.read(path) or "").split("\n"), 1):
            if line.strip() and line.strip()[0] not in "#;" and brings(line):
                return place(path, number)
    path = "/etc/initramfs-tools/modules"
    for number, line in enumerate((host.read(path) or "").split("\n"), 1):
        if line.split() and brings(line.split()[0]):
            return place(path, number)
    return None


_KEY = re.compile(r'(?<![A-Z_])([A-Z_]+)(\{[^{}"]*\})?\s*(==|!=|\+=|-=|:=|=)\s*e?"([^"\\]*(?:\\.[^"\\]*)*)"')


def udev_rules(host: Host, module: str) -> List[UdevRule]:
    """The rules that apply settings of sysctl.d when the module is loaded. Conditions other than on the event hold."""
    event = {"ACTION": "add", "SUBSYSTEM": "module", "KERNEL": module, "DEVPATH": "/module/" + module}
    found: List[UdevRule] = []
    for path in files(host, [folder + "udev/rules.d" for folder in _SYSTEMD], ".rules"):
        text = host.read(path) or ""
        if "sysctl" not in text:
            continue
        label = None
        for number, line in _udev_lines(text):
            keys = [(key, operator, value) for key, _attribute, operator, value in _KEY.findall(line)]
            if label is not None:
                if ("LABEL", "=", label) not in keys:
                    continue
                label = None
            tests = [key for key in keys if key[1] in ("==", "!=")]
            if not all(_holds(event[key], operator, value) for key, operator, value in tests if key in event):
                continue
            only_event = all(test in event for test, _operator, _value in tests)
            for key, operator, value in keys:
                if key == "GOTO" and only_event:
                    label = value
                if key != "RUN" or operator in ("==", "!=", "-="):
                    continue
                if operator != "+=":
                    found = []
                words = _words(re.sub(r"\\(.)", r"\1", value))
                call = sysctl_call(words)
                if call:
                    # Without a folder udev looks in its own; a shell has its PATH.
                    homes = _UDEV_PATHS if call.command == words[0] else _SHELL_PATHS
                    found.append(_udev_rule(host, path, number, call, homes))
    return found


def _udev_lines(text: str) -> Iterator[Tuple[int, str]]:
    begun: List[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#"):
            continue
        start = start or number
        begun.append(line[:-1] if line.endswith("\\") else line)
        if not line.endswith("\\"):
            yield start, "".join(begun)
            begun, start = [], 0
    if begun:
        yield start, "".join(begun)


def _holds(actual: str, operator: str, wanted: str) -> bool:
    return any(modprobe.matches(pattern, actual) for pattern in wanted.split("|")) == (operator == "==")


def _udev_rule(host: Host, path: str, line: int, call: Sysctl, homes: Sequence[str]) -> UdevRule:
    runs = any(host.exists(home + call.command) for home in ([""] if call.command.startswith("/") else homes))
    problem = None
    if not runs:
        there = next((home for home in _SYSCTL_PATHS if host.exists(home)), None)
        problem = "{0}: calls {1}, which is not there{2}".format(
            place(path, line), call.command, "; on this host it is " + there if there else ""
        )
    return UdevRule(path, line, call, runs, problem)
