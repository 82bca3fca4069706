# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of modprobe.d: what kmod takes, and what would make a load of the module fail. Pure and total."""

import re
from typing import Iterator, List, Tuple

from .kernel import LARGEST_HASHSIZE

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
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(=\S+)?")
_ESCAPED = re.compile(r"\\(.)")
# Decimal; to the kernel a leading 0 is octal.
_BUCKETS = re.compile(r"[1-9][0-9]{0,9}")


def lines(text: str) -> Iterator[Tuple[int, str]]:
    """The lines that say something, by the number of their first line.

    To kmod a backslash makes the character after it plain, and joins two lines where that is the end of one.
    """
    begun, start = "", 0
    for number, line in enumerate(text.splitlines() + [""], 1):
        start = start or number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            begun += line[:-1]
            continue
        whole, first = _ESCAPED.sub(r"\1", begun + line).strip(), start
        begun, start = "", 0
        if whole and not whole.startswith("#"):
            yield first, whole


def problems(path: str, text: str) -> List[str]:
    """What is wrong in a modprobe.d file, each finding with path:line.

    ``options`` matters most: kmod passes what stands behind the module's name to the kernel as it is, so that
    blanks around = become parameters the module does not know, the load fails, and each firewall rule with it.
    """
    found = []
    for number, line in lines(text):
        command, *words = line.split()
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
