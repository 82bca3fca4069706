# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next load of the module is given and does, and what is wrong with its lines. Pure, and total.

The kernel's command line is that of this boot.
"""

import os
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..kernel import COMMAND_LINE, LARGEST_HASHSIZE
from ..sources import modprobe
from ..sources.modprobe import Option, place
from .said import BUILT_IN, CRITICAL, INFO, LOAD, ODD, USELESS, WARNING, Line, Problem

if TYPE_CHECKING:
    from ..sources.udev import Sysctl

_NEVER = (1000, 0)
_NUMBERS = {"hashsize", "expect_hashsize"}
# Of nf_conntrack, ip_conntrack has none: since which release, and from which on no more.
_FLAGS = {
    "acct": ((2, 6), _NEVER),
    "nf_conntrack_helper": ((2, 6), (6, 0)),
    "enable_hooks": ((5, 13), _NEVER),
}
# What kernels have that are made so (CONFIG_NF_CONNTRACK_TIMESTAMP), as those of distributions are.
CONFIGURED = {"tstamp"}
# Every module's.
_OTHERS = {"dyndbg": ((3, 4), _NEVER), "async_probe": ((4, 2), _NEVER)}
# Since this release a parameter that is not known is passed over with a warning (unknown_module_param_cb).
_PASSED_OVER = (3, 11)
# kstrtouint with base 0, and kstrtobool.
_NUMBER = re.compile(r"\+?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]{0,9})")
_FLAG = re.compile(r"([yYtT1nNfF0]|[oO][nNfF]).*", re.S)
# Install commands that load nothing.
_NOTHING = {"true", "false", ":"}


class Parameter(NamedTuple):
    number: int  # as given, before the kernel rounds it
    line: Line

    @property
    def source(self) -> str:
        return place(str(self.line.path), self.line.line)


class Install(NamedTuple):
    """The command that modprobe runs instead of loading the module."""

    line: Line
    told: bool  # it is known: the module is loaded with its options, and then come the values of ``sysctl``
    sysctl: Optional["Sysctl"]


class Loading(NamedTuple):
    hashsize: Optional[Parameter]  # None: the kernel chooses
    expect_hashsize: Optional[Parameter]
    swallows: Optional[Line]  # a line whose quote does not end: the lines after it are a part of it
    refused: Optional[Line]  # what makes the load fail, or replaces it by nothing
    install: Optional[Install]
    problems: List[Problem]


def loading(assignments: Dict[str, Any], module: str, version: Tuple[int, int], builtin: bool = False) -> Loading:
    """Of the parts that assignments.py has read, on a kernel of a release."""
    taken = [modprobe.Line(*(line[name] for name in modprobe.Line._fields)) for line in assignments["modprobe"]]
    texts = {(line["path"], line["line"]): line["text"] for line in assignments["modprobe"]}
    command_line = " ".join(assignments["command_line"])
    found = _Found(texts)
    for one in taken:
        if one.command == "":
            found.problem(USELESS, WARNING, "modprobe ignores {0!r:.99}".format(one.rest), one.path, one.line)
    if builtin:
        said = "{0} is built into this kernel, modprobe.d says nothing to it".format(module)
        for one in taken:
            if one.name == module and one.command in ("options", "install", "softdep", "blacklist"):
                found.problem(BUILT_IN, INFO, said, one.path, one.line)
        return Loading(_built_in(command_line, module), None, None, None, None, found.problems)

    has = _usual(module, version) | set(assignments["parameters"])
    options = modprobe.parameters(modprobe.given(taken, command_line, module))
    parameters = found.parameters(options, module, has, version)
    swallows = found.swallows(taken, module)
    install = found.install(taken, module)
    barred = _barring(command_line, module)
    if barred:
        found.refuse("module_blacklist= makes every load of {0} fail".format(module), _word(barred))
    for other in modprobe.aliases(taken, module)[:1]:
        if other.rest != module:
            said = "modprobe {0} loads {1} instead; what needs {0} still loads it".format(module, other.rest)
            found.problem(USELESS, WARNING, said, other.path, other.line)
    found.useless_options(taken, module)
    if found.refused:
        parameters = {}
    given = (parameters.get("hashsize"), parameters.get("expect_hashsize"))
    return Loading(given[0], given[1], swallows, found.refused, install, found.problems)


def unusual(assignments: Dict[str, Any], module: str, version: Tuple[int, int]) -> Set[str]:
    """The parameters that lines give the module, but for those that every one of the kernel's release has."""
    taken = [modprobe.Line(*(line[name] for name in modprobe.Line._fields)) for line in assignments["modprobe"]]
    options = modprobe.parameters(modprobe.given(taken, " ".join(assignments["command_line"]), module))
    return {option.name for option in options} - _usual(module, version)


