# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""modprobe.d as kmod reads it: files, lines, and what a load of a module is given. Total.

Sources: libkmod-config.c, libkmod-module.c and shared/util.c of kmod 28 (Debian 11), 30 and 34.
"""

import bisect
import re
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..kernel import COMMAND_LINE, LARGEST_HASHSIZE

if TYPE_CHECKING:
    # The plan needs this module, on the controller, where there is no host to look at.
    from ..host.door import Host

# Where kmod looks, the first that has a name first; /usr/local/lib since kmod 30.
_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d")

# What modprobe.d(5) lets a line begin with, and how many words at least must follow.
_COMMANDS = {
    "alias": 2,
    "blacklist": 1,
    "config": 0,
    "install": 2,
    "options": 2,
    "remove": 2,
    "softdep": 2,
    "weakdep": 2,
}
# Of these the name may be a pattern.
_BY_PATTERN = ("alias", "install", "softdep")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(=\S+)?")
_MAGIC = re.compile(r"[*?\[\\]")
_ESCAPED = re.compile(r"\\(.|$)")
_BLANKS = re.compile(r"[ \t]+")
_LINE = re.compile(r"([^ \t]+)(?:[ \t]+([^ \t]+)(?:[ \t](.*))?)?", re.S)
# Lines that kmod leaves out and that are told of: more are no news.
_MOST_IGNORED = 99
# Decimal; to the kernel a leading 0 is octal.
_BUCKETS = re.compile(r"[1-9][0-9]{0,9}")
# isspace() of C, which is fewer than those of Unicode.
_SPACE = r" \t\n\v\f\r"
# One more blank than the usual one before the first word hides that word from kmod, two more do not.
_DEPENDS = re.compile(
    r"(?:^|^[{0}]{{2,}}|[^{0}][{0}]+)(?:pre|post):[{0}]+(?!(?:pre|post):(?:[{0}]|\Z))[^{0}]".format(_SPACE)
)
_TOKEN = re.compile(r'"[^"]*(?:"|\Z)|[^"{0}]+|(?P<blank>[{0}]+)'.format(_SPACE))
# module.parameter or module.parameter=value; a boot loader may have put the quotes around all of it.
_BOOT_OPTION = re.compile(r'("?)([^".={0}]*)\.([^".={0}]*)(?:=(.*))?'.format(_SPACE), re.S)


class Line(NamedTuple):
    """A line of modprobe.d."""

    path: str
    line: int
    command: str  # empty where kmod leaves the line out
    name: str  # of a module, _ for each dash; with alias, install and softdep it may be a pattern
    rest: str


class Option(NamedTuple):
    """A parameter that a load hands to the kernel."""

    name: str
    value: Optional[str]  # None where there is no =
    path: str  # or COMMAND_LINE, its line 0
    line: int
    text: str


def place(path: str, line: int) -> str:
    return "{0}:{1}".format(path, line) if line else path


def files(host: "Host", folders: Sequence[str], suffix: str) -> List[str]:
    """The files of folders that are read as one, by name; of one name only that in the first folder.

    What is empty or a link to /dev/null hides the later ones as well, a directory does not. So does a link that leads
    nowhere, but no longer to kmod 34.
    """
    found: Dict[str, str] = {}
    for folder in folders:
        for name in host.list(folder):
            path = folder + "/" + name
            if name.endswith(suffix) and name[0] != "." and name not in found and not host.exists(path + "/."):
                found[name] = path
    return [found[name] for name in sorted(found)]


def configuration_files(host: "Host") -> List[str]:
    """Those that kmod reads, in its order."""
    # Before kmod 31 /usr/lib counts only where /lib is a link to it.
    split = host.exists("/lib/modprobe.d") and host.link("/lib") is None
    return files(host, _FOLDERS + ("/lib/modprobe.d" if split else "/usr/lib/modprobe.d",), ".conf")


def parse(path: str, text: str) -> Iterator[Line]:
    """What kmod takes of a file; a line that it leaves out has no command, and is all rest."""
    for number, whole in lines(text):
        command, name, rest = _LINE.fullmatch(whole).groups("")  # type: ignore[union-attr]
        plain = underscored(name)
        if command == "alias":
            rest = underscored(_BLANKS.split(rest.strip(" \t"), 1)[0]) or ""
        enough = bool(name) + bool(rest.strip(" \t")) >= _COMMANDS.get(command, 3)
        if command == "options":
            # A carriage return at the end, as of a file from elsewhere, is a blank to the kernel.
            rest = rest.rstrip("\r")
        if plain is not None and enough:
            yield Line(path, number, command, plain, rest)
        else:
            yield Line(path, number, "", "", whole)


def concerned(taken: Sequence[Line], module: str) -> Iterator[Line]:
    """Of lines in kmod's order those that a load of a module depends on, and those that seem to be about it."""
    others = {line.name for line in taken if line.command == "alias" and line.rest == module} | {"ip_conntrack", module}
    ignored = 0
    for line in taken:
        if line.command == "":
            is_concerned = ignored < _MOST_IGNORED and module in line.rest.replace("-", "_")
            ignored += is_concerned
        elif line.command == "options":
            is_concerned = line.name in others
        elif line.command == "blacklist":
            is_concerned = line.name == module
        else:
            is_concerned = line.command in _BY_PATTERN and matches(line.name, module)
            is_concerned = is_concerned or (line.command == "alias" and line.rest == module)
        if is_concerned:
            yield line


