# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""udev's rules for the load of a module, and the commands in them, and in lines of modprobe.d, that apply settings. Pure."""

import os
import re
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import modprobe

# What a shell takes a line apart into: a character, two kinds of quotes, more characters, blanks.
_PART = re.compile(r"""\\(.)|'([^']*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|([^ \t\r\n'"\\]+)|([ \t\r\n]+)""", re.S)
_IN_QUOTES = re.compile(r'\\(["\\])')
_KEY = re.compile(r'(?<![A-Z_])([A-Z_]+)(\{[^{}"]*\})?\s*(==|!=|\+=|-=|:=|=)\s*e?"([^"\\]*(?:\\.[^"\\]*)*)"')

# Where a command without a folder is looked for: udev has one of its own, a shell its PATH.
_UDEV_PATHS = ("/usr/lib/udev/", "/lib/udev/")
_SHELL_PATHS = ("/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/")


class Sysctl(NamedTuple):
    """A call of sysctl or systemd-sysctl: which settings it applies."""

    command: str
    prefixes: Tuple[str, ...]  # only keys that start so, as /net/netfilter; none: every key
    pattern: Optional[str]  # only keys that this regular expression finds
    files: Tuple[str, ...]  # only these files; none: all of sysctl.d


class Rule(NamedTuple):
    """What a line has udev run when the module is loaded."""

    line: int
    resets: bool  # what was to be run before is not
    call: Optional[Sysctl]  # None: something else
    paths: Tuple[str, ...]  # the command is there if one of these is


def rules(text: str, module: str) -> Iterator[Rule]:
    """Those of a file that apply settings, or keep others from it. Conditions other than on the event hold."""
    event = {"ACTION": "add", "SUBSYSTEM": "module", "KERNEL": module, "DEVPATH": "/module/" + module}
    # Few rules do, and a call is told by this word.
    if "sysctl" not in text:
        return
    label = None
    for number, line in _lines(text):
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
            given = words(re.sub(r"\\(.)", r"\1", value))
            call = sysctl_call(given)
            if call or operator != "+=":
                yield Rule(number, operator != "+=", call, _places(call, given))


def _places(call: Optional[Sysctl], given: Sequence[str]) -> Tuple[str, ...]:
    if call is None or call.command.startswith("/"):
        return (call.command,) if call else ()
    homes = _UDEV_PATHS if call.command == given[0] else _SHELL_PATHS
    return tuple(home + call.command for home in homes)


def _lines(text: str) -> Iterator[Tuple[int, str]]:
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


# Commands.


def sysctl_call(given: Sequence[str]) -> Optional[Sysctl]:
    """A command that applies settings of files, through a shell too; None for any other."""
    program = os.path.basename(given[0]) if given else ""
    if program in ("sh", "bash", "dash") and len(given) > 2 and given[1] == "-c":
        return next(filter(None, map(sysctl_call, steps(given[2]))), None)
    if program not in ("sysctl", "systemd-sysctl"):
        return None
    prefixes, named, pattern, applies = [], [], None, program == "systemd-sysctl"
    rest = list(given[:0:-1])
    while rest:
        name, equals, value = rest.pop().partition("=")
        if name in ("--prefix", "--pattern", "-r") and not equals:
            value = rest.pop() if rest else ""
        if name == "--prefix":
            prefixes.append(value)
        elif name in ("--pattern", "-r"):
            pattern = value
        elif name in ("--system", "--load") or re.fullmatch(r"-[a-zA-Z]*[pf]", name):
            applies = True
            # --load=FILE; a file behind -p comes next.
            named += [value] if value else []
            if name != "--system" and not value and not (rest and not rest[-1].startswith("-")):
                named.append("/etc/sysctl.conf")
        elif not name.startswith("-") and not equals:
            named.append(name)
    return Sysctl(given[0], tuple(prefixes), pattern, tuple(named)) if applies else None


def steps(text: str) -> List[List[str]]:
    """The commands of a shell's line, as words."""
    return [given for given in map(words, re.split(r"&&|\|\||;", text)) if given]


def words(text: str) -> List[str]:
    """As a shell takes them apart; at blanks alone where a quote is not closed."""
    found: List[str] = []
    parts: List[str] = []
    at, begun = 0, False
    while at < len(text):
        part = _PART.match(text, at)
        if not part:
            return text.split()
        escaped, single, double, bare, blank = part.groups()
        if blank and begun:
            found.append("".join(parts))
            parts, begun = [], False
        elif not blank:
            parts.append(escaped or single or _IN_QUOTES.sub(r"\1", double or "") or bare or "")
            begun = True
        at = part.end()
    return found + ["".join(parts)] * begun