def _usual(module: str, version: Tuple[int, int]) -> Set[str]:
    own = _FLAGS if module == "nf_conntrack" else {}
    numbers = _NUMBERS if module == "nf_conntrack" else {"hashsize"}
    return numbers | {name for name, (since, until) in [*own.items(), *_OTHERS.items()] if since <= version < until}


def is_barred(assignments: Dict[str, Any], module: str) -> bool:
    """Whether modprobe by an alias and systemd-modules-load do not load it; others do."""
    taken = [modprobe.Line(*(line[name] for name in modprobe.Line._fields)) for line in assignments["modprobe"]]
    return modprobe.blacklisted(taken, " ".join(assignments["command_line"]), module) is not None


def loads_at_boot(assignments: Dict[str, Any], module: str) -> bool:
    """Whether the module is there before systemd-sysctl runs.

    systemd-modules-load obeys ``blacklist`` for the very module that it is told to load.
    """
    names = {line["module"] for line in assignments["early"] if line["brings"]}
    obeys = (assignments.get("init") or {}).get("obeys", True)
    return bool(names) and not (obeys and names == {module} and is_barred(assignments, module))


def said(word: str) -> Set[str]:
    """What a word of the kernel's command line says, in the words of Line.text."""
    options = {"{0}.{1}".format(module, text) for module, text in modprobe.boot_options(word)}
    return options | {"{0}={1}".format(name, value) for _offset, name, value in modprobe.arguments(word)}


class _Found:
    """What is wrong, and the first thing that makes the load fail."""

    def __init__(self, texts: Dict[Tuple[str, int], str]) -> None:
        self.texts = texts
        self.problems: List[Problem] = []
        self.refused: Optional[Line] = None

    def line(self, path: str, number: int) -> Line:
        return Line(path, path, number, self.texts.get((path, number), ""), "modprobe.d", "")

    def problem(self, kind: str, severity: str, said: str, path: str, number: int) -> None:
        self.problems.append(Problem(kind, severity, said, path, number or None))

    def refuse(self, said: str, line: Line) -> None:
        self.problem(LOAD, CRITICAL, said, str(line.path), line.line)
        self.refused = self.refused or line

    def parameters(
        self, options: Sequence[Option], module: str, has: Set[str], version: Tuple[int, int]
    ) -> Dict[str, Parameter]:
        """The numbers that the kernel is given; the last of each counts, and 0 is as if there were none. ``has`` are the names
        of the module's parameters."""
        given: Dict[str, Parameter] = {}
        for option in options:
            line = (
                _word(module + "." + option.text)
                if option.path == COMMAND_LINE
                else self.line(option.path, option.line)
            )
            is_known = option.name in has or option.name.startswith("module.")
            for kind, severity, said in _problems(option) if is_known else [_unknown(option, module, version)]:
                if kind == LOAD:
                    self.refuse(said, line)
                else:
                    self.problem(kind, severity, said, option.path, option.line)
            number = _number(option.value)
            if is_known and option.name in _NUMBERS:
                given.pop(option.name, None)
                if number:
                    given[option.name] = Parameter(number, line)
        return given

    def swallows(self, taken: Sequence[modprobe.Line], module: str) -> Optional[Line]:
        for line in taken:
            if line.command == "options" and line.name == module and line.rest.count('"') % 2:
                said = "its quote does not end, so that all options after it are a part of it"
                self.problem(USELESS, WARNING, said, line.path, line.line)
                return self.line(line.path, line.line)
        return None

    def install(self, taken: Sequence[modprobe.Line], module: str) -> Optional[Install]:
        line, dependency = modprobe.install(taken, module)
        if line is None:
            return None
        if dependency:
            said = "never run, because of {0}: softdep wins over install".format(
                place(dependency.path, dependency.line)
            )
            self.problem(USELESS, WARNING, said, line.path, line.line)
            return None
        # Few hosts have such a line.
        from ..sources import udev

        here = self.line(line.path, line.line)
        steps = udev.steps(line.rest)
        told = bool(steps) and _loads(steps[0], module)
        rest = [words for words in steps[1:] if words not in (["true"], ["/bin/true"], [":"])]
        applied = udev.sysctl_call(rest[0]) if len(rest) == 1 else None
        told = told and (not rest or applied is not None)
        if not told and steps and all(os.path.basename(words[0]) in _NOTHING for words in steps):
            self.refuse("modprobe does not load {0}: {1}".format(module, line.rest), here)
        return Install(here, told, applied if told else None)

    def useless_options(self, taken: Sequence[modprobe.Line], module: str) -> None:
        for line in taken:
            if line.command == "options" and line.name != module:
                said = "counts only where {0} is asked for as {1}".format(module, line.name)
                self.problem(USELESS, WARNING, said, line.path, line.line)