def boot_options(command_line: str) -> Iterator[Tuple[str, str]]:
    """(module, parameter) of the kernel's command line, in kmod 30's reading of it."""
    for _offset, word in words(command_line.split("\0")[0]):
        found = _BOOT_OPTION.fullmatch(word)
        if found and word.count('"') % 2 == 0:
            quote, module, name, value = found.groups()
            plain = underscored(module)
            if plain is not None and not (quote and value is None):
                yield plain, name if value is None else name + "=" + quote + value


def given(taken: Sequence[Line], command_line: str, module: str, alias: Optional[str] = None) -> List[Line]:
    """The options that a load of ``module`` gets, in their order: of the files, then of the kernel's command line.

    Those under an alias, as its line writes it, count if the module is asked for by that.
    """
    found = [line for line in taken if line.command == "options" and line.name in (module, alias)]
    for name, text in boot_options(command_line):
        if name in (module, alias):
            found.append(Line(COMMAND_LINE, 0, "options", name, text))
    return found


def parameters(passed: Sequence[Line]) -> List[Option]:
    """What the kernel makes of them: kmod joins them with a blank each, and quotes may reach from one to the next."""
    found, start, starts, texts = [], 0, [], []
    for line in passed:
        starts.append(start)
        start += len(line.rest) + 1
        boot = line.path == COMMAND_LINE
        texts.append(line.rest if boot else " ".join((line.command, line.name, line.rest)))
    for at, name, value in arguments(" ".join(line.rest for line in passed)):
        index = bisect.bisect_right(starts, at) - 1
        found.append(Option(name, value, passed[index].path, passed[index].line, texts[index]))
    return found


def arguments(text: str) -> Iterator[Tuple[int, str, Optional[str]]]:
    """Offset, name and value of each argument as the kernel splits them (next_arg of lib/cmdline.c), up to one that is --."""
    for offset, word in words(text):
        if word[0] == '"':
            word = word[1:-1] if word[1:].endswith('"') else word[1:]
        equals = word.find("=", 1)
        if word == "--":
            return
        if equals < 0:
            yield offset, word.replace("-", "_"), None
            continue
        name, value = word[:equals].replace("-", "_"), word[equals + 1 :]
        if value.startswith('"'):
            value = value[1:-1] if value[1:].endswith('"') else value[1:]
        yield offset, name, value


def words(text: str) -> Iterator[Tuple[int, str]]:
    """Each with its offset; blanks between quotes are of a word."""
    start: Optional[int] = None
    for token in _TOKEN.finditer(text):
        if token.group("blank") is None:
            start = token.start() if start is None else start
        elif start is not None:
            yield start, text[start : token.start()]
            start = None
    if start is not None:
        yield start, text[start:]


