# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says in text, as values. Total: a text that is not understood gives no value, never an exception."""

from typing import Dict, List, Mapping, Optional, Set

from ..values import hexadecimal, natural

# The first column repeats the entries of the network namespace in each cpu's row: not to be added up.
_NOT_A_COUNTER = "entries"


def counters(text: Optional[str]) -> Dict[str, int]:
    """/proc/net/stat/nf_conntrack: a line of names, then a row of hexadecimal numbers per cpu, summed here.

    Columns come and go between kernels, so the names decide. ``delete_list`` of kernels before 5.15 stays
    what it was; ``chainlength`` of later ones counts refusals and is given as ``chain_too_long``.
    """
    rows = [line.split() for line in (text or "").split("\n") if line.strip()]
    if not rows:
        return {}
    sums: Dict[str, int] = {}
    for row in rows[1:]:
        for name, value in zip(rows[0], row):
            if name == _NOT_A_COUNTER:
                continue
            name = "chain_too_long" if name in ("chainlength", "chaintoolong") else name
            number = hexadecimal(value)
            if number is not None:
                sums[name] = sums.get(name, 0) + number
    return sums


def clashes(found: Mapping[str, int]) -> int:
    """Of the counters: flows that lost to another one of the same addresses, which ``drop`` counts, too, as it does what a
    full table refuses; ``insert_failed`` counts them and chains that were too long."""
    return max((found.get("insert_failed") or 0) - (found.get("chain_too_long") or 0), 0)


def entries(text: Optional[str]) -> Optional[int]:
    """The first column of /proc/net/stat/nf_conntrack: how many entries the network namespace has."""
    names, row = ([line.split() for line in (text or "").split("\n", 2)] + [[]])[:2]
    return hexadecimal(row[0]) if row and names[:1] == [_NOT_A_COUNTER] else None


def slab_object_bytes(text: Optional[str], module: str) -> Optional[int]:
    """The object size of ``module``'s cache in /proc/slabinfo, bytes.

    Kernels 2.6.28 to 4.6 have a cache per network namespace, its address behind the name.
    """
    for line in (text or "").split("\n"):
        words = line.split()
        if len(words) > 3 and (words[0] == module or _is_numbered(words[0], module)):
            return natural(words[3])
    return None


def _is_numbered(name: str, module: str) -> bool:
    start, tail = name[: len(module) + 1], name[len(module) + 1 :]
    return start == module + "_" and tail != "" and all(c in "0123456789abcdef" for c in tail)


def meminfo(text: Optional[str]) -> Dict[str, int]:
    """/proc/meminfo, its kB as bytes."""
    found: Dict[str, int] = {}
    for line in (text or "").split("\n"):
        name, _sep, rest = line.partition(":")
        words = rest.split()
        number = natural(words[0]) if words else None
        if number is not None:
            found[name.strip()] = number * (1024 if words[1:] == ["kB"] else 1)
    return found


def modules(text: Optional[str]) -> Set[str]:
    """The names of the modules that /proc/modules lists as loaded."""
    return {line.split()[0] for line in (text or "").split("\n") if line.strip()}


def cpus(text: Optional[str]) -> Optional[int]:
    """How many cpus a list such as 0-3,6 names (/sys/devices/system/cpu/online)."""
    count = 0
    for part in (text or "").strip().split(","):
        start, sep, end = part.partition("-")
        first, last = natural(start), natural(end if sep else start)
        if first is None or last is None or last < first:
            return None
        count += last - first + 1
    return count


def shell_value(text: Optional[str], name: str) -> Optional[str]:
    """The last ``name=value`` of a file in the manner of a shell, quotes taken off; None where it is not set."""
    found: List[str] = []
    for line in (text or "").split("\n"):
        key, sep, value = line.strip().partition("=")
        if sep and key.strip() == name:
            found.append(value.split(" #")[0].strip().strip("\"'"))
    return found[-1] if found else None
