# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of tomorrow: answers of five kinds, the lines that decide them, and problems."""

from typing import Dict, NamedTuple, Optional

HASHSIZE = "hashsize"
DEFAULT = "kernel default"

CRITICAL, WARNING, INFO = "critical", "warning", "info"
# Worst first.
SEVERITIES = (CRITICAL, WARNING, INFO)

# Kinds of answers: a line decides, or a program; the kernel itself does; the load fails; it cannot be told; there is no such key.
SET, KERNEL, FAILS, UNTOLD, ABSENT = "value", "default", "fails", "untold", "absent"
KINDS = (SET, KERNEL, FAILS, UNTOLD, ABSENT)


class Value(NamedTuple):
    kind: str
    value: Optional[int]  # of the first two kinds alone
    source: str  # the line, or the reason


class Line(NamedTuple):
    """A line that decides something. One of the kernel's command line is a word of it, one of a program has no path."""

    path: Optional[str]  # as it is found in a folder
    file: Optional[str]  # the one to edit, where that leads to
    line: int
    text: str
    by: str  # who applies it
    remedy: str  # how to make it say something else, where the one who applies it says so


class Decision(NamedTuple):
    value: Value
    line: Optional[Line]  # None: nobody's, or the kernel's own


Decisions = Dict[str, Decision]

# Kinds of problems.
LOAD = "load"  # the module cannot be loaded
USELESS = "useless"  # a line comes to nothing
ODD = "odd"  # the kernel takes a value for another than it looks
BUILT_IN = "builtin"  # the kernel has no use for the line
BEHIND = "behind"  # the initial RAM disk has older files
PROBLEMS = (LOAD, USELESS, ODD, BUILT_IN, BEHIND)


class Problem(NamedTuple):
    kind: str
    severity: str
    said: str
    path: str  # or the kernel's command line
    line: Optional[int]
