# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd-tmpfiles writes into the files of keys at a boot. Pure.

Source: tmpfiles.d(5): a line has a type, a path, four fields more and an argument; of type w it is written into a file that is there.
"""

import re
from typing import Dict, Iterator, Optional, Tuple

from .. import kernel
from .commands import assignments
from .owner import lines_of

_WRITES = re.compile(r"\s*(w[-+!=~^$]*)\s+(\"[^\"]*\"|'[^']*'|\S+)(?:\s+\S+){4}\s+(.*\S)\s*")
# What stands for something else: specifiers, escaped characters.
_MADE = re.compile(r"[%\\]")


def written(text: str, names: kernel.Flavour) -> Iterator[Tuple[int, str, Dict[str, Optional[int]]]]:
    """The lines that set keys: number, text, and what they set them to."""
    for number, line in lines_of(text):
        found = _WRITES.fullmatch(line)
        if not found:
            continue
        kind, path, value = found.groups()
        is_told = not (_MADE.search(value) or "~" in kind or "^" in kind)
        # The kernel takes nothing but a number; quotes around it are written, too.
        if value.isdigit() or not is_told:
            # As a shell would say it.
            said = "echo {0} > {1}".format(value if is_told else "$value", path.strip("\"'"))
            keys = assignments(said, names)
            if keys:
                yield number, line, keys
