# Copyright: headroom.netfilter maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit of conntrack_size_at_boot: what it is asked for, and what it makes of the values that it finds. Few hosts have it.

It sizes by the rules of the plan, which stand below: who wants to know what it comes to hands them in (plan/boot.py).
"""

import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

from ..files import SIZER, STARTS, UDEV, UNIT

if TYPE_CHECKING:
    from ..host.door import Host

NAME = UNIT.rpartition("/")[2]
# Of the script, what it was asked for. Numbers alone.
ASKED = (
    *("MAX", "EXPECTED", "HEADROOM", "HEADROOM_OF", "SHARE", "SHARE_OF", "FLOOR", "CEILING", "PER_BUCKET", "HASHSIZE"),
    "SHRINK",
)
_LINE = re.compile(r"^({0})=([0-9]{{1,15}})$".format("|".join(ASKED)), re.M)

# limit, buckets, expectations as found -> as left, by the same names; empty where it leaves them alone.
Sizes = Callable[[Optional[int], Optional[int], Optional[int]], Dict[str, int]]


def sized(host: "Host") -> Optional[Dict[str, Any]]:
    """None where nothing starts it."""
    return sized_by({path: host.read(path) or "" for path in (SIZER, UNIT, STARTS, UDEV)})


def sized_by(texts: Mapping[str, str]) -> Optional[Dict[str, Any]]:
    if not texts.get(UNIT) or not is_line("Wants=" + NAME, texts.get(STARTS, "")):
        return None
    asked = {name: int(value) for name, value in _LINE.findall(texts.get(SIZER, ""))}
    return {
        "path": UNIT,
        # What it does is not known of another script.
        "asked": asked if len(asked) == len(ASKED) else {},
        "at_load": '"{0}"'.format(NAME) in texts.get(UDEV, ""),
    }


def is_line(line: str, text: str) -> bool:
    return line in text.split("\n")
