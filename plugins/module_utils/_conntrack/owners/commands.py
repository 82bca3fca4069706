# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line of a script, a crontab or a unit sets: by sysctl, by a key's file, by loading the module. Pure."""

import re
from typing import Dict, Optional

from .. import kernel

# Characters. Of a longer line it is only told which keys it names.
_LONGEST_LINE = 4096

_NAME = (
    r"net[./](?:netfilter[./]nf_conntrack_|ipv4[./]netfilter[./]ip_conntrack_"
    r"|(?:nf_conntrack_|ipv4[./]ip_conntrack_)(?=max\b))(?P<key>[a-z0-9_]{1,99})"
)
HASHSIZE_FILE = r"/sys/module/(?:nf|ip)_conntrack/parameters/hashsize"
HASHSIZE = re.compile(r"\bhashsize=(\S*)")
_SYSCTL_NAME = re.compile(r"(?:/proc/sys/)?" + _NAME)
_ASSIGNMENT = re.compile(_NAME + r"""\s*=\s*["']?(?P<value>[^\s"']*)""")
_SYSCTL_COMMAND = re.compile(r"(?:^|[\s/'\"(`=@+-])sysctl\s")
_WRITE = re.compile(r"""(?:>\s*|\btee\s+(?:-a\s+)?)["']?(/proc/sys/net/[\w./]+|""" + HASHSIZE_FILE + ")")
_ECHOED = re.compile(
    r"""\b(?:echo|printf)\s+(?:-[A-Za-z]{1,9}\s+){0,3}["']?([0-9]+)["']?\s*(?:\|\s*(?:sudo\s+)?|>)?$"""
)
_NAMED = re.compile(_NAME + r"|\bhashsize=|" + HASHSIZE_FILE)
_MODPROBE = re.compile(r"\b(?:modprobe|insmod)\s")
_MODULE = re.compile(r"\b(?:nf|ip)_conntrack(?:\.ko)?\s")

Keys = Dict[str, Optional[int]]


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


def assignments(line: str, names: kernel.Flavour) -> Keys:
    """What a line of a shell script, crontab or unit sets: by sysctl, by the key's file, by loading the module."""
    if line.lstrip().startswith(("#", ";")):
        return {}
    line = line.split(" #", 1)[0]
    keys: Keys = {}
    if len(line) > _LONGEST_LINE:
        for named in _NAMED.finditer(line):
            _put(keys, _key_of(named.group(), names), "")
        return keys
    for command in re.split("[;&|]", line):
        sysctl = _SYSCTL_COMMAND.search(command)
        if sysctl and "echo" not in command[: sysctl.start()]:
            for found in _ASSIGNMENT.finditer(command, sysctl.end()):
                _put(keys, sysctl_key(found.group().partition("=")[0].strip(), names), found.group("value"))
        hashsize = HASHSIZE.search(command)
        if hashsize and _MODPROBE.search(command) and _MODULE.search(command):
            _put(keys, "hashsize", hashsize.group(1))
    begun = 0
    for write in _WRITE.finditer(line):
        echoed = _ECHOED.search(line, begun, write.start())
        begun = write.end()
        _put(keys, _key_of(write.group(1), names), echoed.group(1) if echoed else "")
    return keys


def _key_of(name: str, names: kernel.Flavour) -> Optional[str]:
    return "hashsize" if name.endswith(("/hashsize", "hashsize=")) else sysctl_key(name, names)


def _put(keys: Keys, key: Optional[str], value: str) -> None:
    if key:
        keys[key] = plain_number(value)