def _word(text: str) -> Line:
    return Line(COMMAND_LINE, COMMAND_LINE, 0, text, COMMAND_LINE, "")


def _unknown(option: Option, module: str, version: Tuple[int, int]) -> Tuple[str, str, str]:
    said = "{0!r:.99} is no parameter of {1} here: ".format(option.name, module)
    if version < _PASSED_OVER:
        return LOAD, CRITICAL, said + "before Linux 3.11 the load fails of it"
    return USELESS, WARNING, said + "the load passes over it, and it sets nothing"


def _problems(option: Option) -> Iterator[Tuple[str, str, str]]:
    """What is wrong with a parameter that the module has: kind, severity and words."""
    if option.name in _NUMBERS:
        number = _number(option.value)
        said = "{0}={1}".format(option.name, option.value)
        if option.value is None:
            yield (
                LOAD,
                CRITICAL,
                "{0} has no value, so that the load fails; write {0}=N without blanks around =".format(option.name),
            )
        elif number is None:
            yield LOAD, CRITICAL, "{0:.299}: the kernel takes no such number, the load fails".format(said)
        elif number > LARGEST_HASHSIZE:
            yield LOAD, CRITICAL, "{0}: the load fails, {1} is the largest".format(said, LARGEST_HASHSIZE)
        elif number == 0:
            yield USELESS, WARNING, "{0}=0 is as if it were not there".format(option.name)
        elif option.value.lstrip("+") != str(number):
            yield ODD, INFO, "{0} is {1} to the kernel".format(said, number)
    elif option.name in CONFIGURED.union(_FLAGS) and option.value is not None and not _FLAG.fullmatch(option.value):
        yield LOAD, CRITICAL, "{0}={1:.99}: the kernel wants Y or N, the load fails".format(option.name, option.value)


def _number(value: Optional[str]) -> Optional[int]:
    """As kstrtouint with base 0."""
    found = _NUMBER.fullmatch(value or "")
    if not found:
        return None
    digits = found.group(1).lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    number = int(digits, base)
    return number if number < 2**32 else None


def _built_in(command_line: str, module: str) -> Optional[Parameter]:
    """The last that the kernel takes; others it complains of and goes on."""
    found = None
    for _offset, name, value in modprobe.arguments(command_line):
        number = _number(value)
        if name == module + ".hashsize" and number is not None:
            found = Parameter(number, _word("{0}={1}".format(name, value))) if number else None
    return found


def _barring(command_line: str, module: str) -> Optional[str]:
    """The word module_blacklist=, the last of which counts, where it names the module; a dash there stays one."""
    barring = None
    for _offset, name, value in modprobe.arguments(command_line):
        if name == "module_blacklist":
            barring = "module_blacklist={0}".format(value) if module in (value or "").split(",") else None
    return barring


def _loads(words: List[str], module: str) -> bool:
    """modprobe --ignore-install nf_conntrack $CMDLINE_OPTS: the load itself, which reads the options again."""
    if not words or os.path.basename(words[0]) != "modprobe":
        return False
    flags = {word for word in words[1:] if word.startswith("-")}
    names = [word.replace("-", "_") for word in words[1:] if word not in flags and word != "$CMDLINE_OPTS"]
    return names == [module] and bool(flags & {"-i", "--ignore-install"})
