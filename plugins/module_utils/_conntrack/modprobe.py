# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of modprobe.d: what kmod takes, and what would make a load of the module fail. Pure and total."""

import re
from typing import Iterator, List, Tuple

# What modprobe.d(5) lets a line begin with.
_COMMANDS = ("alias", "blacklist", "config", "install", "options", "remove", "softdep", "weakdep")
_MODULE = re.compile(r"[A-Za-z0-9_-]+")
_PARAMETER = re.compile(r"[A-Za-z0-9_.-]+(=\S*)?")


def lines(text: str) -> Iterator[Tuple[int, str]]:
    """The lines that say something, by the number of their first line; a backslash at the end joins two."""
    begun, start = "", 0
    for number, line in enumerate(text.splitlines() + [""], 1):
        start = start or number
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        whole, first = (begun + line).strip(), start
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
        words = line.split()
        wrong = ""
        if words[0] not in _COMMANDS:
            wrong = "{0!r} is no command of modprobe.d; expected one of {1}".format(words[0], ", ".join(_COMMANDS))
        elif len(words) < 2 or not _MODULE.fullmatch(words[1]) and words[0] != "alias":
            wrong = "{0} wants the name of a module".format(words[0])
        elif words[0] == "options":
            wrong = _options(words[2:])
        if wrong:
            found.append("{0}:{1}: {2}".format(path, number, wrong))
    return found


def _options(parameters: List[str]) -> str:
    if not parameters:
        return "options wants at least one parameter, as in hashsize=65536"
    for parameter in parameters:
        if not _PARAMETER.fullmatch(parameter):
            return "{0!r} is no parameter; write name=value without blanks around =".format(parameter)
        name, sep, value = parameter.partition("=")
        if name == "hashsize" and not (sep and value.isdigit() and int(value) > 0):
            return "{0!r}: hashsize wants a whole number of buckets, as in hashsize=65536".format(parameter)
    return ""