def install(taken: Sequence[Line], module: str) -> Tuple[Optional[Line], Optional[Line]]:
    """The line whose command replaces a load, and the softdep line that keeps it from that.

    The first of each kind counts. A softdep wins with one module that there is; that there is one is not looked up.
    """
    found = [next(_matching(taken, command, module), None) for command in ("install", "softdep")]
    if found[1] is not None and not _DEPENDS.search(found[1].rest):
        found[1] = None
    return found[0], found[1]


def aliases(taken: Sequence[Line], name: str) -> List[Line]:
    """The lines that make modprobe load what they say for a name; dependencies come by their own name."""
    return list(_matching(taken, "alias", name))


def _matching(taken: Sequence[Line], command: str, name: str) -> Iterator[Line]:
    return (line for line in taken if line.command == command and matches(line.name, name))


def blacklisted(taken: Sequence[Line], command_line: str, module: str) -> Optional[str]:
    """Where a module is blacklisted. It stops loads by an alias and those of systemd-modules-load, not modprobe by name."""
    for line in taken:
        if line.command == "blacklist" and line.name == module:
            return place(line.path, line.line)
    for name, text in boot_options(command_line):
        parameter, _sep, value = text.partition("=")
        # Here a dash stays one.
        if (name, parameter) == ("modprobe", "blacklist") and module in value.split(","):
            return COMMAND_LINE
    return None


def underscored(name: str) -> Optional[str]:
    """As kmod compares it; None for brackets without their other. A range keeps its dash, elsewhere a dash is _."""
    plain: List[str] = []
    at = 0
    while True:
        opened = name.find("[", at)
        outside = name[at:] if opened < 0 else name[at:opened]
        plain.append(outside.replace("-", "_"))
        if opened < 0 and "]" not in outside:
            return "".join(plain)
        at = name.find("]", opened) + 1
        if "]" in outside or at == 0:
            return None
        plain.append(name[opened:at])


def matches(pattern: str, name: str) -> bool:
    """As fnmatch(3)."""
    if not _MAGIC.search(pattern):
        return pattern == name
    # Few lines have any.
    from . import globs

    return globs.matches(pattern, name)


def lines(text: str) -> Iterator[Tuple[int, str]]:
    """The lines that say something, by the number of their first line.

    To kmod a backslash makes the character after it plain, and joins two lines where that is the end of one.
    """
    begun: List[str] = []
    start = 0
    for number, line in enumerate(text.split("\n") + [""], 1):
        if not begun and not line:
            continue
        start = start or number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            begun.append(line[:-1])
            continue
        # What stands behind a NUL is not there to C.
        whole, first = _ESCAPED.sub(r"\1", "".join(begun) + line).split("\0")[0].strip(" \t"), start
        begun, start = [], 0
        if whole and not whole.startswith("#"):
            yield first, whole


def problems(path: str, text: str) -> List[str]:
    """What is wrong in a modprobe.d file, each finding with path:line.

    ``options`` matters most: kmod passes what stands behind the module's name to the kernel as it is, so that
    with blanks around = a name stands without its value: for hashsize the load fails, and each firewall rule with it.
    """
    found = []
    for number, line in lines(text):
        command, *words = line.split() or [line]
        wrong = ""
        if command not in _COMMANDS:
            wrong = "{0!r} is no command of modprobe.d; expected one of {1}".format(command, ", ".join(_COMMANDS))
        elif len(words) < _COMMANDS[command]:
            wrong = "{0} wants at least {1} words after it".format(command, _COMMANDS[command])
        elif command not in ("alias", "config") and not _MODULE.fullmatch(words[0]):
            wrong = "{0!r} is no name of a module".format(words[0])
        elif command == "options":
            wrong = _options(words[1:])
        if wrong:
            found.append("{0}:{1}: {2}".format(path, number, wrong))
    return found


def _options(parameters: List[str]) -> str:
    for parameter in parameters:
        if not _PARAMETER.fullmatch(parameter):
            return "{0!r} is no parameter; write name=value without blanks around =".format(parameter)
        name, _sep, value = parameter.partition("=")
        if name == "hashsize" and not (_BUCKETS.fullmatch(value) and int(value) <= LARGEST_HASHSIZE):
            return "{0!r}: hashsize wants a whole number of buckets from 1 to {1}, as in hashsize=65536".format(
                parameter, LARGEST_HASHSIZE
            )
    return ""
